"""Models with an encoder and a decoder, such as T5, as chat models."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from moli.models.chat.conversation import prompt_ids_within
from moli.models.protocols.chat import TextCallback
from moli.models.tokenizers import load_tokenizer, max_model_len_of
from moli.models.weights.hashes import hash_template
from moli.models.weights.loading import load_model
from moli.records.messages import Message


class Seq2SeqChat:
    """A sequence-to-sequence model, run here by transformers.

    Attributes:
        max_model_len: maximum tokens of a conversation, without the answer.

    Raises:
        ModelError: its files are not available.
    """

    def __init__(self, reference: str) -> None:
        import torch

        self.name = reference
        self.tokenizer = load_tokenizer(reference)
        self.max_model_len = max_model_len_of(reference, self.tokenizer)
        self.template_sha256 = hash_template(self.tokenizer)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model: Any = load_model("AutoModelForSeq2SeqLM", reference, dtype="auto")
        self._model = model.to(device).eval()
        self._lock = threading.Lock()  # generation keeps state in the model

    def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int = 512,
        cache_namespace: str = "",  # noqa: ARG002
        on_text: TextCallback | None = None,
    ) -> str:
        """The assistant's next message, decoded greedily."""
        import torch

        ids = torch.tensor([prompt_ids_within(self.tokenizer, messages, self.max_model_len)])
        eos, pad = self.tokenizer.eos_token_id, self.tokenizer.pad_token_id
        with self._lock, torch.inference_mode():
            generated = self._model.generate(
                input_ids=ids.to(self._model.device),
                max_new_tokens=max_tokens,
                do_sample=False,
                pad_token_id=eos if pad is None else pad,
                stopping_criteria=_call_between_tokens(on_text) if on_text else None,
            )[0]
        text = str(self.tokenizer.decode(generated, skip_special_tokens=True)).strip()
        if on_text:
            on_text(text)
        return text


def _call_between_tokens(on_text: TextCallback) -> Any:
    """Stopping criteria that never stop, but let a callback raise after any token."""
    import torch
    from transformers import StoppingCriteriaList

    def criterion(ids: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        on_text("")
        return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)

    return StoppingCriteriaList([criterion])
