"""Sequence to sequence: an encoder reads a text, a decoder writes another (T5: Raffel et al.
2020)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from moli.metrics.classification import accuracy
from moli.models.weights.hashes import ModelHashes, hash_text
from moli.models.weights.json_files import read_json
from moli.models.weights.loading import NO_LIMIT
from moli.models.weights.truncation import TruncatedText, Truncator
from moli.records.examples import Example, Pair
from moli.training.batching.samples import Sample
from moli.training.tasks.base.byte_pair_encoding import train_byte_pair_encoding
from moli.training.tasks.base.model_shape import read_shape
from moli.training.tasks.base.transformer import TransformerTask
from moli.training.tasks.base.wrapped_models import model_to_call, unwrapped_model

_DEFAULT_SHAPE = {"hidden": 256, "layers": 4, "heads": 4, "vocabulary": 4096}
_PAD, _END, _UNKNOWN = _SPECIAL_TOKENS = ("<pad>", "</s>", "<unk>")
# A byte-level vocabulary holds all 256 bytes; a smaller one than this is of characters.
_SMALLEST_BYTE_LEVEL = 512
_IGNORED = -100  # label of padding, which has no loss


@dataclass(frozen=True, slots=True)
class Seq2SeqOutput:
    """Logits for the targets of samples, and all that is needed to generate from their sources.

    Attributes:
        logits: logits of all tokens of all targets, [tokens, vocabulary], in float32.
        inputs: the sources as the model takes them.
    """

    logits: torch.Tensor
    model: torch.nn.Module
    inputs: dict[str, Any]


@dataclass(frozen=True, slots=True)
class GeneratedText:
    """A text that the model generated, and how well it predicts the expected one.

    Attributes:
        text: generated from the source alone.
        correct_tokens: number of the target's tokens that it predicts from those before them.
        target_tokens: number of the target's tokens.
    """

    text: str
    correct_tokens: int
    target_tokens: int


class Seq2Seq(TransformerTask):
    """Sequence to sequence: an encoder reads the source, and a decoder writes the target.

    A sample has two sequences, the source and the target; its own attribute `target` is None.

    Attributes:
        max_new_tokens: maximum number of tokens to generate: one more than the longest target in
            training, so that an answer can be too long.
        shape: the shape of a new model.
    """

    example_types = (Pair,)
    metric = "exact_match"
    supervised_unit = "tokens"
    supports_packing = False
    auto_class = "AutoModelForSeq2SeqLM"
    prediction_formats: ClassVar = {"pair": {"target": "?"}}
    text_column = "source"
    max_new_tokens = 0
    shape: dict[str, int]

    @property
    def length_limit(self) -> int:
        """Number of positions of the base; a large number for a new model.

        T5's positions are relative, without a highest one.
        """
        return NO_LIMIT if self.from_scratch else super().length_limit

    def base_hashes(self) -> ModelHashes:
        """Hashes of the base, or of the new tokenizer alone."""
        if not self.from_scratch:
            return super().base_hashes()
        text = self.tokenizer.backend_tokenizer.to_str()
        return ModelHashes("", hash_text(text), "", (self.tokenizer.eos_token_id,))

    def prepare(self, examples: Sequence[Example]) -> None:
        """Set `max_new_tokens`; for a new model also `shape` and a trained tokenizer."""
        pairs = [example for example in examples if isinstance(example, Pair)]
        if self.from_scratch:
            self.shape = read_shape(self.recipe, _DEFAULT_SHAPE)
            self.tokenizer = train_tokenizer(pairs, self.shape["vocabulary"])
        targets = self._encode([pair.target for pair in pairs])
        self.max_new_tokens = max(len(target.ids) for target in targets) + 1

    def _encode(self, texts: Sequence[str]) -> list[TruncatedText]:
        """Texts as token ids of at most the maximum length."""
        return Truncator(self.tokenizer, self.max_length).truncate(texts)

    def samples(self, examples: Sequence[Example], *, training: bool) -> list[list[Sample]]:  # noqa: ARG002
        """One sample for each pair."""
        pairs = [example for example in examples if isinstance(example, Pair)]
        sources = self._encode([pair.source for pair in pairs])
        targets = self._encode([pair.target for pair in pairs])
        return [
            [
                Sample(
                    (source.ids, target.ids), None, len(target.ids), source.dropped + target.dropped
                )
            ]
            for source, target in zip(sources, targets, strict=True)
        ]

    def supervised_tokens(self, sample: Sample) -> list[NDArray[np.bool_]]:
        """No token of the source, and all tokens of the target."""
        source, target = sample.sequences
        return [np.zeros(len(source), bool), np.ones(len(target), bool)]

    def build(self, dtype: torch.dtype) -> torch.nn.Module:
        """A new model of the recipe's shape, or the base model."""
        model = self._new_model().to(dtype) if self.from_scratch else self.load_base(dtype)
        return self._configure(model)

    def restore(self, folder: Path, dtype: torch.dtype) -> torch.nn.Module:
        """The trained model; also sets `max_new_tokens` from its folder."""
        settings = read_json(folder / "generation_config.json") or {}
        self.max_new_tokens = int(settings.get("max_new_tokens") or 0)
        return self._configure(super().restore(folder, dtype))

    def _configure(self, model: torch.nn.Module) -> torch.nn.Module:
        """Set the model's attention, dropout and length of generated texts, and return it."""
        inner = unwrapped_model(model)
        # T5 adds a bias for each distance to its scores, which attention by segments cannot do.
        inner.set_attn_implementation("sdpa")
        for module in inner.modules():  # T5 has one dropout for states and probabilities
            if type(module).__name__ == "T5Attention":
                module.dropout = self.recipe.dropout or 0.0
        inner.generation_config.max_new_tokens = self.max_new_tokens or self.max_length
        inner.generation_config.max_length = None
        return model

    def _new_model(self) -> Any:
        """A small T5 with weights from torch's generator.

        Distances up to 32 each have a bias of their own. T5 has 16 kinds of distance each way,
        most of them for ranges; but short sequences are what a small model is made for.
        """
        from transformers import T5Config, T5ForConditionalGeneration

        hidden, heads = self.shape["hidden"], self.shape["heads"]
        config = T5Config(
            vocab_size=math.ceil(len(self.tokenizer) / 8) * 8,
            d_model=hidden,
            d_kv=hidden // heads,
            d_ff=4 * hidden,
            num_layers=self.shape["layers"],
            num_heads=heads,
            relative_attention_num_buckets=128,
            relative_attention_max_distance=512,
            dropout_rate=self.recipe.dropout or 0.0,
            pad_token_id=self.tokenizer.pad_token_id,
            eos_token_id=self.tokenizer.eos_token_id,
        )
        config.decoder_start_token_id = self.tokenizer.pad_token_id
        return T5ForConditionalGeneration(config)

    def forward(
        self,
        model: torch.nn.Module,
        samples: Sequence[Sample],
        *,
        packed: bool = False,  # noqa: ARG002
    ) -> Seq2SeqOutput:
        """Logits for the targets, each token from the source and the target's tokens before it."""
        batch = self.collate([sample.sequences[0] for sample in samples], model, packed=False)
        targets = [sample.sequences[1] for sample in samples]
        labels = torch.full((len(samples), max(map(len, targets))), _IGNORED)
        for row, target in zip(labels, targets, strict=True):
            row[: len(target)] = torch.from_numpy(target)
        inner = unwrapped_model(model)
        labels = labels.to(inner.device)
        decoder_ids = inner.prepare_decoder_input_ids_from_labels(labels)
        output = model_to_call(model)(
            **batch.inputs, decoder_input_ids=decoder_ids, use_cache=False
        )
        return Seq2SeqOutput(output.logits[labels != _IGNORED].float(), model, batch.inputs)

    def losses(self, outputs: Seq2SeqOutput, samples: Sequence[Sample]) -> torch.Tensor:
        """Cross-entropy of each sample, summed over its target's tokens."""
        losses = cross_entropy(outputs.logits, _target_ids(outputs, samples), reduction="none")
        return torch.stack([part.sum() for part in torch.split(losses, _target_lengths(samples))])

    def decode(self, outputs: Seq2SeqOutput, samples: Sequence[Sample]) -> list[Any]:
        """A `GeneratedText` for each sample."""
        lengths = _target_lengths(samples)
        is_correct = outputs.logits.argmax(-1) == _target_ids(outputs, samples)
        correct = [int(part.sum()) for part in torch.split(is_correct, lengths)]
        texts = self._generate(outputs.model, outputs.inputs)
        return [GeneratedText(*each) for each in zip(texts, correct, lengths, strict=True)]

    def _generate(self, model: torch.nn.Module, inputs: dict[str, Any]) -> Iterator[str]:
        """The text that greedy decoding generates for each source, until all of them have ended.

        Args:
            inputs: the sources as the model takes them.
        """
        generating: Any = model
        for ids in generating.generate(**inputs, do_sample=False, num_beams=1):
            yield self.tokenizer.decode(ids, skip_special_tokens=True).strip()

    def metrics(self, answers: Sequence[Any], examples: Sequence[Example]) -> dict[str, float]:
        """Exact match of the generated texts, and accuracy of the targets' tokens."""
        expected = [example.target.strip() for example in examples if isinstance(example, Pair)]
        correct = sum(answer.correct_tokens for answer in answers)
        return {
            "exact_match": accuracy(expected, [answer.text for answer in answers]),
            "token_accuracy": correct / sum(answer.target_tokens for answer in answers),
        }

    def to_row(self, answer: Any) -> dict[str, Any]:
        """The generated text."""
        return {"answer": answer.text}

    def save_state(self, model: torch.nn.Module, folder: Path) -> None:
        """Write state and tokenizer, and the maximum length of generated texts."""
        super().save_state(model, folder)
        unwrapped_model(model).generation_config.save_pretrained(folder)


