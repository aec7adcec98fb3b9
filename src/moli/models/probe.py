"""What this machine does well, found by a few moments of trying."""

from __future__ import annotations

import ctypes
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

_HOPELESS = 5.0  # GFLOP/s
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True, slots=True)
class Machine:
    """What was found.

    Attributes:
        device: "cuda" or "cpu".
        threads: that a matrix product runs on.
        gflops: of matrix products 4096 x 384 x 1536, by precision.
        memory: bytes that can be had.
    """

    device: str
    threads: int
    gflops: dict[str, float]
    memory: int

    @property
    def precision(self) -> str:
        """bf16 where it is clearly faster."""
        return "bf16" if self.gflops["bf16"] > 1.2 * self.gflops["fp32"] else "fp32"


def probe() -> Machine:
    """Try the machine: under half a second."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # A processor that only imitates a type is hundreds of times slower with it: seconds a product.
    # Of small ones the best counts, since any may have been held up by other processes.
    bf16 = max(_gflops(torch.bfloat16, device, 8) for _ in range(3))
    gflops = {
        "bf16": bf16 if bf16 < _HOPELESS else _gflops(torch.bfloat16, device),
        "fp32": _gflops(torch.float32, device),
    }
    memory = torch.cuda.mem_get_info()[0] if device == "cuda" else available_memory()
    return Machine(device, torch.get_num_threads(), gflops, memory)


def _gflops(dtype: torch.dtype, device: str, rows: int = 4096) -> float:
    left = torch.ones(rows, 384, dtype=dtype, device=device)
    right = torch.ones(384, 1536, dtype=dtype, device=device)

    def multiply() -> None:
        torch.mm(left, right)
        if device == "cuda":
            torch.cuda.synchronize()

    return 2 * rows * 384 * 1536 / median_seconds(multiply) / 1e9


def median_seconds(call: Callable[[], object], times: int = 5) -> float:
    """The median of a few timings, after a first call that is not counted."""
    call()
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


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


def keep_memory() -> bool:
    """Let this process keep the memory that tensors give back, for the next ones; whether it can.

    By default glibc returns a large block at once and is handed zeroed pages for the next, which
    costs as much as many an operation on the block.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    trim_threshold, top_pad, mmap_max = -1, -2, -4
    libc = ctypes.CDLL(None)
    return all(
        libc.mallopt(option, value)
        for option, value in ((mmap_max, 0), (trim_threshold, (1 << 31) - 1), (top_pad, 64 << 20))
    )
