"""Main memory: how much there is, and how much of it this process keeps for tensors to come."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from functools import cache
from pathlib import Path
from typing import Any

# Read by glibc when a program starts: no small pieces are set aside for later.
_TIGHT = "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0"
# By how much what is held may grow while it is kept.
_GROWTH = 1.25


def available_memory() -> int:
    """Bytes of main memory that programs may still take, in this container if it is one."""
    return min(_free_memory(), _left_in_cgroup())


def total_memory() -> int:
    """Bytes of main memory that there are, in this container if it is one."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(there, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no such file, or "max"
        return there


def _left_in_cgroup() -> int:
    """What a container's limit leaves; a large number without one."""
    group = Path("/sys/fs/cgroup")
    try:
        most = (group / "memory.max").read_text().strip()
        held = int((group / "memory.current").read_text())
        # Files that were read count until their pages are wanted.
        known = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return int(most) - held + int(known.get("inactive_file", 0))
    except (OSError, ValueError):  # no such file, or "max"
        return 1 << 62


def _free_memory() -> int:
    if platform.system() == "Linux":
        with open("/proc/meminfo", encoding="ascii") as file:  # noqa: PTH123
            for line in file:
                if line.startswith("MemAvailable"):
                    return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def release_freed_memory() -> None:
    """Return to the system what was freed and is held for what comes next, as after loading."""
    if libc := _glibc():
        libc.malloc_trim(0)


def ensure_tight_heap() -> None:
    """Start this program once more, with a heap in which a tensor takes the place of a freed one.

    Tensors are aligned, so the next of a size fits into a gap only with the few bytes that were
    cut off around it. glibc sets these aside for small objects, and the next tensor lies elsewhere.
    A sixth of the memory in instruction tuning were such gaps. To be called before a program does
    anything, since that is done again; where the arguments are not the program's own, as in a test
    that sets them, nothing is started.
    """
    given = sys.argv[1:]
    started_so = sys.orig_argv[-len(given) :] == given if given else False
    if started_so and _glibc() and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = _TIGHT
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606


class Heap:
    """The memory that tensors give back, kept for the next ones.

    By default glibc returns a large block at once and is handed zeroed pages for the next, which
    costs as much as many an operation on the block. So all is kept; but tensors of ever other sizes
    leave gaps that none of the next fits into, and what is held would grow to several times what
    is used. When it has grown by a quarter, the pages of the gaps are returned.

    Attributes:
        growth: by how much what is held may grow before.
    """

    def __init__(self) -> None:
        self._keeps = _keep()
        self.growth = _GROWTH if self._keeps else 1.0
        self._usual = 0  # bytes, held after a step that began without gaps
        self._whole = True  # whether this one began so

    def settle(self) -> None:
        """To be called between two steps, when few tensors are in use."""
        if not self._keeps:
            return
        held = _resident()
        if self._whole:
            self._usual, self._whole = max(self._usual, held), False
        elif held > self.growth * self._usual:
            release_freed_memory()
            self._whole = True


@cache
def _keep() -> bool:
    """Have all that is freed kept from now on; whether it can be."""
    trim_threshold, top_pad, mmap_max = -1, -2, -4
    settings = ((mmap_max, 0), (trim_threshold, (1 << 31) - 1), (top_pad, 64 << 20))
    libc = _glibc()
    return libc is not None and all(libc.mallopt(option, value) for option, value in settings)


@cache
def _glibc() -> Any:
    """The C library, where it is this one, else None."""
    found = platform.system() == "Linux" and platform.libc_ver()[0] == "glibc"
    return ctypes.CDLL(None) if found else None


def _resident() -> int:
    """Bytes of main memory that this process holds."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
