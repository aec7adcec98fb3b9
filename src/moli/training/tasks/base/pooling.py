"""How a text's tokens become one vector."""

from __future__ import annotations

import torch

from moli.models.weights.json_files import read_model_json


def pooling_of(folder: str) -> str:
    """ "mean" or "cls", as a sentence encoder was trained; "" for a model that is none."""
    modes = read_model_json(folder, "1_Pooling/config.json")
    if not modes:
        return ""
    first = modes.get("pooling_mode_cls_token") or modes.get("pooling_mode") == "cls"
    return "cls" if first else "mean"


def mean_states(states: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
    """Each sequence's mean [sequences, hidden] of states [tokens, hidden] that lie end to end."""
    lengths = torch.diff(starts, append=starts.new_tensor([len(states)]))
    owner = torch.repeat_interleave(lengths)
    sums = states.new_zeros(len(starts), states.shape[1]).index_add(0, owner, states)
    return sums / lengths.clamp(min=1)[:, None]
