"""Chat models: messages in, text out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moli.models.chat.scripted import ScriptedChat
from moli.models.protocols.chat import ChatModel
from moli.models.weights.reference import ModelReference

if TYPE_CHECKING:
    from moli.models.backend import ModelPool


def load_chat(
    reference: str, *, timeout: float = 120.0, bases: ModelPool | None = None
) -> ChatModel:
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
        from moli.models.remote.chat import RemoteChat

        return RemoteChat(parsed.name, parsed.url, name=reference, timeout=timeout)
    from moli.models.chat.local import load_local

    return load_local(reference, bases)
