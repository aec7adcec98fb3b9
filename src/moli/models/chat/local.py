"""Chat models run here: causal ones on the generation engine, T5-like ones by transformers."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from moli.models.backend import LoadedModel, ModelPool, answer_limit, load_base_model
from moli.models.protocols.backend import complete
from moli.models.templates.template import prompt_ids
from moli.models.tokenizers import load_tokenizer, max_model_len_of
from moli.models.weights.hashes import hash_template
from moli.models.weights.loading import is_encoder, is_gguf, load_config, load_model
from moli.records.errors import ModelError
from moli.records.generation import Request, Sampling
from moli.records.messages import Message


class LocalChat:
    """A causal model at work: on the generation engine, or on another server."""

    def __init__(self, reference: str, base: LoadedModel) -> None:
        self.name = reference
        self.tokenizer, self.places = base.tokenizer, base.max_model_len
        self.template_sha256 = hash_template(base.tokenizer)
        self._base = base

    def complete(
        self, messages: Sequence[Message], *, max_tokens: int = 512, cache_namespace: str = ""
    ) -> str:
        most = answer_limit(self.places, max_tokens)
        ids = fitting(self.tokenizer, messages, self.places - most)
        [answer] = complete(
            self._base.backend, [Request(ids, Sampling(most), cache_namespace=cache_namespace)]
        )
        return answer.text.strip()


class TranslatingChat:
    """A model with an encoder and a decoder, such as T5.

    Raises:
        ModelError: its files are not available.
    """

    def __init__(self, reference: str) -> None:
        import torch

        self.name = reference
        self.tokenizer = load_tokenizer(reference)
        self.places = max_model_len_of(reference, self.tokenizer)
        self.template_sha256 = hash_template(self.tokenizer)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model: Any = load_model("AutoModelForSeq2SeqLM", reference, dtype="auto")
        self._model = model.to(device).eval()
        self._turn = threading.Lock()  # generation keeps state in the model

    def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int = 512,
        cache_namespace: str = "",  # noqa: ARG002
    ) -> str:
        import torch

        ids = torch.tensor([fitting(self.tokenizer, messages, self.places)])
        end, pad = self.tokenizer.eos_token_id, self.tokenizer.pad_token_id
        with self._turn, torch.inference_mode():
            generated = self._model.generate(
                input_ids=ids.to(self._model.device),
                max_new_tokens=max_tokens,
                do_sample=False,
                pad_token_id=end if pad is None else pad,
            )[0]
        return str(self.tokenizer.decode(generated, skip_special_tokens=True)).strip()


def load_local(reference: str, bases: ModelPool | None = None) -> LocalChat | TranslatingChat:
    """The model of a reference, of whichever kind it is.

    Args:
        bases: where a causal one is loaded, or is already.

    Raises:
        ModelError: it cannot be loaded, or does not generate text.
    """
    if not is_gguf(reference):
        config = load_config(reference)
        if is_encoder(config):
            raise ModelError(
                "an encoder, which cannot generate text",
                where=reference,
                fix="Name a language model.",
            )
        if config.is_encoder_decoder:
            return TranslatingChat(reference)
    return LocalChat(
        reference, bases.get(reference) if bases else load_base_model(reference, adapter_slots=1)
    )


def fitting(tokenizer: Any, messages: Sequence[Message], room: int) -> list[int]:
    """The tokens of a conversation to answer, at most `room` of them.

    If it is too long, the oldest turns are dropped first, except the system's; a last message that
    is too long by itself keeps its end, where the question is.
    """
    kept = list(messages)
    ids = _ids(tokenizer, kept)
    while len(ids) > room:
        first = next((n for n, each in enumerate(kept[:-1]) if each.role != "system"), None)
        if first is not None:
            del kept[first]
        elif len(shorter := _shortened(tokenizer, kept[-1], len(ids) - room).content) > 0:
            kept[-1] = Message(kept[-1].role, shorter)
        elif len(kept) > 1:
            kept = kept[-1:]  # not even the system's has room
        else:
            return ids[-room:]
        ids = _ids(tokenizer, kept)
    return ids


def _shortened(tokenizer: Any, message: Message, over: int) -> Message:
    """A message without its first `over` tokens."""
    ids = tokenizer(message.content, add_special_tokens=False, verbose=False)["input_ids"]
    return Message(message.role, str(tokenizer.decode(ids[over:])).lstrip())


def _ids(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    if tokenizer.chat_template:
        return prompt_ids(tokenizer, messages)
    # A model without a chat template has never seen roles: it gets the words alone.
    text = "\n\n".join(message.content for message in messages)
    return list(tokenizer(text, verbose=False)["input_ids"])
