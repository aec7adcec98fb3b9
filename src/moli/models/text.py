"""Tokenizers and how texts are cut to a length without losing their special tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moli.models.reference import ModelReference
from moli.records.errors import ModelError


def folder_of(reference: str) -> str:
    """The folder or hub name that transformers loads a reference from.

    Raises:
        ModelError: it names a model that is not made of weights on this machine.
    """
    parsed = ModelReference.parse(reference)
    if parsed.scheme == "hub":
        return parsed.name
    if parsed.scheme == "builtin" and parsed.name == "minilm":
        from moli.models.embedding import builtin_folder

        return str(builtin_folder())
    raise ModelError(
        "not a model whose weights can be trained",
        where=reference,
        fix="Name a folder, org/name or builtin:minilm.",
    )


def load_tokenizer(reference: str) -> Any:
    """The tokenizer of a model.

    Raises:
        ModelError: its files are not to be had.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder_of(reference))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"no tokenizer can be loaded ({str(error).splitlines()[0]})",
            where=reference,
            fix="Check the name; without a network, give a folder.",
        ) from error


def load_config(reference: str) -> Any:
    """The configuration of a model.

    Raises:
        ModelError: there is none, or it is of an unknown kind.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder_of(reference))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"no model can be found ({str(error).splitlines()[0]})",
            where=reference,
            fix="Check the name; without a network, give a folder.",
        ) from error


def max_positions(reference: str) -> int:
    """How many tokens a model has places for; a large number where it does not say."""
    config = load_config(reference)
    places = getattr(config, "max_position_embeddings", 0) or getattr(config, "n_positions", 0)
    padding = config.pad_token_id
    if config.model_type in ("roberta", "xlm-roberta", "camembert") and padding is not None:
        places -= padding + 1  # its places begin after the padding's
    return int(places) or 1 << 20


class Cutter:
    """Texts as token ids of at most a length: what is too long loses its end, not its marks."""

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        self._tokenizer = tokenizer
        self._max = max_length
        plain = tokenizer("a", add_special_tokens=False)["input_ids"]
        marked = tokenizer("a")["input_ids"]
        begin = next(
            (i for i in range(len(marked)) if marked[i : i + len(plain)] == plain), len(marked)
        )
        self._suffix = len(marked) - begin - len(plain)

    def ids(self, texts: Sequence[str]) -> list[tuple[NDArray[np.int32], int]]:
        """For each text its ids, and how many tokens had no room."""
        if not texts:  # which a tokenizer does not take
            return []
        encoded = self._tokenizer(list(texts), return_attention_mask=False, verbose=False)
        return [self._cut(ids) for ids in encoded["input_ids"]]

    def _cut(self, ids: list[int]) -> tuple[NDArray[np.int32], int]:
        over = len(ids) - self._max
        if over > 0:
            ids = ids[: self._max - self._suffix] + ids[len(ids) - self._suffix :]
        return np.asarray(ids, np.int32), max(over, 0)


def read_json(path: Path) -> Any:
    """A JSON file of a model's folder; None where there is none."""
    import json

    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
