"""Tensors of a safetensors file that stay on disk until they are used.

A word embedding table of 250,000 rows is a few hundred megabytes, of which a text needs some rows.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moli.records.errors import ModelError

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def map_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """The floating-point tensors of a file by name, as read-only maps of the file.

    Tensors in bfloat16, which NumPy lacks, are copied to float32.

    Raises:
        ModelError: it cannot be read, or is no safetensors file.
    """
    try:
        file = np.memmap(path, np.uint8, mode="r")
        header_end = 8 + int(file[:8].view("<u8")[0])
        header = json.loads(bytes(file[8:header_end]))
        header.pop("__metadata__", None)
        tensors = {}
        for name, entry in header.items():
            if entry["dtype"] in _DTYPES:
                start, end = (header_end + offset for offset in entry["data_offsets"])
                tensor = file[start:end].view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])
                tensors[name] = _to_float32(tensor) if entry["dtype"] == "BF16" else tensor
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ModelError(
            f"cannot be read ({error})",
            where=str(path),
            fix="Put the model's own file there.",
        ) from error
    return tensors


def _to_float32(bfloat16: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Numbers whose bits are bfloat16's, the upper half of float32's."""
    return (bfloat16.astype(np.uint32) << 16).view(np.float32)
