"""The tokenizer of any model that runs here, from transformers or from llama.cpp."""

from __future__ import annotations

from typing import Any

from moli.models.weights.loading import is_gguf, load_pretrained, max_positions
from moli.models.weights.reference import ModelReference


def load_tokenizer(reference: str) -> Any:
    """The tokenizer of a model.

    Raises:
        ModelError: its files are not available.
    """
    parsed = ModelReference.parse(reference)
    if parsed.scheme == "gguf":
        from moli.models.gguf.tokenizer import load_gguf_tokenizer

        return load_gguf_tokenizer(parsed.name)
    return load_pretrained("AutoTokenizer", reference, "its tokenizer cannot be loaded")


def places_of(reference: str, tokenizer: Any) -> int:
    """How many tokens a conversation may have, by the model and by its tokenizer."""
    own = int(tokenizer.model_max_length)
    return own if is_gguf(reference) else min(max_positions(reference), own)
