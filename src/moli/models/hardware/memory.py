"""Main memory: how much there is, and how much of it this process keeps for later tensors."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from functools import cache
from pathlib import Path
from typing import Any

# Read by glibc when a program starts: it sets no small blocks aside for later.
_NO_SMALL_BLOCKS = "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0"
# Factor by which the memory of this process may grow before gaps are released.
_GROWTH = 1.25


def available_memory() -> int:
    """Bytes of main memory that are available, in this container if it is one."""
    return min(_system_available(), _cgroup_available())


def total_memory() -> int:
    """Total bytes of main memory, of this container if it is one."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no such file, or "max"
        return total


def _cgroup_available() -> int:
    """Bytes of memory that a container may still take; a large number if it has no limit."""
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
        # Cached files count as used, until their pages are needed.
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return int(limit) - used + int(stat.get("inactive_file", 0))
    except (OSError, ValueError):  # no such file, or "max"
        return 1 << 62


def _system_available() -> int:
    """Bytes that the system reports as available; half of its memory if it is not Linux."""
    if platform.system() == "Linux":
        with open("/proc/meminfo", encoding="ascii") as file:  # noqa: PTH123
            for line in file:
                if line.startswith("MemAvailable"):
                    return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def release_freed_memory() -> None:
    """Return memory to the system that was freed here but kept by glibc for later objects."""
    if libc := _glibc():
        libc.malloc_trim(0)


def ensure_tight_heap() -> None:
    """Start this program once more, with a heap in which a tensor takes the place of a freed one.

    Tensors are aligned, so the next of a size fits into a gap only with the few bytes that were
    cut off around it. glibc sets these aside for small objects, and the next tensor lies elsewhere.
    In instruction tuning, a sixth of the memory was lost to gaps. Call it before a program does
    anything, since that is done again. If the arguments are not the program's own, as in a test
    that sets them, nothing is started.
    """
    arguments = sys.argv[1:]
    are_own = sys.orig_argv[-len(arguments) :] == arguments if arguments else False
    if are_own and _glibc() and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = _NO_SMALL_BLOCKS
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606


class Heap:
    """The memory of freed tensors, kept for later ones.

    By default glibc returns a large block at once and gets zeroed pages for the next, which takes
    as long as many operations on the block. So all blocks are kept; but tensors of ever other
    sizes leave gaps that later ones do not fit into, and the process would grow to several times
    the memory in use. When it has grown by a quarter, the pages of the gaps are released.

    Attributes:
        growth: factor by which the process may grow before gaps are released.
    """

    def __init__(self) -> None:
        self._is_kept = _keep_freed_memory()
        self.growth = _GROWTH if self._is_kept else 1.0
        self._usual_bytes = 0  # memory of the process after a step that began without gaps
        self._began_without_gaps = True  # the current step

    def trim(self) -> None:
        """Release gaps if the process has grown. Call it between steps, with few tensors in use."""
        if not self._is_kept:
            return
        resident = _resident_bytes()
        if self._began_without_gaps:
            self._usual_bytes = max(self._usual_bytes, resident)
            self._began_without_gaps = False
        elif resident > self.growth * self._usual_bytes:
            release_freed_memory()
            self._began_without_gaps = True


@cache
def _keep_freed_memory() -> bool:
    """Have glibc keep all freed memory from now on; False if that is not possible here."""
    trim_threshold, top_pad, mmap_max = -1, -2, -4
    settings = ((mmap_max, 0), (trim_threshold, (1 << 31) - 1), (top_pad, 64 << 20))
    libc = _glibc()
    return libc is not None and all(libc.mallopt(option, value) for option, value in settings)


@cache
def _glibc() -> Any:
    """The C library if it is glibc, else None."""
    is_glibc = platform.system() == "Linux" and platform.libc_ver()[0] == "glibc"
    return ctypes.CDLL(None) if is_glibc else None


def _resident_bytes() -> int:
    """Bytes of main memory that this process occupies."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
