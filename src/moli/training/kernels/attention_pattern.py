"""The keys that each query may attend to: the borders of segments, and the pattern within them."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Segments:
    """The borders of segments, whose queries see only keys of their own segment.

    A segment may have more keys than queries: it then continues a text whose keys come first, and
    its last query is at the position of its last key.

    Attributes:
        cu_seqlens: indices where the queries of segments begin and end, int32 [segments + 1].
        max_seqlen: queries of the longest segment.
        key_cu_seqlens, max_key_seqlen: the same for keys.
    """

    cu_seqlens: torch.Tensor
    max_seqlen: int
    key_cu_seqlens: torch.Tensor
    max_key_seqlen: int


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
