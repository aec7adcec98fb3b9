"""The pattern of an attention: which keys a query may attend to, and the probability of dropout."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class AttentionPattern:
    """Options of an attention that are the same for all of its segments.

    Attributes:
        causal: whether queries see no later keys.
        window: number of keys that a query sees, up to its own position; 0 for all.
        dropout: probability of dropping an attention weight.
    """

    causal: bool
    window: int = 0
    dropout: float = 0.0


def visible_keys(
    queries: int, offset: int, keys: int, window: int, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Mask of the keys that causal queries see, [queries, keys].

    Args:
        offset: index of the key at the first query's position.
        window: number of keys that a query sees; 0 for all up to its position.
    """
    query_index = torch.arange(offset, offset + queries, device=device)[:, None]
    key_index = torch.arange(keys, device=device)[None]
    visible = key_index <= query_index
    return visible & (key_index > query_index - window) if window else visible
