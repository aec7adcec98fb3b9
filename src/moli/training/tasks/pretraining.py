"""A language model from scratch: a tokenizer learnt from the texts, then a Llama-shaped model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from moli.metrics.language import bits_per_byte, perplexity
from moli.models.weights.hashes import ModelHashes, hashes_of
from moli.records.examples import Example, Text
from moli.training.batching.samples import Sample
from moli.training.kernels import attention
from moli.training.tasks.base.causal import CausalTask, Predicted, mark_head_alone
from moli.training.tasks.base.shape import read_shape
from moli.training.tasks.base.tokenizer import byte_pairs

END, TURN, TURN_END, PAD = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"
_CHAT = (
    "{% for message in messages %}{{ '" + TURN + "' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '" + TURN_END + "' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '" + TURN_END + "' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '" + TURN + "assistant\n' }}{% endif %}"
)
# What learns most in an hour on two cores.
_SHAPE = {"hidden": 256, "layers": 5, "heads": 4, "vocabulary": 8192, "positions": 2048}
# Texts from which the tokenizer learns, in characters: more changes few of its merges.
_TOKENIZER_TEXT = 20_000_000
_AT_ONCE = 64  # texts that are encoded together: they may be whole books


class Pretraining(CausalTask):
    """Texts, cut into pieces of `max_length` tokens; every token is learnt once per epoch."""

    example_types = (Text,)
    prediction_formats: ClassVar = {"text": {}}
    text_column = "text"
    default_max_length = 512

    @cached_property
    def shape(self) -> dict[str, int]:
        return read_shape(self.recipe, _SHAPE, ("inner", "kv_heads"))

    @cached_property
    def max_length(self) -> int:
        if self.from_scratch:
            return min(self.recipe.max_length or self.default_max_length, self.shape["positions"])
        return super().max_length

    def base_hashes(self) -> ModelHashes:
        return hashes_of("", self.tokenizer) if self.from_scratch else super().base_hashes()

    def prepare(self, examples: Sequence[Example]) -> None:
        super().prepare(examples)
        if self.from_scratch:
            texts = [each.text for each in examples if isinstance(each, Text)]
            self.tokenizer = train_tokenizer(texts, self.shape["vocabulary"])

    def build(self, dtype: torch.dtype) -> torch.nn.Module:
        if not self.from_scratch:
            return super().build(dtype)
        from transformers import AutoModelForCausalLM

        attention.register()
        model: torch.nn.Module = AutoModelForCausalLM.from_config(
            self.config(), attn_implementation=attention.NAME
        )
        _begin_quietly(model, self.shape["layers"])
        return mark_head_alone(model.to(dtype))

    def config(self) -> Any:
        """A Llama's configuration of the recipe's shape (Touvron et al. 2023, section 2.2)."""
        from transformers import LlamaConfig

        hidden, heads = self.shape["hidden"], self.shape["heads"]
        return LlamaConfig(
            vocab_size=len(self.tokenizer),
            hidden_size=hidden,
            num_hidden_layers=self.shape["layers"],
            num_attention_heads=heads,
            num_key_value_heads=self.shape.get("kv_heads", heads),
            intermediate_size=self.shape.get("inner", -(-hidden * 8 // 3 // 64) * 64),
            max_position_embeddings=self.shape["positions"],
            tie_word_embeddings=True,
            bos_token_id=self.tokenizer.convert_tokens_to_ids(END),
            # A text ends with the one, an answer with the other.
            eos_token_id=[self.tokenizer.eos_token_id, self.tokenizer.convert_tokens_to_ids(END)],
            pad_token_id=self.tokenizer.pad_token_id,
        )

    def samples(self, examples: Sequence[Example], *, training: bool) -> list[list[Sample]]:
        """Pieces that share a token with their neighbours, so that each token has one before it.

        To judge, they share half: each token is then predicted from at least half of `max_length`.
        """
        backend = self.tokenizer.backend_tokenizer
        texts = [each.text for each in examples if isinstance(each, Text)]
        begin = self._mark
        shared = 0 if training else self.max_length // 2
        groups = []
        for first in range(0, len(texts), _AT_ONCE):
            block = texts[first : first + _AT_ONCE]
            for encoding in backend.encode_batch_fast(block, add_special_tokens=False):
                ids = np.array([begin, *encoding.ids, begin], np.int32)
                groups.append(list(_pieces(ids, self.max_length - 1, shared)))
        return groups

    @property
    def _mark(self) -> int:
        """The token that is before a text and behind it."""
        own = self.tokenizer.backend_tokenizer.token_to_id(END)
        return int(self.tokenizer.eos_token_id if own is None else own)

    def prompt_tokens(self, example: Example) -> list[int]:
        assert isinstance(example, Text)  # noqa: S101 - no other kind is accepted
        text = self.tokenizer.backend_tokenizer.encode(example.text, add_special_tokens=False)
        return [self._mark, *text.ids]

    def decode(self, outputs: Predicted, samples: Sequence[Sample]) -> list[Any]:
        """Nats of each sample, over how many tokens and how many bytes."""
        return [
            np.append(answer, self._size(each.sequences[0][each.target]))
            for answer, each in zip(super().decode(outputs, samples), samples, strict=True)
        ]

    def _size(self, ids: NDArray[np.int32]) -> int:
        """Bytes of the text that tokens stand for, in UTF-8."""
        if self._bytes is not None:
            return int(self._bytes[ids].sum())
        return len(self.tokenizer.decode(ids.tolist(), skip_special_tokens=True).encode())

    @cached_property
    def _bytes(self) -> NDArray[np.int64] | None:
        """By token, for a byte-level tokenizer, which writes each byte as one character."""
        backend, special = self.tokenizer.backend_tokenizer, set(self.tokenizer.all_special_ids)
        if "ByteLevel" not in type(backend.decoder).__name__:
            return None
        tokens = (backend.id_to_token(number) or "" for number in range(len(self.tokenizer)))
        return np.array([0 if n in special else len(token) for n, token in enumerate(tokens)])

    def metrics(self, answers: Sequence[Any], examples: Sequence[Example]) -> dict[str, float]:  # noqa: ARG002
        nats, tokens, size = np.sum(answers, axis=0)
        return {
            "bits_per_byte": bits_per_byte(float(nats), int(size)),
            "perplexity": perplexity(float(nats), int(tokens)),
        }


@torch.no_grad()
def _begin_quietly(model: torch.nn.Module, layers: int) -> None:
    """Divide what layers add to the states by the root of how many add (Radford 2019, sec. 2.3)."""
    for name, weight in model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            weight.div_((2 * layers) ** 0.5)


def _pieces(ids: Any, length: int, shared: int) -> Iterable[Sample]:
    """Pieces of at most length + 1 tokens, of which the first 1 + `shared` are context only."""
    first = 0
    while first < len(ids) - 1:
        known = min(shared, first)
        piece = ids[first - known : first - known + length + 1]
        learnt = np.arange(len(piece)) > known
        yield Sample((piece,), learnt, int(learnt.sum()))
        first += len(piece) - 1 - known


def train_tokenizer(texts: Sequence[str], vocabulary: int) -> Any:
    """A byte-level BPE tokenizer (Sennrich et al. 2016) with tokens for chat."""
    from transformers import PreTrainedTokenizerFast

    step = max(1, sum(map(len, texts)) // _TOKENIZER_TEXT)
    parts = [text[i : i + 10_000] for text in texts for i in range(0, len(text), 10_000)]
    learnt = byte_pairs(parts[::step], vocabulary, (END, TURN, TURN_END, PAD))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=learnt, eos_token=TURN_END, pad_token=PAD, bos_token=END
    )
    fast.chat_template = _CHAT
    return fast
