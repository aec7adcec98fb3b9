"""What is known about a model that was made here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an adapter or a model was made from. Hashes are SHA-256 in hexadecimal.

    Attributes:
        task: the task it was trained for, such as `classification`.
        method: `full`, `lora`, ... ; of `full`, the folder holds a whole model.
        base: the reference of the base model, as the recipe gave it.
        base_hash, tokenizer_hash, template_hash, dataset_hash: of the base's weights, of the
            tokenizer's files, of the chat template (empty without one) and of the data.
        stop_tokens: ids that end an answer.
        parent: the content name of the adapter that training continued from; empty for none.
        recipe: the recipe, with every derived value filled in.
        metrics: those of the evaluation that chose these weights.
        created_at: seconds since 1970.
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
