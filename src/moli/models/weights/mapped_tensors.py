"""Tensors of a safetensors file that stay on disk until they are used.

A word embedding table of 250,000 rows is a few hundred megabytes, of which a text needs some rows.
"""

from __future__ import annotations

import json
import mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moli.records.errors import ModelError

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


class MappedTensors(dict[str, NDArray[Any]]):
    """The floating-point tensors of a file by name, as read-only maps of the file.

    Tensors in bfloat16, which NumPy lacks, are copied to float32.

    Raises:
        ModelError: the file cannot be read, or is no safetensors file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            with path.open("rb") as file:
                self._mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._read()
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise ModelError(
                f"cannot be read ({error})",
                where=str(path),
                fix="Put the model's own file there.",
            ) from error

    def _read(self) -> None:
        """Find the tensors by the file's header."""
        content = np.frombuffer(self._mapping, np.uint8)
        header_end = 8 + int(content[:8].view("<u8")[0])
        header = json.loads(bytes(content[8:header_end]))
        header.pop("__metadata__", None)
        for name, entry in header.items():
            if entry["dtype"] in _DTYPES:
                start, end = (header_end + offset for offset in entry["data_offsets"])
                tensor = content[start:end].view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])
                self[name] = _to_float32(tensor) if entry["dtype"] == "BF16" else tensor

    def release_pages(self) -> None:
        """Give back the memory of the parts that were read; the system may still have them."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._mapping.madvise(mmap.MADV_DONTNEED)


def _to_float32(bfloat16: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Numbers whose bits are bfloat16's, the upper half of float32's."""
    return (bfloat16.astype(np.uint32) << 16).view(np.float32)
