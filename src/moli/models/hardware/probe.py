"""The devices of this machine, their memory, and their speed by a short benchmark."""

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

_EMULATED = 5.0  # GFLOP/s; below this, a processor only emulates a type
_ROWS = {"cpu": 4096, "cuda": 1 << 16}  # of a matrix that keeps the device busy
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True, slots=True)
class Machine:
    """The device that models run on.

    Attributes:
        device: "cuda" or "cpu".
        threads: number of threads that compute a matrix product.
        gflops: speed of products of a tall matrix with one of 384 x 1536, by precision.
        memory: available bytes.
    """

    device: str
    threads: int
    gflops: dict[str, float]
    memory: int

    @property
    def precision(self) -> str:
        """The precision to compute in: "bf16" where it is clearly faster, else "fp32"."""
        return "bf16" if self.gflops["bf16"] > 1.2 * self.gflops["fp32"] else "fp32"


def probe() -> Machine:
    """Benchmark the machine, in less than half a second."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # A processor that only emulates a type is hundreds of times slower with it: seconds a product.
    # The best of several small ones counts, since other processes may have held up any of them.
    bf16 = max(_gflops(torch.bfloat16, device, 8) for _ in range(3))
    gflops = {
        "bf16": bf16 if bf16 < _EMULATED else _gflops(torch.bfloat16, device, _ROWS[device]),
        "fp32": _gflops(torch.float32, device, _ROWS[device]),
    }
    threads = min(torch.get_num_threads(), available_cores())
    return Machine(device, threads, gflops, free_memory())


def free_memory(device: torch.device | None = None) -> int:
    """Available bytes of a device's memory.

    Args:
        device: a GPU or the CPU; by default the current GPU if there is one, else the CPU.
    """
    on_gpu = torch.cuda.is_available() if device is None else device.type == "cuda"
    if not on_gpu:
        return available_memory()
    torch.cuda.empty_cache()  # else memory that torch keeps for later counts as taken
    return torch.cuda.mem_get_info(device)[0]


def available_cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Number of cores that this process may use.

    torch counts all cores of the machine, but a container may have a share of them, and threads
    beyond that share wait for each other in every product.
    """
    get_affinity = getattr(os, "sched_getaffinity", None)  # not on a Mac
    cores = len(get_affinity(0)) if get_affinity else os.cpu_count() or 1
    try:
        limit, period = quota.read_text(encoding="ascii").split()
        return max(1, min(cores, math.ceil(int(limit) / int(period))))
    except (OSError, ValueError):  # no such file, or "max"
        return cores


def _gflops(dtype: torch.dtype, device: str, rows: int) -> float:
    """Speed of a matrix product of [rows, 384] with [384, 1536], in GFLOP/s."""
    left = torch.ones(rows, 384, dtype=dtype, device=device)
    right = torch.ones(384, 1536, dtype=dtype, device=device)

    def multiply() -> None:
        """Compute the product once, and on a GPU wait until it is done."""
        torch.mm(left, right)
        if device == "cuda":
            torch.cuda.synchronize()

    return 2 * rows * 384 * 1536 / median_seconds(multiply) / 1e9


def median_seconds(call: Callable[[], object], times: int = 5) -> float:
    """Median time of a few calls, after a first call that is not counted."""
    call()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
