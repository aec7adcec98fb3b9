"""Causal language models as chat models."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from moli.models.backend import LoadedModel, answer_limit
from moli.models.chat.conversation import prompt_ids_within
from moli.models.protocols.backend import stream
from moli.models.protocols.chat import TextCallback
from moli.models.weights.hashes import hash_template
from moli.records.generation import Request, Sampling
from moli.records.messages import Message


class CausalChat:
    """A causal language model, whose base may run here or on another server.

    Args:
        adapter: name of an adapter that the base's backend has; "" for the base alone.

    Attributes:
        max_model_len: maximum tokens of a conversation, including the answer.
    """

    def __init__(self, reference: str, base: LoadedModel, adapter: str = "") -> None:
        self.name, self._adapter = reference, adapter
        self.tokenizer, self.max_model_len = base.tokenizer, base.max_model_len
        self.template_sha256 = hash_template(base.tokenizer)
        self._base = base

    def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int = 512,
        cache_namespace: str = "",
        on_text: TextCallback | None = None,
    ) -> str:
        """The assistant's next message, decoded greedily."""
        answer_tokens = answer_limit(self.max_model_len, max_tokens)
        ids = prompt_ids_within(self.tokenizer, messages, self.max_model_len - answer_tokens)
        sampling = Sampling(answer_tokens)
        request = Request(ids, sampling, self._adapter, cache_namespace=cache_namespace)
        texts: list[str] = []
        with closing(stream(self._base.backend, request)) as pieces:
            for piece in pieces:
                texts.append(piece)
                if on_text:
                    on_text(piece)
        return "".join(texts).strip()
