"""Sequences as one tensor: laid end to end, or padded where a model needs that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from moli.training.batching.samples import Tokens


@dataclass(frozen=True, slots=True)
class Batch:
    """Sequences as a model takes them.

    Attributes:
        inputs: the arguments of the model's forward pass.
        tokens: where each token stands among the rows taken one after another, [tokens].
        starts: where each sequence starts, counted in tokens, [sequences].
        packed: whether they lie end to end.
    """

    inputs: dict[str, Any]
    tokens: torch.Tensor
    starts: torch.Tensor
    packed: bool

    def gather(self, states: torch.Tensor) -> torch.Tensor:
        """States [N, L, ...] of the rows as states [tokens, ...] of the tokens in order.

        Those of a learnt prompt, which PEFT puts before the rows, are left out.
        """
        flat = states[:, -self.inputs["input_ids"].shape[1] :].flatten(0, 1)
        return flat if self.packed else flat[self.tokens]


def collate(
    sequences: Sequence[Tokens],
    *,
    packed: bool,
    pad: int = 0,
    first_position: int = 0,
    device: torch.device | str = "cpu",
    **beside: Sequence[Tokens],
) -> Batch:
    """Lay sequences out for a model.

    Args:
        pad: the id that fills a padded row.
        first_position: the number of the first position, where a model does not count them from 0
            (RoBERTa counts from 2).
        beside: other inputs with a number for each token, such as `token_type_ids`.
    """
    lengths = np.array([len(each) for each in sequences])
    ends = np.cumsum(lengths)
    named = {"input_ids": sequences, **beside}
    if packed:
        inputs: dict[str, Any] = {key: _flat(value, device)[None] for key, value in named.items()}
        places = [np.arange(first_position, first_position + each) for each in lengths]
        inputs["position_ids"] = _flat(places, device)[None]
        borders = np.concatenate([[0], ends])
        inputs["cu_seq_lens_q"] = torch.as_tensor(borders, dtype=torch.int32, device=device)
        inputs["max_length_q"] = int(lengths.max())
        tokens = torch.arange(int(ends[-1]), device=device)
    else:
        inputs = {
            key: _padded(value, pad if key == "input_ids" else 0, device)
            for key, value in named.items()
        }
        mask = np.arange(lengths.max())[None] < lengths[:, None]
        inputs["attention_mask"] = torch.as_tensor(mask.astype(np.int64), device=device)
        tokens = torch.as_tensor(np.flatnonzero(mask), device=device)
    starts = torch.as_tensor(ends - lengths, device=device)
    return Batch(inputs, tokens, starts, packed)


def _flat(parts: Sequence[Any], device: torch.device | str) -> torch.Tensor:
    return torch.as_tensor(np.concatenate(parts).astype(np.int64), device=device)


def _padded(parts: Sequence[Tokens], fill: int, device: torch.device | str) -> torch.Tensor:
    rows = np.full((len(parts), max(map(len, parts))), fill, np.int64)
    for row, part in zip(rows, parts, strict=True):
        row[: len(part)] = part
    return torch.as_tensor(rows, device=device)
