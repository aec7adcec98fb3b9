"""What a chat model offers: messages in, text out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from moli.records.messages import Message


class ChatModel(Protocol):
    """A language model that answers a conversation."""

    name: str

    @property
    def template_sha256(self) -> str:
        """Of the chat template; "" where it is not known here, or there is none."""
        ...

    def complete(
        self, messages: Sequence[Message], *, max_tokens: int = 512, space: str = ""
    ) -> str:
        """The assistant's next message, decoded greedily.

        Args:
            space: prompts cached in one space are not reused in another.

        Raises:
            ModelError: the model did not answer.
        """
        ...
