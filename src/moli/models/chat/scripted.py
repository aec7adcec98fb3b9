"""A chat model for tests, whose answers are written beforehand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from moli.models.protocols.chat import TextCallback
from moli.records.messages import Message


class ScriptedChat:
    """A chat model that answers a fixed text, or what a function returns for the messages."""

    template_sha256 = ""

    def __init__(self, script: str | Callable[[Sequence[Message]], str], name: str = "") -> None:
        self.name = name or "scripted:" + (script if isinstance(script, str) else "function")
        self._script = script

    def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int = 512,  # noqa: ARG002
        cache_namespace: str = "",  # noqa: ARG002
        on_text: TextCallback | None = None,
    ) -> str:
        """The fixed text, or what the function returns for the messages."""
        text = self._script if isinstance(self._script, str) else self._script(messages)
        if on_text:
            on_text(text)
        return text
