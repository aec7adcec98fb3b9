"""Chat models run here through transformers: causal ones and T5-like ones."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from moli.models.text import folder_of, is_encoder, load_config, load_tokenizer
from moli.records.errors import ModelError
from moli.records.messages import Message


class LocalChat:
    """A transformers model by its reference, on a GPU where there is one.

    Raises:
        ModelError: its files are not to be had, or it is of a kind that does not generate text.
    """

    def __init__(self, reference: str) -> None:
        import torch
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

        self.name = reference
        config = load_config(reference)
        if is_encoder(config):
            raise ModelError(
                "an encoder, which does not write", where=reference, fix="Name a language model."
            )
        kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        self._tokenizer = load_tokenizer(reference)
        try:
            device = "cuda" if torch.cuda.is_available() else "cpu"
            model: Any = kind.from_pretrained(folder_of(reference), dtype="auto")
            self._model = model.to(device).eval()
        except (OSError, ValueError, SafetensorError) as error:
            raise ModelError(
                f"cannot be loaded ({str(error).splitlines()[0]})",
                where=reference,
                fix="Check the name; without a network, give a folder.",
            ) from error
        # Of a prompt that is too long, the end is kept: the question stands there.
        self._tokenizer.truncation_side = "left"
        self._turn = threading.Lock()  # generation keeps state in the model
        self._is_seq2seq = bool(config.is_encoder_decoder)

    def complete(self, messages: Sequence[Message], *, max_tokens: int = 512) -> str:
        import torch

        inputs = self._inputs(messages).to(self._model.device)
        with self._turn, torch.inference_mode():
            generated = self._model.generate(
                **inputs,
                max_new_tokens=max_tokens,
                do_sample=False,
                pad_token_id=self._padding_id(),
            )[0]
        new = generated if self._is_seq2seq else generated[inputs["input_ids"].shape[1] :]
        return str(self._tokenizer.decode(new, skip_special_tokens=True)).strip()

    def _padding_id(self) -> int:
        pad = self._tokenizer.pad_token_id
        return int(self._tokenizer.eos_token_id) if pad is None else int(pad)

    def _inputs(self, messages: Sequence[Message]) -> Any:
        if self._tokenizer.chat_template:
            turns = [{"role": each.role, "content": each.content} for each in messages]
            return self._tokenizer.apply_chat_template(
                turns, add_generation_prompt=True, return_tensors="pt", return_dict=True
            )
        # A model without a chat template has never seen roles: it gets the words alone.
        text = "\n\n".join(message.content for message in messages)
        return self._tokenizer(text, return_tensors="pt", truncation=True)
