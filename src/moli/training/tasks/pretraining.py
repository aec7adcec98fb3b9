"""Pretraining: a language model from scratch, a tokenizer first, then a Llama-shaped model."""

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
from moli.training.tasks.base.byte_pair_encoding import train_byte_pair_encoding
from moli.training.tasks.base.causal import CausalTask, TokenPredictions, mark_head
from moli.training.tasks.base.model_shape import read_shape

END, TURN, TURN_END, PAD = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"
_CHAT = (
    "{% for message in messages %}{{ '" + TURN + "' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '" + TURN_END + "' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '" + TURN_END + "' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '" + TURN + "assistant\n' }}{% endif %}"
)
# The shape that learns most in an hour on two cores.
_DEFAULT_SHAPE = {"hidden": 256, "layers": 5, "heads": 4, "vocabulary": 8192, "positions": 2048}
# Characters of text that the tokenizer is trained on: more change few of its merges.
_TOKENIZER_CHARACTERS = 20_000_000
_CHUNK = 64  # texts that are tokenized at once: they may be whole books


class Pretraining(CausalTask):
    """Pretraining of a language model on texts.

    A sample is a piece of at most `max_length` tokens, and its target the mask of its supervised
    tokens: in an epoch each token of a text is supervised once.
    """

    example_types = (Text,)
    prediction_formats: ClassVar = {"text": {}}
    text_column = "text"
    default_max_length = 512

    @cached_property
    def shape(self) -> dict[str, int]:
        """The new model's shape."""
        return read_shape(self.recipe, _DEFAULT_SHAPE, ("inner", "kv_heads"))

    @property
    def length_limit(self) -> int:
        """Number of positions of the new model or of the base."""
        return self.shape["positions"] if self.from_scratch else super().length_limit

    def base_hashes(self) -> ModelHashes:
        """Hashes of the base, or of the new tokenizer alone."""
        return hashes_of("", self.tokenizer) if self.from_scratch else super().base_hashes()

    def prepare(self, examples: Sequence[Example]) -> None:
        """For a new model, train its tokenizer on the texts."""
        super().prepare(examples)
        if self.from_scratch:
            texts = [example.text for example in examples if isinstance(example, Text)]
            self.tokenizer = train_tokenizer(texts, self.shape["vocabulary"])

    def build(self, dtype: torch.dtype) -> torch.nn.Module:
        """A new model of the recipe's shape, or the base model."""
        if not self.from_scratch:
            return super().build(dtype)
        from transformers import AutoModelForCausalLM

        attention.register()
        model: torch.nn.Module = AutoModelForCausalLM.from_config(
            self.config(), attn_implementation=attention.NAME
        )
        _scale_residual_weights(model, self.shape["layers"])
        return mark_head(model.to(dtype))

    def config(self) -> Any:
        """Configuration of a Llama of the recipe's shape (Touvron et al. 2023, section 2.2)."""
        from transformers import LlamaConfig

        hidden, heads = self.shape["hidden"], self.shape["heads"]
        end_id = self.tokenizer.convert_tokens_to_ids(END)
        return LlamaConfig(
            vocab_size=len(self.tokenizer),
            hidden_size=hidden,
            num_hidden_layers=self.shape["layers"],
            num_attention_heads=heads,
            num_key_value_heads=self.shape.get("kv_heads", heads),
            intermediate_size=self.shape.get("inner", -(-hidden * 8 // 3 // 64) * 64),
            max_position_embeddings=self.shape["positions"],
            tie_word_embeddings=True,
            bos_token_id=end_id,
            # The tokenizer's own token ends an answer in a conversation, END a text.
            eos_token_id=[self.tokenizer.eos_token_id, end_id],
            pad_token_id=self.tokenizer.pad_token_id,
        )

    def samples(self, examples: Sequence[Example], *, training: bool) -> list[list[Sample]]:
        """The pieces of each text; neighbors share a token, so that none lacks one before it.

        For evaluation, they share half: a token is then predicted from at least half of
        `max_length`.
        """
        backend = self.tokenizer.backend_tokenizer
        texts = [example.text for example in examples if isinstance(example, Text)]
        boundary, shared = self._boundary_id, 0 if training else self.max_length // 2
        groups = []
        for start in range(0, len(texts), _CHUNK):
            chunk = texts[start : start + _CHUNK]
            for encoding in backend.encode_batch_fast(chunk, add_special_tokens=False):
                ids = np.array([boundary, *encoding.ids, boundary], np.int32)
                groups.append(list(_pieces(ids, self.max_length - 1, shared)))
        return groups

    @property
    def _boundary_id(self) -> int:
        """Id of the token that comes before a text and after it."""
        end_id = self.tokenizer.backend_tokenizer.token_to_id(END)
        return int(self.tokenizer.eos_token_id if end_id is None else end_id)

    def prompt_tokens(self, example: Example) -> list[int]:
        """Tokens of a text that is to be continued."""
        assert isinstance(example, Text)  # noqa: S101 - no other type is accepted
        text = self.tokenizer.backend_tokenizer.encode(example.text, add_special_tokens=False)
        return [self._boundary_id, *text.ids]

    def decode(self, outputs: TokenPredictions, samples: Sequence[Sample]) -> list[Any]:
        """For each sample its loss in nats, and the number of its supervised tokens and bytes."""
        return [
            np.append(answer, self._count_bytes(sample.sequences[0][sample.target]))
            for answer, sample in zip(super().decode(outputs, samples), samples, strict=True)
        ]

    def _count_bytes(self, ids: NDArray[np.int32]) -> int:
        """Bytes of the text that tokens stand for, in UTF-8."""
        if self._bytes_by_id is not None:
            return int(self._bytes_by_id[ids].sum())
        return len(self.tokenizer.decode(ids.tolist(), skip_special_tokens=True).encode())

    @cached_property
    def _bytes_by_id(self) -> NDArray[np.int64] | None:
        """Number of bytes of each token; None unless the tokenizer is byte-level.

        A byte-level tokenizer writes each byte as one character.
        """
        backend, special_ids = self.tokenizer.backend_tokenizer, set(self.tokenizer.all_special_ids)
        if "ByteLevel" not in type(backend.decoder).__name__:
            return None
        tokens = (backend.id_to_token(index) or "" for index in range(len(self.tokenizer)))
        return np.array([0 if n in special_ids else len(token) for n, token in enumerate(tokens)])

    def metrics(self, answers: Sequence[Any], examples: Sequence[Example]) -> dict[str, float]:  # noqa: ARG002
        """Bits per byte and perplexity of the texts."""
        nats, tokens, size = np.sum(answers, axis=0)
        return {
            "bits_per_byte": bits_per_byte(float(nats), int(size)),
            "perplexity": perplexity(float(nats), int(tokens)),
        }


@torch.no_grad()
def _scale_residual_weights(model: torch.nn.Module, layers: int) -> None:
    """Divide the weights of layers that add to the states by the root of the number of such layers
    (Radford 2019, section 2.3)."""
    for name, weight in model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            weight.div_((2 * layers) ** 0.5)


def _pieces(ids: Any, length: int, shared: int) -> Iterable[Sample]:
    """Samples made of pieces of a text's ids, each of at most length + 1 tokens.

    The first 1 + `shared` tokens of a piece are context only, which is supervised in the piece
    before it.
    """
    first = 0
    while first < len(ids) - 1:
        context = min(shared, first)
        piece = ids[first - context : first - context + length + 1]
        supervised = np.arange(len(piece)) > context
        yield Sample((piece,), supervised, int(supervised.sum()))
        first += len(piece) - 1 - context


def train_tokenizer(texts: Sequence[str], vocabulary_size: int) -> Any:
    """A byte-level BPE tokenizer (Sennrich et al. 2016) trained on texts, with tokens for chat."""
    from transformers import PreTrainedTokenizerFast

    step = max(1, sum(map(len, texts)) // _TOKENIZER_CHARACTERS)
    parts = [text[i : i + 10_000] for text in texts for i in range(0, len(text), 10_000)]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=train_byte_pair_encoding(
            parts[::step], vocabulary_size, (END, TURN, TURN_END, PAD)
        ),
        eos_token=TURN_END,
        pad_token=PAD,
        bos_token=END,
    )
    tokenizer.chat_template = _CHAT
    return tokenizer
