"""The tokenizer of any model that runs on this machine, from transformers or from llama.cpp."""

from __future__ import annotations

from typing import Any

from moli.models.weights.loading import is_gguf, load_pretrained, max_positions
from moli.models.weights.reference import ModelReference


def load_tokenizer(reference: str) -> Any:
    """Load the tokenizer of a model.

    Raises:
        ModelError: its files are not available.
    """
    parsed = ModelReference.parse(reference)
    if parsed.scheme == "gguf":
        from moli.models.gguf.tokenizer import load_gguf_tokenizer

        return load_gguf_tokenizer(parsed.name)
    return load_pretrained("AutoTokenizer", reference, "its tokenizer cannot be loaded")


def max_model_len_of(reference: str, tokenizer: Any) -> int:
    """Maximum tokens of a conversation, by the model's positions and by its tokenizer's limit."""
    limit = int(tokenizer.model_max_length)
    return limit if is_gguf(reference) else min(max_positions(reference), limit)
