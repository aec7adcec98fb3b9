"""Memory that a run takes, of the GPU if there is one, else main memory."""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence

import torch

from moli.models.hardware.memory import Heap, total_memory
from moli.models.hardware.probe import free_memory
from moli.training.batching.samples import Sample
from moli.training.loop.step_loss import StepLoss
from moli.training.optimization.optimizers import count_parameters

# Share of the free memory for all that a micro-batch keeps for its backward pass: the rest is for
# what is in use for a moment, and for gaps.
_SAVED_SHARE = 0.6
_BYTES_PER_TRAINED = 12  # bytes for each trained number: its gradient and the two moments of AdamW
_CANDIDATES = 512  # samples of which the largest is tried


def peak_memory_mb() -> int:
    """Most memory that this process has held at once, in MiB."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_reserved() >> 20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on a Mac, else in KiB
    return peak >> (20 if sys.platform == "darwin" else 10)


def expected_memory_mb(heap: Heap) -> int:
    """Memory that this process may grow to, in MiB, if its tensors need no more than so far."""
    peak = peak_memory_mb()
    return peak if torch.cuda.is_available() else round(peak * heap.growth)


def total_memory_mb() -> int:
    """All memory of the GPU if there is one, else all main memory, in MiB."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_properties(0).total_memory >> 20
    return total_memory() >> 20


def tokens_that_fit(loss: StepLoss, samples: Sequence[Sample], *, packed: bool) -> int:
    """Number of tokens that free memory has room for at once, at least those of a large sample.

    A forward pass shows how much is kept for a token. It is that of a large sample, since attention
    keeps more for a token of a longer text.
    """
    largest = max(samples[:_CANDIDATES], key=lambda sample: sample.size)
    trained = [each for each in loss.parameters() if each.requires_grad]
    free = free_memory() - _BYTES_PER_TRAINED * count_parameters(trained)
    size = max(largest.size, 1)
    bytes_per_token = max(_saved_bytes(loss, largest, packed=packed), 1) / size
    return max(size, int(_SAVED_SHARE * free / bytes_per_token))


def _saved_bytes(loss: StepLoss, sample: Sample, *, packed: bool) -> int:
    """Bytes that a forward pass keeps for the backward pass, besides the weights."""
    weights = {each.untyped_storage().data_ptr() for each in loss.parameters()}
    saved: dict[int, int] = {}

    def record(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # itself would refer to what keeps it, and never be freed

    loss.eval()  # so that nothing is drawn, and no running mean is moved
    try:
        with torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
            loss([sample], packed=packed)
    finally:
        loss.train()
    return sum(saved.values())
