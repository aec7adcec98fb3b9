"""Dropout (Srivastava et al. 2014) whose randomness is cheap on a CPU.

torch draws a Bernoulli variable for each element, which takes a CPU as long as the matrix product
beside it. Here eight elements share one 64-bit draw, so a probability is a multiple of 1/256.
"""

from __future__ import annotations

import torch


def drop(values: torch.Tensor, probability: float) -> tuple[torch.Tensor, torch.Tensor, float]:
    """What is kept of `values` and scaled up, with the mask of 0 and 1 and the scale.

    The probability is rounded to a multiple of 1/256, and the scale fits the rounded one, so the
    expectation is that of `values`. The draw comes from torch's generator.
    """
    dropped = round(probability * 256)
    count = values.numel()
    draws = torch.empty((count + 7) // 8, dtype=torch.int64, device=values.device)
    draws.random_(-(1 << 63), None)  # over all 64 bits: random_() alone leaves the sign out
    kept = torch.empty_like(values, requires_grad=False)
    # Written as numbers at once: a comparison to booleans takes five times as long.
    torch.ge(draws.view(torch.uint8)[:count].view(values.shape), dropped, out=kept)
    scale = 256 / (256 - dropped)
    return (values * kept).mul_(scale), kept, scale


class ByteDropout(torch.nn.Module):
    """In place of `torch.nn.Dropout`."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.p = probability

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if not self.training or not round(self.p * 256):
            return values
        return drop(values, self.p)[0]


def replace_dropout(model: torch.nn.Module) -> int:
    """Give a model the cheap dropout wherever it has torch's; returns in how many places."""
    places = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if type(child) is torch.nn.Dropout
    ]
    for parent, name, child in places:
        setattr(parent, name, ByteDropout(child.p))
    return len(places)
