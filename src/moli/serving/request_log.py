"""The log of a server: a line of JSON for each request and for other events.

It contains no text of a request or an answer, unless `log_texts` is set.
"""

from __future__ import annotations

import json
import logging
import time

_log = logging.getLogger("moli.requests")


def log(event: str, **fields: object) -> None:
    """Write a line of JSON with an event and its fields to the request log."""
    if _log.isEnabledFor(logging.INFO):
        _log.info(json.dumps({"time": round(time.time(), 3), "event": event, **fields}))


def add_log_handler(handler: logging.Handler) -> None:
    """Have a handler write the request log."""
    _log.setLevel(logging.INFO)
    _log.propagate = False
    _log.addHandler(handler)
