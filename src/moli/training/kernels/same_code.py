"""Which modules compute the same: transformers has a class for each kind of model."""

from __future__ import annotations

import torch


def runs_same_code(module: torch.nn.Module, kind: type[torch.nn.Module]) -> bool:
    """Whether a module's forward pass is, instruction by instruction, that of another class.

    To try both on a few numbers would not do: some clamp what is large, or drop out in training.
    """
    own, other = (getattr(each.forward, "__code__", None) for each in (type(module), kind))
    if own is None or other is None or "forward" in vars(module):
        return False
    return (own.co_code, own.co_names, own.co_consts) == (
        other.co_code,
        other.co_names,
        other.co_consts,
    )
