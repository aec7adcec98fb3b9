"""Tasks on models of transformers: their tokenizer, how they are loaded, batched and saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch

from moli.models.tokenizers import load_tokenizer
from moli.models.weights.hashes import ModelHashes, hashes_of
from moli.models.weights.loading import describe_failure, folder_of, load_config, max_positions
from moli.records.errors import ModelError
from moli.training import methods
from moli.training.batching.batches import Batch, collate
from moli.training.batching.samples import Tokens
from moli.training.kernels import attention
from moli.training.recipes.recipe import Recipe
from moli.training.tasks.base.task import Task
from moli.training.tasks.base.wrapped_models import unwrapped_model

# Names of dropout rates in the configurations of model families.
_ATTENTION_DROPOUT = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop")
_DROPOUT = ("hidden_dropout_prob", "dropout", "dropout_rate", "resid_pdrop", "embd_pdrop")


class TransformerTask(Task):
    """A task on a transformers model with its tokenizer.

    Attributes:
        auto_class: name of the class in transformers that loads the model, such as
            `AutoModelForSequenceClassification`.
        default_max_length: maximum number of tokens in a sequence if the recipe sets none.
    """

    auto_class: ClassVar[str]
    default_max_length: ClassVar[int] = 512

    @cached_property
    def hidden_size(self) -> int:
        """Width of the base's hidden states, from its configuration; 0 for a new model."""
        if self.from_scratch:
            return 0
        config = load_config(self.recipe.base)
        return int(getattr(config, "hidden_size", 0) or getattr(config, "d_model", 0))

    def base_hashes(self) -> ModelHashes:
        """Hashes of the base's weights, tokenizer and template."""
        return hashes_of(folder_of(self.recipe.base), self.tokenizer)

    @cached_property
    def tokenizer(self) -> Any:
        """The base's tokenizer."""
        return load_tokenizer(self.recipe.base)

    @cached_property
    def max_length(self) -> int:
        """The recipe's maximum or the default, limited to the positions that the model has."""
        return min(self.recipe.max_length or self.default_max_length, self.length_limit)

    @property
    def length_limit(self) -> int:
        """Number of positions that the base has."""
        return max_positions(self.recipe.base)

    def build(self, dtype: torch.dtype) -> torch.nn.Module:
        """The base model."""
        return self.load_base(dtype)

    def load_base(self, dtype: torch.dtype, **options: Any) -> torch.nn.Module:
        """The base model; new heads are drawn from torch's generator.

        Args:
            options: values of the model's configuration, such as its labels.
        """
        folder = folder_of(self.recipe.base)
        return load_pretrained(self.auto_class, self.recipe, folder, dtype, options)

    def restore(self, folder: Path, dtype: torch.dtype) -> torch.nn.Module:
        """The model saved in a folder, or the base with the adapter saved there."""
        self.load_state(folder)
        self.tokenizer = load_tokenizer(str(folder))
        if methods.is_adapter_folder(folder):
            return methods.load_adapter(self.build(dtype), folder)
        return load_pretrained(self.auto_class, self.recipe, str(folder), dtype, {})

    def collate(
        self,
        sequences: Sequence[Tokens],
        model: torch.nn.Module,
        *,
        packed: bool,
        continues: Sequence[int] = (),
        token_inputs: Mapping[str, Sequence[Tokens]] | None = None,
    ) -> Batch:
        """A batch of sequences for this model.

        Args:
            continues: for each sequence, the index of the one that it continues, or -1.
            token_inputs: other inputs with a number for each token, such as `token_type_ids`.
        """
        inner = unwrapped_model(model)
        return collate(
            sequences,
            packed=packed,
            continues=continues,
            padding_id=inner.config.pad_token_id or 0,
            first_position=_first_position(inner),
            device=inner.device,
            **(token_inputs or {}),
        )

    def save_state(self, model: torch.nn.Module, folder: Path) -> None:
        """Write the task's state and the tokenizer."""
        super().save_state(model, folder)
        self.tokenizer.save_pretrained(folder)


def load_pretrained(
    auto_class: str, recipe: Recipe, source: str, dtype: torch.dtype, options: dict[str, Any]
) -> torch.nn.Module:
    """A model with attention by segments if it supports that, otherwise with torch's.

    Args:
        auto_class: name of the class in transformers that loads it.
        recipe: sets dropout rates, and whether weights are loaded in 4 bits.
        source: folder or hub name.
        options: values of the model's configuration, such as its labels.

    Raises:
        ModelError: the model cannot be loaded.
    """
    import transformers

    transformers.logging.set_verbosity_error()  # new heads are meant to be missing
    transformers.logging.disable_progress_bar()
    attention.register()
    config = load_config(source)
    if methods.method_of(recipe).quantizes_base and torch.cuda.is_available():
        methods.require_four_bit_support()
        options |= methods.four_bit_options(dtype)
    for name in _ATTENTION_DROPOUT:
        if hasattr(config, name):
            options[name] = recipe.dropout or 0.0
    for name in _DROPOUT:
        if hasattr(config, name) and recipe.dropout is not None:
            options[name] = recipe.dropout
    from_pretrained = getattr(transformers, auto_class).from_pretrained
    try:
        for implementation in (attention.NAME, "sdpa", "eager"):
            try:
                model, info = from_pretrained(
                    source,
                    dtype=dtype,
                    attn_implementation=implementation,
                    output_loading_info=True,
                    **options,
                )
                methods.mark_new_modules(model, set(info["missing_keys"]))
                return _with_supported_attention(model)
            except ValueError as error:
                if "attention" not in str(error).lower() or implementation == "eager":
                    raise
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"cannot be loaded as {auto_class} ({describe_failure(error)})",
            where=recipe.base,
            fix="Check the name; without a network, give a folder.",
        ) from error
    raise AssertionError("the last implementation returns or raises")


def _with_supported_attention(model: Any) -> torch.nn.Module:
    """The model, with its own attention if SDPA cannot compute its scores (soft caps, sinks)."""
    if model._supports_attention_backend and not model._supports_sdpa:
        model.set_attn_implementation("eager")
    supported: torch.nn.Module = model
    return supported


def _first_position(model: Any) -> int:
    """Id of the first position: RoBERTa and its relatives count from one beyond the padding's."""
    table = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    padding_id = getattr(table, "padding_idx", None)
    return 0 if padding_id is None else int(padding_id) + 1
