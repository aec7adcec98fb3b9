"""Hashes of a model's content, so that an adapter is never put on the wrong base."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moli.models.weights.reference import is_hub_name
from moli.records.hashing import hash_weight_files


@dataclass(frozen=True, slots=True)
class ModelHashes:
    """Hashes that identify a model by its content.

    Attributes:
        base: SHA-256 of the weights; "" if there are none yet.
        tokenizer: SHA-256 of the tokenizer; "" if there is none, or none of the tokenizers library.
        template: SHA-256 of the chat template; "" if there is none.
        stop_tokens: ids that end a text.
    """

    base: str
    tokenizer: str
    template: str
    stop_tokens: tuple[int, ...]


def hashes_of(folder: str, tokenizer: Any = None) -> ModelHashes:
    """Hashes that identify a model.

    Args:
        folder: where the weights are: a folder, or a name on the hub.
        tokenizer: the model's; None for a model without one, whose hash of it is "".
    """
    eos = getattr(tokenizer, "eos_token_id", None)
    return ModelHashes(
        base=hash_weights(folder),
        tokenizer=hash_tokenizer(tokenizer),
        template=hash_template(tokenizer),
        stop_tokens=() if eos is None else (int(eos),),
    )


def hash_weights(folder: str) -> str:
    """SHA-256 of a model's weight files in order of name; "" if it has none yet."""
    path = _local_folder(folder)
    return hash_weight_files(path) if path else ""


def hash_tokenizer(tokenizer: Any) -> str:
    """SHA-256 of a fast tokenizer's `tokenizer.json`; "" for None and for a slow tokenizer.

    Settings of truncation and padding are left out, since any call may change them and they do not
    change which ids a text has.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return ""
    state = json.loads(backend.to_str()) | {"truncation": None, "padding": None}
    return hash_text(json.dumps(state, sort_keys=True))


def hash_template(tokenizer: Any) -> str:
    """SHA-256 of a tokenizer's chat template; "" if it has none."""
    template = getattr(tokenizer, "chat_template", None)
    return hash_text(str(template)) if template else ""


def hash_text(text: str) -> str:
    """SHA-256 of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def _local_folder(name: str) -> Path | None:
    """The folder of a model, given by folder or hub name; None if it is not on this machine."""
    if name and Path(name).is_dir():
        return Path(name)
    if not is_hub_name(name):
        return None
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(name, "config.json")
    return Path(config).parent if isinstance(config, str) else None
