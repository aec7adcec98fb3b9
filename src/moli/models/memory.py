"""Main memory: how much there is, and how much of it this process keeps for tensors to come."""

from __future__ import annotations

import ctypes
import os
import platform
from functools import cache
from pathlib import Path
from typing import Any

# By how much what is held may grow while it is kept.
_GROWTH = 1.25


def available_memory() -> int:
    """Bytes of main memory that programs may still take, in this container if it is one."""
    return min(_free_memory(), _left_in_cgroup())


def _left_in_cgroup() -> int:
    """What a container's limit leaves; a large number without one."""
    group = Path("/sys/fs/cgroup")
    try:
        most = (group / "memory.max").read_text().strip()
        return int(most) - int((group / "memory.current").read_text())
    except (OSError, ValueError):  # no such file, or "max"
        return 1 << 62


def _free_memory() -> int:
    if platform.system() == "Linux":
        with open("/proc/meminfo", encoding="ascii") as file:  # noqa: PTH123
            for line in file:
                if line.startswith("MemAvailable"):
                    return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


class Heap:
    """The memory that tensors give back, kept for the next ones.

    By default glibc returns a large block at once and is handed zeroed pages for the next, which
    costs as much as many an operation on the block. So all is kept; but tensors of ever other sizes
    leave gaps that none of the next fits into, and what is held would grow to several times what
    is used. When it has grown by a quarter, the pages of the gaps are returned.
    """

    def __init__(self) -> None:
        self._libc = _keeping()
        self._usual = 0  # bytes, held after a step that began without gaps
        self._whole = True  # whether this one began so

    def settle(self) -> None:
        """To be called between two steps, when few tensors are in use."""
        if self._libc is None:
            return
        held = _resident()
        if self._whole:
            self._usual, self._whole = max(self._usual, held), False
        elif held > _GROWTH * self._usual:
            self._libc.malloc_trim(0)
            self._whole = True


@cache
def _keeping() -> Any:
    """The C library, told to keep what is freed; None where it is not glibc."""
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return None
    trim_threshold, top_pad, mmap_max = -1, -2, -4
    libc = ctypes.CDLL(None)
    settings = ((mmap_max, 0), (trim_threshold, (1 << 31) - 1), (top_pad, 64 << 20))
    return libc if all(libc.mallopt(option, value) for option, value in settings) else None


def _resident() -> int:
    """Bytes of main memory that this process holds."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
