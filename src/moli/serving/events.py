"""Server-sent events, and failures that are reported as one of them."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from moli.records.errors import MoliError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StreamFailure:
    """A failure in mid-stream, in words for the client, and its code."""

    message: str
    code: str


def server_sent_event(data: Any, name: str = "") -> str:
    """An event with JSON data; without a name it has no `event` line."""
    header = f"event: {name}\n" if name else ""
    return f"{header}data: {json.dumps(data, ensure_ascii=False)}\n\n"


async def report_failure(events: AsyncIterator[str]) -> AsyncIterator[str]:
    """Pass events on, and a failure as the last one, since the status was sent long ago."""
    try:
        async for event in events:
            yield event
    except Exception as error:  # noqa: BLE001 - logged, and reported to the client
        failure = describe_failure(error)
        body = {
            "message": failure.message,
            "type": "api_error",
            "param": None,
            "code": failure.code,
        }
        yield server_sent_event({"error": body})


def describe_failure(error: Exception) -> StreamFailure:
    """Describe a failure to the client; any other than a MoliError goes to the log."""
    if isinstance(error, MoliError):
        return StreamFailure(str(error), error.code)
    _log.error("a stream failed", exc_info=error)
    return StreamFailure("the server failed; its log says why", "internal_error")
