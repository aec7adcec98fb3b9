"""The tokenizer of any model that runs on this machine, from transformers or from llama.cpp."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from moli.models.weights.json_files import CONFIG_NAME, read_model_json
from moli.models.weights.loading import (
    check_tokenizer_size,
    folder_of,
    is_gguf,
    load_config,
    load_pretrained,
    max_positions,
)
from moli.models.weights.reference import ModelReference


def load_tokenizer(reference: str) -> Any:
    """Load the tokenizer of a model.

    Raises:
        ModelError: its files are not available, or it has more tokens than the model.
    """
    parsed = ModelReference.parse(reference)
    if parsed.scheme == "gguf":
        from moli.models.gguf.tokenizer import load_gguf_tokenizer

        return load_gguf_tokenizer(parsed.name)
    tokenizer = load_pretrained("AutoTokenizer", reference, "its tokenizer cannot be loaded")
    if read_model_json(folder_of(reference), CONFIG_NAME) is not None:  # an adapter has none
        rows = getattr(load_config(reference).get_text_config(), "vocab_size", None)
        check_tokenizer_size(reference, len(tokenizer), rows)
    return tokenizer


class TokenBytes:
    """The bytes that each token of a tokenizer adds to a text; a character may need several tokens.

    It takes a moment to make.
    """

    def __init__(self, tokenizer: Any) -> None:
        from llguidance.hf import from_tokenizer

        self._tokenizer = tokenizer
        own = getattr(tokenizer, "llguidance_tokenizer", None)
        try:
            self._bytes = own(None) if own else from_tokenizer(tokenizer)
        except ValueError:  # of a kind that llguidance does not know, such as whole words
            self._bytes = None
        added = tokenizer.added_tokens_decoder.items()
        self._special = {token_id for token_id, token in added if token.special}

    def __call__(self, token_id: int) -> bytes:
        """The bytes of a token; b"" for a special one, which is not part of a text."""
        if token_id in self._special:
            return b""
        if self._bytes is None or token_id >= self._bytes.vocab_size:
            return str(self._tokenizer.decode([token_id])).encode()
        return bytes(self._bytes.decode_bytes([token_id]))


@lru_cache(maxsize=16)
def token_bytes_of(tokenizer: Any) -> TokenBytes:
    """The bytes of a tokenizer's tokens, made once for each that is in use."""
    return TokenBytes(tokenizer)


def max_model_len_of(reference: str, tokenizer: Any) -> int:
    """Maximum tokens of a conversation, by the model's positions and by its tokenizer's limit."""
    limit = int(tokenizer.model_max_length)
    return limit if is_gguf(reference) else min(max_positions(reference), limit)
