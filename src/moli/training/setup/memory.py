"""Memory: what a run takes, and what there is; the GPU's where there is one, else main memory."""

from __future__ import annotations

import resource
import sys

import torch

from moli.models.memory import Heap, total_memory


def peak_memory_mb() -> int:
    """The most that this process held at once."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_reserved() >> 20
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on a Mac, else in KiB
    return most >> (20 if sys.platform == "darwin" else 10)


def expected_memory_mb(heap: Heap) -> int:
    """What this process may come to hold if it goes on to need no more than so far."""
    peak = peak_memory_mb()
    return peak if torch.cuda.is_available() else round(peak * heap.growth)


def total_memory_mb() -> int:
    """All that there is."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_properties(0).total_memory >> 20
    return total_memory() >> 20
