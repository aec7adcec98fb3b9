"""What tasks on transformers' models share: tokenizer, loading, laying out, saving."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch

from moli.models.tokenizers import load_tokenizer
from moli.models.weights.hashes import ModelHashes, hashes_of
from moli.models.weights.loading import folder_of, load_config, max_positions
from moli.records.errors import ModelError
from moli.training import methods
from moli.training.batching.batches import Batch, collate
from moli.training.batching.samples import Tokens
from moli.training.kernels import attention
from moli.training.recipes.method_table import METHODS
from moli.training.recipes.recipe import Recipe
from moli.training.tasks.base.task import Task
from moli.training.tasks.base.wrapped_models import unwrapped_model

# What families call them in their configurations.
_ATTENTION_DROPOUT = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop")
_DROPOUT = ("hidden_dropout_prob", "dropout", "dropout_rate", "resid_pdrop", "embd_pdrop")


class TransformerTask(Task):
    """A task on a transformers model with its tokenizer.

    Attributes:
        kind: the class of transformers that loads it, such as `AutoModelForSequenceClassification`.
    """

    kind: ClassVar[str]
    default_max_length: ClassVar[int] = 512

    @cached_property
    def hidden_size(self) -> int:
        if self.from_scratch:
            return 0
        config = load_config(self.recipe.base)
        return int(getattr(config, "hidden_size", 0) or getattr(config, "d_model", 0))

    def base_hashes(self) -> ModelHashes:
        return hashes_of(folder_of(self.recipe.base), self.tokenizer)

    @cached_property
    def tokenizer(self) -> Any:
        return load_tokenizer(self.recipe.base)

    @cached_property
    def max_length(self) -> int:
        """Tokens of a sequence: what was asked for, within what the model has positions for."""
        wanted = self.recipe.max_length or self.default_max_length
        return min(wanted, max_positions(self.recipe.base))

    def build(self, dtype: torch.dtype) -> torch.nn.Module:
        return self.pretrained(dtype)

    def pretrained(self, dtype: torch.dtype, **options: Any) -> torch.nn.Module:
        """The base model in `dtype`, new heads from torch's generator."""
        return load(self.kind, self.recipe, folder_of(self.recipe.base), dtype, options)

    def restore(self, folder: Path, dtype: torch.dtype) -> torch.nn.Module:
        self.load_state(folder)
        self.tokenizer = load_tokenizer(str(folder))
        if methods.is_adapter_folder(folder):
            return methods.load_adapter(self.build(dtype), folder)
        return load(self.kind, self.recipe, str(folder), dtype, {})

    def collate(
        self, sequences: Sequence[Tokens], model: torch.nn.Module, *, packed: bool, **beside: Any
    ) -> Batch:
        inner = unwrapped_model(model)
        return collate(
            sequences,
            packed=packed,
            pad=inner.config.pad_token_id or 0,
            first_position=_first_position(inner),
            device=inner.device,
            **beside,
        )

    def save(self, model: torch.nn.Module, folder: Path) -> None:
        super().save(model, folder)
        self.tokenizer.save_pretrained(folder)


def load(
    kind: str, recipe: Recipe, source: str, dtype: torch.dtype, options: dict[str, Any]
) -> torch.nn.Module:
    """A model with attention by segments if it supports that, otherwise with torch's.

    Raises:
        ModelError: the model cannot be loaded.
    """
    import transformers

    transformers.logging.set_verbosity_error()  # new heads are meant to be missing
    transformers.logging.disable_progress_bar()
    attention.register()
    config = load_config(source)
    if METHODS[recipe.method or "full"].quantizes_base and torch.cuda.is_available():
        methods.require_four_bit_support()
        options |= methods.four_bit_options(dtype)
    for name in _ATTENTION_DROPOUT:
        if hasattr(config, name):
            options[name] = recipe.dropout or 0.0
    for name in _DROPOUT:
        if hasattr(config, name) and recipe.dropout is not None:
            options[name] = recipe.dropout
    maker = getattr(transformers, kind)
    try:
        for implementation in (attention.NAME, "sdpa", "eager"):
            try:
                loaded: tuple[torch.nn.Module, dict[str, Any]] = maker.from_pretrained(
                    source,
                    dtype=dtype,
                    attn_implementation=implementation,
                    output_loading_info=True,
                    **options,
                )
                methods.mark_new_modules(loaded[0], set(loaded[1]["missing_keys"]))
                return _with_known_attention(loaded[0])
            except ValueError as error:
                if "attention" not in str(error).lower() or implementation == "eager":
                    raise
    except (OSError, ValueError) as error:
        raise ModelError(
            f"cannot be loaded as {kind} ({str(error).splitlines()[0]})",
            where=recipe.base,
            fix="Check the name; without a network, give a folder.",
        ) from error
    raise AssertionError("the last implementation returns or raises")


def _with_known_attention(model: Any) -> torch.nn.Module:
    """The model; one whose scores SDPA cannot compute (soft caps, sinks) with its own attention."""
    if model._supports_attention_backend and not model._supports_sdpa:
        model.set_attn_implementation("eager")
    made: torch.nn.Module = model
    return made


def _first_position(model: Any) -> int:
    """RoBERTa and its relatives number positions from one beyond the padding's."""
    places = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    padding = getattr(places, "padding_idx", None)
    return 0 if padding is None else int(padding) + 1
