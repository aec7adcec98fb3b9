"""The manifest of a model that was made here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Manifest:
    """The origin of an adapter or a model. Hashes are SHA-256 in hexadecimal.

    Attributes:
        task: the task it was trained for, such as `classification`.
        method: `full`, `lora`, ... ; with `full`, the folder holds a whole model.
        base: reference of the base model, as in the recipe.
        base_hash, tokenizer_hash, template_hash, dataset_hash: hashes of the base's weights, the
            tokenizer's files, the chat template (empty without one) and the data.
        stop_tokens: ids of tokens that end an answer.
        parent: hash of the adapter that training continued from; empty for none.
        recipe: the recipe, with every derived value filled in.
        metrics: results of the evaluation that selected these weights.
        created_at: seconds since 1970.
        base_metrics: results of the same evaluation before the first step.
        held_out_hash: hash of the examples that both evaluations used; "" without any.
        lineage: what else an aligned model was made from: its recipe, prompts and rewards with
            their hashes; empty for others.
    """

    task: str
    method: str
    base: str
    base_hash: str
    tokenizer_hash: str
    template_hash: str
    stop_tokens: tuple[int, ...]
    dataset_hash: str
    parent: str
    recipe: Mapping[str, Any]
    metrics: Mapping[str, float]
    created_at: float
    base_metrics: Mapping[str, float] = field(default_factory=dict)
    held_out_hash: str = ""
    lineage: Mapping[str, Any] = field(default_factory=dict)
