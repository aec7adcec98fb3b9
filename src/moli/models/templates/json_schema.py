"""JSON schemas as parts of a grammar."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

# As json.dumps writes it. Where white space is free, a weak model writes endless spaces.
SPACES: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


def inlined(schema: Mapping[str, Any]) -> str:
    """JSON of a schema, as a part of a Lark grammar."""
    return f"%json {json.dumps({**schema, 'x-guidance': SPACES})}"
