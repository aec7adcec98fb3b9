"""Cases for attention by segments: segments of very different lengths, and attention patterns."""

from __future__ import annotations

import pytest
import torch

LENGTHS = [5, 300, 1, 270]
CU_SEQLENS = torch.tensor([0, *LENGTHS]).cumsum(0).int()
PATTERNS = pytest.mark.parametrize(
    ("heads", "keys", "causal", "window"),
    [(4, 4, False, 0), (6, 2, True, 0), (6, 2, True, 100)],
    ids=["encoder", "grouped causal", "sliding window"],
)


class Layer(torch.nn.Module):
    def __init__(self, *, causal: bool) -> None:
        super().__init__()
        self.is_causal = causal
