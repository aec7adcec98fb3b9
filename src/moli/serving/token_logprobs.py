"""Log probabilities of tokens, each with its place in the text that they add up to."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from moli.models.tokenizers import TokenBytes
from moli.records.generation import Delta, FinishReason, ScoredToken

_UNREADABLE = "\N{REPLACEMENT CHARACTER}".encode()


@dataclass(frozen=True, slots=True)
class PlacedToken:
    """A token of a text.

    Attributes:
        data: the bytes of the token; those of all tokens, joined, are the text.
        offset: index of the character of the text that it begins in.
        alternatives: the likeliest tokens in its position, with their bytes.
    """

    data: bytes
    token: str
    offset: int
    logprob: float | None
    alternatives: tuple[tuple[str, bytes, float], ...]

    @property
    def ranked(self) -> dict[str, float] | None:
        """Log probabilities of the likeliest tokens and of this one, by their names."""
        if self.logprob is None:
            return None
        ranked: dict[str, float] = {}
        for name, _, logprob in self.alternatives:
            ranked.setdefault(name, logprob)
        ranked.setdefault(self.token, self.logprob)
        return ranked


class TokenPlacer:
    """Places the tokens of one text, which come with it and partly before it.

    A token is placed when all of its text is known: the text may be held back where a character is
    incomplete, or where a stop sequence may begin. Tokens of a stop sequence are not placed.

    Args:
        tokenizer: names special tokens, which have no bytes.
        offset: characters before the text.
    """

    def __init__(self, tokenizer: Any, bytes_of: TokenBytes, offset: int = 0) -> None:
        self._tokenizer, self._bytes_of = tokenizer, bytes_of
        self._waiting: deque[ScoredToken] = deque()
        self._text = b""  # that is not yet a placed token's
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")
        self._offset = offset
        self._has_begun = False

    def feed(
        self, text: str, tokens: Iterable[ScoredToken], reason: FinishReason | str = ""
    ) -> list[PlacedToken]:
        """Take more text and tokens; return the tokens that are placed now.

        Args:
            reason: why the text ends here; "" if it goes on.
        """
        self._text += text.encode()
        self._waiting += tokens
        placed = []
        while self._waiting and (data := self._next_bytes(self._waiting[0].id)) is not None:
            placed.append(self._place(self._waiting.popleft(), data))
        if reason and self._waiting:
            placed += self._place_last(reason)
        return placed

    def _next_bytes(self, token_id: int) -> bytes | None:
        """The bytes of the next token, taken from the text; None if they are not known yet."""
        own, text = self._bytes_of(token_id), self._text
        if not own:
            return b""
        # Some tokenizers drop a text's first space, and those of whole words have none.
        variants = [own, b" " + own] if self._has_begun else [own, own.removeprefix(b" ")]
        for data in variants:
            if text.startswith(data):
                self._text = text[len(data) :]
                return data
        if any(data.startswith(text) for data in variants):
            return None
        # The model wrote bytes that are no characters, and the text has a mark for them.
        self._text = text.removeprefix(_UNREADABLE)
        return own

    def _place_last(self, reason: FinishReason | str) -> list[PlacedToken]:
        """The tokens that wait when the text ends, without those of a stop sequence."""
        last = list(self._waiting)
        if reason != "stop" or not self._bytes_of(last[-1].id):
            return [self._place(each, self._bytes_of(each.id)) for each in last]
        return [self._place(last[0], self._text)] if self._text else []

    def _place(self, token: ScoredToken, data: bytes) -> PlacedToken:
        """The token with its bytes and its place."""
        offset, self._has_begun = self._offset, self._has_begun or bool(data)
        self._offset += len(self._characters.decode(data))
        alternatives = tuple(
            (
                self._name(other.id, self._bytes_of(other.id)),
                self._bytes_of(other.id),
                other.logprob,
            )
            for other in token.alternatives
        )
        return PlacedToken(data, self._name(token.id, data), offset, token.logprob, alternatives)

    def _name(self, token_id: int, data: bytes) -> str:
        """The text of a token; bytes that are no text are written as \\xE4, as OpenAI does."""
        if not data:
            return str(self._tokenizer.decode([token_id]))
        try:
            return data.decode()
        except UnicodeDecodeError:
            return "".join(f"\\x{byte:02x}" for byte in data)


def scored_tokens(delta: Delta) -> list[ScoredToken]:
    """The tokens of a delta with their log probabilities; [] if these were not requested."""
    rows = zip(delta.ids, delta.logprobs, delta.alternatives, strict=False)
    return [ScoredToken(*row) for row in rows]


def chat_logprobs(tokens: Sequence[PlacedToken]) -> list[dict[str, Any]]:
    """Log probabilities as chat completions and responses have them."""
    return [
        {
            "token": token.token,
            "logprob": token.logprob,
            "bytes": list(token.data),
            "top_logprobs": [
                {"token": name, "logprob": logprob, "bytes": list(data)}
                for name, data, logprob in token.alternatives
            ],
        }
        for token in tokens
    ]


def text_logprobs(tokens: Sequence[PlacedToken]) -> dict[str, Any]:
    """Log probabilities as completions have them."""
    return {
        "tokens": [each.token for each in tokens],
        "token_logprobs": [each.logprob for each in tokens],
        "top_logprobs": [each.ranked for each in tokens],
        "text_offset": [each.offset for each in tokens],
    }
