"""Dropout (Srivastava et al. 2014) with random numbers that a CPU draws fast.

torch draws a Bernoulli variable for each element, which takes a CPU as long as the matrix product
beside it. Here eight elements share one 64-bit draw, so a probability is a multiple of 1/256.
"""

from __future__ import annotations

from typing import NamedTuple

import torch


class DroppedValues(NamedTuple):
    """Values after dropout.

    Attributes:
        values: 0 where dropped, otherwise scaled up.
        kept: mask of 0 and 1, in the type of the values.
        scale: factor of the values that are kept.
    """

    values: torch.Tensor
    kept: torch.Tensor
    scale: float


def drop(values: torch.Tensor, probability: float) -> DroppedValues:
    """Drop values at random, drawn from torch's generator.

    The probability is rounded to a multiple of 1/256, and the scale fits the rounded one, so the
    expectation is that of `values`.
    """
    dropped_of_256 = round(probability * 256)
    count = values.numel()
    draws = torch.empty((count + 7) // 8, dtype=torch.int64, device=values.device)
    draws.random_(-(1 << 63), None)  # over all 64 bits: random_() alone leaves the sign out
    kept = torch.empty_like(values, requires_grad=False)
    # Written as numbers at once: a comparison to booleans takes five times as long.
    torch.ge(draws.view(torch.uint8)[:count].view(values.shape), dropped_of_256, out=kept)
    scale = 256 / (256 - dropped_of_256)
    return DroppedValues((values * kept).mul_(scale), kept, scale)


class ByteDropout(torch.nn.Module):
    """Dropout by `drop`, in place of `torch.nn.Dropout`."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.p = probability

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """The values after dropout; unchanged outside of training."""
        if not self.training or not round(self.p * 256):
            return values
        return drop(values, self.p).values


def replace_dropout(model: torch.nn.Module) -> int:
    """Replace every `torch.nn.Dropout` in a model by a `ByteDropout`.

    Returns:
        The number of modules replaced.
    """
    replaced = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if type(child) is torch.nn.Dropout
    ]
    for parent, name, child in replaced:
        setattr(parent, name, ByteDropout(child.p))
    return len(replaced)
