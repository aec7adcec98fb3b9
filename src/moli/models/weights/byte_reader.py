"""Binary files that are read from their beginning on."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray


class ByteReader:
    """The bytes of a file, little-endian, and the position up to which they are read."""

    def __init__(self, data: bytes) -> None:
        self.data, self.position = data, 0

    def values(self, layout: str) -> tuple[Any, ...]:
        """The next values, which have a layout of the module struct."""
        numbers = struct.unpack_from("<" + layout, self.data, self.position)
        self.position += struct.calcsize("<" + layout)
        return numbers

    def array(self, kind: str, count: int) -> NDArray[Any]:
        """The next numbers, all of one type of numpy."""
        numbers = np.frombuffer(self.data, kind, count, self.position)
        self.position += numbers.nbytes
        return numbers

    def raw(self, size: int) -> bytes:
        """The next bytes."""
        self.position += size
        return self.data[self.position - size : self.position]
