"""A model's identity, by its content: so that an adapter is never put on the wrong base."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moli.records.hashing import hash_file


@dataclass(frozen=True, slots=True)
class ModelHashes:
    """SHA-256 of a base's weights, its tokenizer and its chat template; the ids that end a text."""

    base: str
    tokenizer: str
    template: str
    stop_tokens: tuple[int, ...]


def hashes_of(folder: str, tokenizer: Any = None) -> ModelHashes:
    """Hashes of a model's folder (or a hub name, by its cached files) and its tokenizer."""
    end = getattr(tokenizer, "eos_token_id", None)
    return ModelHashes(
        base=hash_weights(folder),
        tokenizer=hash_tokenizer(tokenizer),
        template=hash_template(tokenizer),
        stop_tokens=() if end is None else (int(end),),
    )


def hash_weights(folder: str) -> str:
    """Of the weight files in order of name; empty for a model that has none yet."""
    path = _local(folder)
    files = sorted(path.glob("*.safetensors")) if path else []
    return hash_files(files) if files else ""


def hash_files(files: Iterable[Path]) -> str:
    """Of files in their order, by the hash of each."""
    return hashlib.sha256(b"".join(map(hash_file, files))).hexdigest()


def hash_tokenizer(tokenizer: Any) -> str:
    """Of everything that decides which ids a text has; empty for one without such a description.

    Its truncation and padding are left out: every call sets them, and they get saved too.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return ""
    state = json.loads(backend.to_str()) | {"truncation": None, "padding": None}
    return hash_text(json.dumps(state, sort_keys=True))


def hash_template(tokenizer: Any) -> str:
    """Of the chat template; empty where there is none."""
    template = getattr(tokenizer, "chat_template", None)
    return hash_text(str(template)) if template else ""


def hash_text(text: str) -> str:
    """SHA-256 of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def _local(name: str) -> Path | None:
    if not name:
        return None
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(name, "config.json")
    return Path(config).parent if isinstance(config, str) else None
