"""JSON schemas as parts of a grammar."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

# White space as json.dumps writes it. Where it is free, a weak model writes endless spaces.
JSON_WHITESPACE: Any = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
}


def lark_json(schema: Mapping[str, Any]) -> str:
    """An expression in llguidance's dialect of Lark that matches JSON by a schema."""
    return f"%json {json.dumps({**schema, 'x-guidance': JSON_WHITESPACE})}"
