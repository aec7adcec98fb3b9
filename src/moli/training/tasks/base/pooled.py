"""Tasks whose head reads one vector for a whole text, above an encoder or a causal model."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch

from moli.models.weights.loading import folder_of
from moli.training.methods import method_of
from moli.training.tasks.base.pooling import pooling_of
from moli.training.tasks.base.transformer import TransformerTask
from moli.training.tasks.base.wrapped_models import unwrapped_model


class PooledTask(TransformerTask):
    """A task with a head above the vector by which the base was trained to represent a text.

    That is the mean of the tokens' states for a sentence encoder (Reimers & Gurevych 2019),
    otherwise the first token's state, or the last one's for a causal model.
    """

    state_fields: ClassVar[tuple[str, ...]] = ("pooling",)
    auto_class = "AutoModelForSequenceClassification"

    @cached_property
    def pooling(self) -> str:
        """ "mean" if the head reads the mean of the states; "own" if the model's class in
        transformers pools them in its own way."""
        # Virtual tokens are no part of a text, so no mean may include them.
        if method_of(self.recipe).adds_virtual_tokens:
            return "own"
        return "mean" if pooling_of(folder_of(self.recipe.base)) == "mean" else "own"

    @property
    def export_caveat(self) -> str:
        """Why other programs would answer differently; "" if the head reads the usual vector."""
        if self.pooling == "own":
            return ""
        return "it classifies from the mean of a text's states, which transformers has no class for"

    def build_with_head(self, dtype: torch.dtype, **options: object) -> torch.nn.Module:
        """The base model with a new head.

        Args:
            options: values of the model's configuration, such as its labels.
        """
        return self._without_unused_pooler(self.load_base(dtype, **options))

    def linear_head(self, model: torch.nn.Module) -> torch.nn.Linear | None:
        """The head above the mean of a sentence encoder's states, unless it has two layers."""
        head = getattr(unwrapped_model(model), "classifier", None)
        return head if self.pooling == "mean" and isinstance(head, torch.nn.Linear) else None

    def load_state(self, folder: Path) -> None:
        """Set the task's state and the pooling from the saved state."""
        self.pooling = "own"  # unless the state says otherwise
        super().load_state(folder)

    def restore(self, folder: Path, dtype: torch.dtype) -> torch.nn.Module:
        """The trained model."""
        return self._without_unused_pooler(super().restore(folder, dtype))

    def _without_unused_pooler(self, model: torch.nn.Module) -> torch.nn.Module:
        """The model without BERT's layer for the first token if the head reads the mean instead."""
        inner = unwrapped_model(model)
        if self.pooling == "mean" and getattr(inner.base_model, "pooler", None) is not None:
            inner.base_model.pooler = None
            inner.new_modules = [name for name in inner.new_modules if "pooler" not in name]
        return model
