"""Chat models: messages in, text out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from moli.records.messages import Message

TextCallback = Callable[[str], None]


class ChatModel(Protocol):
    """A language model that answers a conversation."""

    name: str

    @property
    def template_sha256(self) -> str:
        """Hash of the chat template; "" if there is none, or only a server knows it."""
        ...

    def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int = 512,
        cache_namespace: str = "",
        on_text: TextCallback | None = None,
    ) -> str:
        """The assistant's next message, decoded greedily.

        Args:
            cache_namespace: cached prompts are reused only within the same namespace.
            on_text: called with each piece of text as it is generated, and with "" now and then
                while there is none. An exception that it raises stops the model, and is raised.

        Raises:
            ModelError: the model did not answer.
        """
        ...
