"""Random masks and tensors for the mathematics of alignment."""

from __future__ import annotations

from collections.abc import Iterator

import torch

ANSWERS, TOKENS = 5, 7


def random_masks(count: int = 20) -> Iterator[tuple[torch.Generator, torch.Tensor]]:
    """Masks with padding behind, before and gaps within; each with a generator for its values."""
    for seed in range(count):
        draw = torch.Generator().manual_seed(seed)
        mask = torch.rand(ANSWERS, TOKENS, generator=draw) < 0.6
        mask[0] = True
        mask[1, 3:] = False
        mask[2, :3] = False
        yield draw, mask


def normal(draw: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


def spoiled(values: torch.Tensor, mask: torch.Tensor, value: float) -> torch.Tensor:
    """The values with another one in all positions outside of the mask."""
    return torch.where(mask, values, value)
