"""Chat models: messages in, text out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from moli.models.reference import ModelReference
from moli.records.messages import Message

if TYPE_CHECKING:
    from moli.models.engine.bases import Bases


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


class ScriptedChat:
    """The chat model for tests: answers a fixed text, or what a function makes of the messages."""

    template_sha256 = ""

    def __init__(self, script: str | Callable[[Sequence[Message]], str], name: str = "") -> None:
        self.name = name or "scripted:" + (script if isinstance(script, str) else "function")
        self._script = script

    def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int = 512,  # noqa: ARG002
        space: str = "",  # noqa: ARG002
    ) -> str:
        return self._script if isinstance(self._script, str) else self._script(messages)


def load_chat(reference: str, *, timeout: float = 120.0, bases: Bases | None = None) -> ChatModel:
    """The chat model a reference names.

    Args:
        timeout: seconds that a server may take to answer.
        bases: where models that run here are loaded, if they are shared.

    Raises:
        ModelError: there is none by that name, or it cannot be loaded.
    """
    parsed = ModelReference.parse(reference)
    if parsed.scheme == "scripted":
        return ScriptedChat(parsed.name, reference)
    if parsed.scheme == "openai":
        from moli.models.remote import RemoteChat

        return RemoteChat(parsed.name, parsed.url, name=reference, timeout=timeout)
    from moli.models.local import load_local

    return load_local(reference, bases)
