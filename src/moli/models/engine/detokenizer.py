"""Tokens decoded to text while they are generated.

Incomplete characters, and text that may begin a stop sequence, are held back until more tokens
decide about them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moli.models.templates.partial_match import partial_match_length

_INCOMPLETE = "\N{REPLACEMENT CHARACTER}"  # decoded from the first bytes of a character


class Detokenizer:
    """Decodes the tokens of one answer as they are generated.

    Attributes:
        stopped: whether a stop sequence has occurred; all text from there on is dropped.
    """

    def __init__(self, tokenizer: Any, stop: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(filter(None, stop))
        self._token_ids: list[int] = []
        # Tokens from the read offset on are not decoded yet. They are decoded with those from the
        # prefix offset on, on which their spaces may depend.
        self._prefix_offset = self._read_offset = 0
        self._held_back = ""  # may be the beginning of a stop sequence
        self.stopped = False

    def push(self, token_id: int) -> str:
        """The text that is final after one more token."""
        self._token_ids.append(token_id)
        return self._release(self._decode_new(is_last=False))

    def finish(self) -> str:
        """The rest of the text, when no token follows."""
        if self.stopped:
            return ""
        text = self._release(self._decode_new(is_last=True))
        held_back, self._held_back = self._held_back, ""
        return text if self.stopped else text + held_back

    def _decode_new(self, *, is_last: bool) -> str:
        """The text of tokens not decoded yet; "" while a character is incomplete, unless last."""
        known = self._decode(self._token_ids[self._prefix_offset : self._read_offset])
        text = self._decode(self._token_ids[self._prefix_offset :])
        if len(text) <= len(known) or (not is_last and text.endswith(_INCOMPLETE)):
            return ""
        self._prefix_offset, self._read_offset = self._read_offset, len(self._token_ids)
        return text[len(known) :]

    def _decode(self, token_ids: Sequence[int]) -> str:
        """The text of tokens, without special ones and with all spaces."""
        return str(
            self._tokenizer.decode(
                token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )

    def _release(self, text: str) -> str:
        """The part of the new text that is final: everything before a stop sequence, or before an
        end that may be the beginning of one."""
        self._held_back += text
        matches = [at for at in map(self._held_back.find, self._stop) if at >= 0]
        if matches:
            self.stopped = True
            text, self._held_back = self._held_back[: min(matches)], ""
            return text
        overlap = max(
            (partial_match_length(self._held_back, stop) for stop in self._stop), default=0
        )
        end = len(self._held_back) - overlap
        text, self._held_back = self._held_back[:end], self._held_back[end:]
        return text
