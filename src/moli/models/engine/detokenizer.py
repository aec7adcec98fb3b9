"""Tokens to text as they come: whole characters only, and nothing of a stop text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_HALF = "\N{REPLACEMENT CHARACTER}"  # what a tokenizer writes for a part of a character


class Writer:
    """The text of one answer.

    Attributes:
        stopped: whether a stop text has been met; all after it is dropped.
    """

    def __init__(self, tokenizer: Any, stops: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._stops = tuple(filter(None, stops))
        self._ids: list[int] = []
        # Tokens are decoded with those just before them, on which their spaces may depend.
        self._before = self._told = 0
        self._waiting = ""
        self.stopped = False

    def push(self, token: int) -> str:
        """The text that is certain after one more token."""
        self._ids.append(token)
        return self._release(self._decoded(whole=True))

    def close(self) -> str:
        """What is left when no token follows."""
        if self.stopped:
            return ""
        text = self._release(self._decoded(whole=False))
        waiting, self._waiting = self._waiting, ""
        return text if self.stopped else text + waiting

    def _decoded(self, *, whole: bool) -> str:
        """The text of the tokens not yet given out; "" while a character is incomplete."""
        known = self._decode(self._ids[self._before : self._told])
        text = self._decode(self._ids[self._before :])
        if len(text) <= len(known) or (whole and text.endswith(_HALF)):
            return ""
        self._before, self._told = self._told, len(self._ids)
        return text[len(known) :]

    def _decode(self, ids: Sequence[int]) -> str:
        return str(
            self._tokenizer.decode(
                ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )

    def _release(self, text: str) -> str:
        self._waiting += text
        found = [at for at in map(self._waiting.find, self._stops) if at >= 0]
        if found:
            self.stopped = True
            text, self._waiting = self._waiting[: min(found)], ""
            return text
        held = max((_overlap(self._waiting, stop) for stop in self._stops), default=0)
        at = len(self._waiting) - held
        text, self._waiting = self._waiting[:at], self._waiting[at:]
        return text


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of a text may begin a stop text.

    >>> _overlap("one EN", "END")
    2
    """
    most = min(len(text), len(stop) - 1)
    return next((n for n in range(most, 0, -1) if text.endswith(stop[:n])), 0)
