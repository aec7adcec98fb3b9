"""Batches: sequences as one tensor, laid end to end, or padded where a model needs that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from moli.training.batching.samples import Tokens


@dataclass(frozen=True, slots=True)
class Batch:
    """Sequences as inputs of a model's forward pass, packed end to end or padded.

    Attributes:
        inputs: arguments of the model's forward pass.
        token_indices: index of each token in the rows taken one after another, [tokens].
        starts: index among all tokens of each sequence's first one, [sequences].
        previous: index among all tokens of the one before each, [tokens]; for the first of a text
            its own.
        packed: whether the sequences lie end to end in a single row.
    """

    inputs: dict[str, Any]
    token_indices: torch.Tensor
    starts: torch.Tensor
    previous: torch.Tensor
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
    continues: Sequence[int] = (),
    padding_id: int = 0,
    first_position: int = 0,
    device: torch.device | str = "cpu",
    **token_inputs: Sequence[Tokens],
) -> Batch:
    """Make a batch of sequences.

    Args:
        continues: for each sequence, the index of the one before it that it continues, or -1;
            empty if none continues another. A sequence that is continued continues none itself.
            Packed, it is computed once; else a row begins with it for each that continues it.
        padding_id: the id that fills a padded row.
        first_position: id of the first position, where a model does not count them from 0 (RoBERTa
            counts from 2).
        token_inputs: other inputs with a number for each token, such as `token_type_ids`.
    """
    layout = _Layout.of(sequences, continues)
    by_name = {"input_ids": sequences, **token_inputs}
    if packed:
        inputs: dict[str, Any] = {
            name: _end_to_end(rows, device)[None] for name, rows in by_name.items()
        }
        inputs |= layout.segments(first_position, device)
        token_indices = torch.arange(layout.tokens, device=device)
    else:
        inputs = {
            name: _padded(layout.texts(rows), padding_id if name == "input_ids" else 0, device)
            for name, rows in by_name.items()
        }
        lengths = layout.text_lengths
        mask = np.arange(lengths.max())[None] < lengths[:, None]
        inputs["attention_mask"] = torch.as_tensor(mask.astype(np.int64), device=device)
        token_indices = torch.as_tensor(layout.indices_in_rows(int(lengths.max())), device=device)
    starts = torch.as_tensor(layout.starts, device=device)
    previous = torch.as_tensor(layout.previous(), device=device)
    return Batch(inputs, token_indices, starts, previous, packed)


@dataclass(frozen=True, slots=True)
class _Layout:
    """The place of each sequence among all tokens, and the texts that they form.

    Attributes:
        lengths, starts: tokens of each sequence, and the index of its first one, [sequences].
        prefixes: index of the sequence that each one continues, or -1, [sequences].
        ends: the sequences that no other one continues: the last parts of the texts.
    """

    lengths: NDArray[np.int64]
    starts: NDArray[np.int64]
    prefixes: NDArray[np.int64]
    ends: list[int]

    @classmethod
    def of(cls, sequences: Sequence[Tokens], continues: Sequence[int]) -> _Layout:
        """The layout of sequences in their order."""
        lengths = np.array([len(each) for each in sequences], np.int64)
        prefixes = np.array(continues or [-1] * len(sequences), np.int64)
        continued = set(prefixes.tolist())
        ends = [number for number in range(len(lengths)) if number not in continued]
        return cls(lengths, np.cumsum(lengths) - lengths, prefixes, ends)

    @property
    def tokens(self) -> int:
        """Number of all tokens."""
        return int(self.lengths.sum())

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Tokens of its text before each sequence."""
        return np.where(self.prefixes >= 0, self.lengths[self.prefixes], 0)

    @property
    def text_lengths(self) -> NDArray[np.int64]:
        """Tokens of each text."""
        return (self.lengths + self.offsets)[self.ends]

    def texts(self, rows: Sequence[Tokens]) -> list[Tokens]:
        """Each text with a number for each of its tokens, from the numbers of each sequence."""
        pairs = ((self.prefixes[end], rows[end]) for end in self.ends)
        return [np.concatenate([rows[at], own]) if at >= 0 else own for at, own in pairs]

    def indices_in_rows(self, width: int) -> NDArray[np.int64]:
        """Index of each token in rows of `width`, one a text; what is continued is in several."""
        row_of = {int(self.prefixes[end]): row for row, end in reversed([*enumerate(self.ends)])}
        row_of |= {end: row for row, end in enumerate(self.ends)}
        starts = [row_of[number] * width + offset for number, offset in enumerate(self.offsets)]
        return _ranges(np.array(starts), self.lengths)

    def previous(self) -> NDArray[np.int64]:
        """Index of the token before each one; for the first of a text its own."""
        before = np.arange(self.tokens) - 1
        last = self.starts[self.prefixes] + self.lengths[self.prefixes] - 1
        before[self.starts] = np.where(self.prefixes >= 0, last, self.starts)
        return before

    def segments(self, first_position: int, device: torch.device | str) -> dict[str, Any]:
        """Positions, and the borders and keys of the segments, for attention by segments."""
        positions = _ranges(self.offsets + first_position, self.lengths)
        inputs: dict[str, Any] = {
            "position_ids": torch.as_tensor(positions, device=device)[None],
            "cu_seq_lens_q": _borders(self.lengths, device),
            "max_length_q": int(self.lengths.max()),
        }
        if (self.prefixes < 0).all():
            return inputs
        starts = np.stack([self.starts[self.prefixes], self.starts], 1).ravel()
        keys = _ranges(starts, np.stack([self.offsets, self.lengths], 1).ravel())
        key_lengths = self.offsets + self.lengths
        return inputs | {
            "key_indices": torch.as_tensor(keys, device=device),
            "cu_seq_lens_k": _borders(key_lengths, device),
            "max_length_k": int(key_lengths.max()),
        }


def _ranges(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers from each start on, as many as its length, one range after another."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(int(ends[-1]))


def _borders(lengths: NDArray[np.int64], device: torch.device | str) -> torch.Tensor:
    """Indices where segments of these lengths begin and end, int32 [segments + 1]."""
    return torch.as_tensor(np.append(0, np.cumsum(lengths)), dtype=torch.int32, device=device)


def _end_to_end(rows: Sequence[Any], device: torch.device | str) -> torch.Tensor:
    """Sequences as one tensor of all their tokens."""
    return torch.as_tensor(np.concatenate(rows).astype(np.int64), device=device)


def _padded(sequences: Sequence[Tokens], padding: int, device: torch.device | str) -> torch.Tensor:
    """Sequences as rows of the longest one's length, filled up with `padding`."""
    rows = np.full((len(sequences), max(map(len, sequences))), padding, np.int64)
    for row, sequence in zip(rows, sequences, strict=True):
        row[: len(sequence)] = sequence
    return torch.as_tensor(rows, device=device)
