"""Pooling: the states of a text's tokens made into one vector."""

from __future__ import annotations

import torch

from moli.models.weights.json_files import read_model_json


def pooling_of(folder: str) -> str:
    """ "mean" or "cls" for a sentence encoder, by its configuration; "" for any other model."""
    config = read_model_json(folder, "1_Pooling/config.json")
    if not config:
        return ""
    is_cls = config.get("pooling_mode_cls_token") or config.get("pooling_mode") == "cls"
    return "cls" if is_cls else "mean"


def mean_states(states: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
    """Mean state of each sequence, [sequences, hidden].

    Args:
        states: states of sequences end to end, [tokens, hidden].
        starts: index of each sequence's first token, [sequences].
    """
    lengths = torch.diff(starts, append=starts.new_tensor([len(states)]))
    sequence_indices = torch.repeat_interleave(lengths)
    sums = states.new_zeros(len(starts), states.shape[1]).index_add(0, sequence_indices, states)
    return sums / lengths.clamp(min=1)[:, None]
