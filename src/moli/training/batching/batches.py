"""Batches: sequences as one tensor, laid end to end, or padded where a model needs that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from moli.training.batching.samples import Tokens


@dataclass(frozen=True, slots=True)
class Batch:
    """Sequences as inputs of a model's forward pass, packed end to end or padded.

    Attributes:
        inputs: arguments of the model's forward pass.
        token_indices: index of each token in the rows taken one after another, [tokens].
        starts: index among all tokens of each sequence's first one, [sequences].
        packed: whether the sequences lie end to end in a single row.
    """

    inputs: dict[str, Any]
    token_indices: torch.Tensor
    starts: torch.Tensor
    packed: bool

    def gather(self, states: torch.Tensor) -> torch.Tensor:
        """States of all tokens in order, [tokens, ...], from states of the rows, [N, L, ...].

        States of virtual tokens, which PEFT puts before the rows, are left out.
        """
        flat = states[:, -self.inputs["input_ids"].shape[1] :].flatten(0, 1)
        return flat if self.packed else flat[self.token_indices]


def collate(
    sequences: Sequence[Tokens],
    *,
    packed: bool,
    padding_id: int = 0,
    first_position: int = 0,
    device: torch.device | str = "cpu",
    **token_inputs: Sequence[Tokens],
) -> Batch:
    """Make a batch of sequences.

    Args:
        padding_id: the id that fills a padded row.
        first_position: id of the first position, where a model does not count them from 0 (RoBERTa
            counts from 2).
        token_inputs: other inputs with a number for each token, such as `token_type_ids`.
    """
    lengths = np.array([len(each) for each in sequences])
    ends = np.cumsum(lengths)
    by_name = {"input_ids": sequences, **token_inputs}
    if packed:
        inputs: dict[str, Any] = {
            name: _end_to_end(rows, device)[None] for name, rows in by_name.items()
        }
        positions = [np.arange(first_position, first_position + length) for length in lengths]
        inputs["position_ids"] = _end_to_end(positions, device)[None]
        borders = np.concatenate([[0], ends])
        inputs["cu_seq_lens_q"] = torch.as_tensor(borders, dtype=torch.int32, device=device)
        inputs["max_length_q"] = int(lengths.max())
        token_indices = torch.arange(int(ends[-1]), device=device)
    else:
        inputs = {
            name: _padded(rows, padding_id if name == "input_ids" else 0, device)
            for name, rows in by_name.items()
        }
        mask = np.arange(lengths.max())[None] < lengths[:, None]
        inputs["attention_mask"] = torch.as_tensor(mask.astype(np.int64), device=device)
        token_indices = torch.as_tensor(np.flatnonzero(mask), device=device)
    starts = torch.as_tensor(ends - lengths, device=device)
    return Batch(inputs, token_indices, starts, packed)


def _end_to_end(rows: Sequence[Any], device: torch.device | str) -> torch.Tensor:
    """Sequences as one tensor of all their tokens."""
    return torch.as_tensor(np.concatenate(rows).astype(np.int64), device=device)


def _padded(sequences: Sequence[Tokens], padding: int, device: torch.device | str) -> torch.Tensor:
    """Sequences as rows of the longest one's length, filled up with `padding`."""
    rows = np.full((len(sequences), max(map(len, sequences))), padding, np.int64)
    for row, sequence in zip(rows, sequences, strict=True):
        row[: len(sequence)] = sequence
    return torch.as_tensor(rows, device=device)
