"""Prompts of encoders: what a query and a passage begin with, as the encoder was trained.

They are read from the model's own files. Many models state theirs on their pages only, so those of
well-known families are listed here by a part of the model's name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moli.models.protocols.encoder import Role
from moli.models.weights.json_files import read_json

Prompts = Mapping[Role, str]

_E5: Prompts = {"query": "query: ", "passage": "passage: "}
_SEARCH: Prompts = {"query": "Represent this sentence for searching relevant passages: "}
_WEB_SEARCH: Prompts = {
    "query": "Instruct: Given a web search query, retrieve relevant passages that answer the query"
    "\nQuery: "
}
# The first pattern that is found in a model's name counts, so exceptions come before the rule.
_BY_NAME: tuple[tuple[str, Prompts], ...] = (
    (r"e5-.*instruct|e5-mistral", _WEB_SEARCH),
    (r"(^|[^a-z0-9])e5(-|$)", _E5),
    (r"bge-m3|bge-.*multilingual-gemma", {}),
    (r"bge-.*zh", {"query": "为这个句子生成表示以用于检索相关文章："}),
    (r"bge-.*en", _SEARCH),
    (r"arctic-embed.*v2", {"query": "query: "}),
    (r"arctic-embed|mxbai-embed|uae-large", _SEARCH),
    (r"nomic-embed|modernbert-embed", {"query": "search_query: ", "passage": "search_document: "}),
    (r"gte-qwen|qwen3-embedding", _WEB_SEARCH),
)
# Names of a passage's prompt in sentence-transformers, in its order.
_PASSAGE_NAMES = ("document", "passage", "corpus")


def read_prompts(folder: Path, config: Mapping[str, Any], reference: str) -> Prompts:
    """The prompts of the encoder in a folder; a role without one is absent or has "".

    Args:
        config: contents of its config.json.
        reference: the name that it was loaded by.

    Raises:
        ModelError: a file cannot be read.
    """
    stated = (read_json(folder / "config_sentence_transformers.json") or {}).get("prompts") or {}
    passage = next((stated[name] for name in _PASSAGE_NAMES if name in stated), "")
    if stated.get("query") or passage:
        return {"query": stated.get("query") or "", "passage": passage}
    origin = (read_json(folder / "origin.json") or {}).get("title", "")
    for name in (reference, folder.name, str(config.get("_name_or_path") or ""), origin):
        for pattern, prompts in _BY_NAME:
            if re.search(pattern, name.lower()):
                return prompts
    return {}
