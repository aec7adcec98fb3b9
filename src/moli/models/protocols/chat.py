"""Chat models: messages in, text out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from moli.records.messages import Message


class ChatModel(Protocol):
    """A language model that answers a conversation."""

    name: str

    @property
    def template_sha256(self) -> str:
        """Hash of the chat template; "" if there is none, or only a server knows it."""
        ...

    def complete(
        self, messages: Sequence[Message], *, max_tokens: int = 512, cache_namespace: str = ""
    ) -> str:
        """The assistant's next message, decoded greedily.

        Args:
            cache_namespace: cached prompts are reused only within the same namespace.

        Raises:
            ModelError: the model did not answer.
        """
        ...
