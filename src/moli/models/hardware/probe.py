"""What this machine does well, found by a short benchmark."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from moli.models.hardware.memory import available_memory

_HOPELESS = 5.0  # GFLOP/s
_ROWS = {"cpu": 4096, "cuda": 1 << 16}  # enough to keep the device busy
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True, slots=True)
class Machine:
    """What was found.

    Attributes:
        device: "cuda" or "cpu".
        threads: that a matrix product runs on.
        gflops: of products of a tall matrix with one of 384 x 1536, by precision.
        memory: bytes that are available.
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
    """Benchmark the machine: under half a second."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # A processor that only imitates a type is hundreds of times slower with it: seconds a product.
    # Of small ones the best counts, since any may have been held up by other processes.
    bf16 = max(_gflops(torch.bfloat16, device, 8) for _ in range(3))
    gflops = {
        "bf16": bf16 if bf16 < _HOPELESS else _gflops(torch.bfloat16, device, _ROWS[device]),
        "fp32": _gflops(torch.float32, device, _ROWS[device]),
    }
    threads = min(torch.get_num_threads(), available_cores())
    return Machine(device, threads, gflops, free_memory())


def free_memory() -> int:
    """Bytes that are available: of the GPU's memory where there is one, else of main memory."""
    if not torch.cuda.is_available():
        return available_memory()
    torch.cuda.empty_cache()  # else what torch keeps for itself counts as taken
    return torch.cuda.mem_get_info()[0]


def available_cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Cores that this process may use: torch counts all of the machine, a container has its share.

    Threads beyond that share wait for each other in every product.
    """
    affine = getattr(os, "sched_getaffinity", None)  # not on a Mac
    cores = len(affine(0)) if affine else os.cpu_count() or 1
    try:
        most, period = quota.read_text(encoding="ascii").split()
        return max(1, min(cores, math.ceil(int(most) / int(period))))
    except (OSError, ValueError):  # no such file, or "max"
        return cores


def _gflops(dtype: torch.dtype, device: str, rows: int) -> float:
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
