"""Loading chat models of every kind by their references."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moli.models.chat.scripted import ScriptedChat
from moli.models.protocols.chat import ChatModel
from moli.models.weights.known import check_purpose
from moli.models.weights.loading import is_encoder, is_gguf, load_config
from moli.models.weights.reference import ModelReference
from moli.records.errors import ModelError

if TYPE_CHECKING:
    from moli.models.backend import ModelPool
    from moli.models.chat.causal import CausalChat
    from moli.models.chat.seq2seq import Seq2SeqChat


def load_chat(
    reference: str, *, timeout: float = 120.0, model_pool: ModelPool | None = None
) -> ChatModel:
    """Load the chat model that a reference names.

    Args:
        timeout: seconds that a server may take to answer.
        model_pool: shared base models, among which a causal model that runs here is loaded; None to
            load a base model for this chat model alone.

    Raises:
        ModelError: no model has that name, or it cannot be loaded.
    """
    parsed = ModelReference.parse(reference)
    if parsed.scheme == "scripted":
        return ScriptedChat(parsed.name, reference)
    if parsed.scheme == "openai":
        from moli.models.remote.chat import RemoteChat

        return RemoteChat(parsed.name, parsed.url, name=reference, timeout=timeout)
    return load_local_chat(reference, model_pool)


def load_local_chat(
    reference: str, model_pool: ModelPool | None = None
) -> CausalChat | Seq2SeqChat:
    """Load a chat model whose weights are on this machine.

    Args:
        model_pool: shared base models, among which a causal model is loaded; None to load a
            base model for this chat model alone.

    Raises:
        ModelError: it cannot be loaded, or does not generate text.
    """
    check_purpose(reference, "language model")
    if not is_gguf(reference):
        config = load_config(reference)
        if is_encoder(config):
            raise ModelError(
                "an encoder, which cannot generate text",
                where=reference,
                fix="Name a language model.",
            )
        if config.is_encoder_decoder:
            from moli.models.chat.seq2seq import Seq2SeqChat

            return Seq2SeqChat(reference)
    from moli.models.backend import load_base_model
    from moli.models.chat.causal import CausalChat

    base = model_pool.get(reference) if model_pool else load_base_model(reference, adapter_slots=1)
    return CausalChat(reference, base)