def train_tokenizer(pairs: Sequence[Pair], vocabulary_size: int) -> Any:
    """A tokenizer for the texts of pairs: of characters for a small vocabulary, otherwise BPE."""
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    texts = [text for pair in pairs for text in (pair.source, pair.target)]
    tokenizer: Tokenizer = (
        _character_tokenizer(texts, vocabulary_size)
        if vocabulary_size < _SMALLEST_BYTE_LEVEL
        else train_byte_pair_encoding(texts, vocabulary_size, _SPECIAL_TOKENS)
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {_END}", special_tokens=[(_END, tokenizer.token_to_id(_END))]
    )
    fast_class: Any = PreTrainedTokenizerFast
    return fast_class(
        tokenizer_object=tokenizer,
        pad_token=_PAD,
        eos_token=_END,
        unk_token=_UNKNOWN,
        clean_up_tokenization_spaces=False,
    )


def _character_tokenizer(texts: Sequence[str], vocabulary_size: int) -> Any:
    """A tokenizer of the most frequent characters; ties are broken by code point."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    counts = Counter(character for text in texts for character in text)
    most_frequent = sorted(counts, key=lambda character: (-counts[character], character))
    kept = sorted(most_frequent[: vocabulary_size - len(_SPECIAL_TOKENS)])
    ids = {token: index for index, token in enumerate([*_SPECIAL_TOKENS, *kept])}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=_UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def _target_ids(outputs: Seq2SeqOutput, samples: Sequence[Sample]) -> torch.Tensor:
    """Token ids of all targets, one after another."""
    flat = np.concatenate([sample.sequences[1] for sample in samples]).astype(np.int64)
    return torch.from_numpy(flat).to(outputs.logits.device)


def _target_lengths(samples: Sequence[Sample]) -> list[int]:
    """Number of tokens of each target."""
    return [len(sample.sequences[1]) for sample in samples]
