"""A text turned into another by an encoder and a decoder (T5: Raffel et al. 2020)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from moli.metrics.sequences import exact_share
from moli.models.weights.hashes import ModelHashes, hash_text
from moli.models.weights.json_files import read_json
from moli.models.weights.truncation import TruncatedText, Truncator
from moli.records.examples import Example, Pair
from moli.training.batching.samples import Sample
from moli.training.tasks.base.shape import read_shape
from moli.training.tasks.base.tokenizer import byte_pairs
from moli.training.tasks.base.transformer import TransformerTask
from moli.training.tasks.base.wrapped_models import model_to_call, unwrapped_model

_SHAPE = {"hidden": 256, "layers": 4, "heads": 4, "vocabulary": 4096}
_PAD, _END, _UNKNOWN = _SPECIAL = ("<pad>", "</s>", "<unk>")
# A byte-level vocabulary holds all 256 bytes; one that is not much larger is of characters.
_CHARACTERS = 512
_IGNORED = -100


@dataclass(frozen=True, slots=True)
class Output:
    """What a model makes of samples, and all that is needed to let it generate.

    Attributes:
        scores: of each token of the targets before the softmax, [tokens, vocabulary], in float32.
        inputs: the sources as the model takes them.
    """

    scores: torch.Tensor
    model: torch.nn.Module
    inputs: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Written:
    """What a model wrote by itself, and how many of the target's tokens it foresaw, each from those
    before it."""

    text: str
    foreseen: int
    tokens: int


class Seq2Seq(TransformerTask):
    """The target's tokens, each from the source and the tokens before it."""

    example_types = (Pair,)
    metric = "exact_match"
    supervised_unit = "tokens"
    supports_packing = False
    kind = "AutoModelForSeq2SeqLM"
    prediction_formats: ClassVar = {"pair": {"target": "?"}}
    text_column = "source"
    room = 0  # tokens of an answer: one more than the longest had, so that one can be too long

    @cached_property
    def max_length(self) -> int:
        if self.from_scratch:  # places are told by distance, of which there is no highest
            return self.recipe.max_length or self.default_max_length
        return super().max_length

    def base_hashes(self) -> ModelHashes:
        if not self.from_scratch:
            return super().base_hashes()
        text = self.tokenizer.backend_tokenizer.to_str()
        return ModelHashes("", hash_text(text), "", (self.tokenizer.eos_token_id,))

    def prepare(self, examples: Sequence[Example]) -> None:
        pairs = [each for each in examples if isinstance(each, Pair)]
        if self.from_scratch:
            self.shape = read_shape(self.recipe, _SHAPE)
            self.tokenizer = make_tokenizer(pairs, self.shape["vocabulary"])
        targets = self._cut([each.target for each in pairs])
        self.room = max(len(ids) for ids, _ in targets) + 1

    def _cut(self, texts: Sequence[str]) -> list[TruncatedText]:
        return Truncator(self.tokenizer, self.max_length).truncate(texts)

    def samples(self, examples: Sequence[Example], *, training: bool) -> list[list[Sample]]:  # noqa: ARG002
        pairs = [each for each in examples if isinstance(each, Pair)]
        sources = self._cut([each.source for each in pairs])
        targets = self._cut([each.target for each in pairs])
        return [
            [Sample((source, target), None, len(target), lost + lost_too)]
            for (source, lost), (target, lost_too) in zip(sources, targets, strict=True)
        ]

    def supervised_tokens(self, sample: Sample) -> list[NDArray[np.bool_]]:
        source, target = sample.sequences
        return [np.zeros(len(source), bool), np.ones(len(target), bool)]

    def build(self, dtype: torch.dtype) -> torch.nn.Module:
        return self._ready(self._made().to(dtype) if self.from_scratch else self.pretrained(dtype))

    def restore(self, folder: Path, dtype: torch.dtype) -> torch.nn.Module:
        settings = read_json(folder / "generation_config.json") or {}
        self.room = int(settings.get("max_new_tokens") or 0)
        return self._ready(super().restore(folder, dtype))

    def _ready(self, model: torch.nn.Module) -> torch.nn.Module:
        inner = unwrapped_model(model)
        # Scores are moved by a bias for each distance, which attention by segments knows not.
        inner.set_attn_implementation("sdpa")
        for module in inner.modules():  # T5 has one dropout for states and probabilities
            if type(module).__name__ == "T5Attention":
                module.dropout = self.recipe.dropout or 0.0
        inner.generation_config.max_new_tokens = self.room or self.max_length
        inner.generation_config.max_length = None
        return model

    def _made(self) -> Any:
        """A small T5 with weights from torch's generator.

        Places within the reach of 32 are told apart one by one, where T5 has 16 kinds of distance
        each way, most of them for ranges: short sequences are what a small model is made for.
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
    ) -> Output:
        batch = self.collate([each.sequences[0] for each in samples], model, packed=False)
        targets = [each.sequences[1] for each in samples]
        labels = torch.full((len(samples), max(map(len, targets))), _IGNORED)
        for row, target in zip(labels, targets, strict=True):
            row[: len(target)] = torch.from_numpy(target)
        labels = labels.to(unwrapped_model(model).device)
        before = unwrapped_model(model).prepare_decoder_input_ids_from_labels(labels)
        scores = model_to_call(model)(
            **batch.inputs, decoder_input_ids=before, use_cache=False
        ).logits
        return Output(scores[labels != _IGNORED].float(), model, batch.inputs)

    def losses(self, outputs: Output, samples: Sequence[Sample]) -> torch.Tensor:
        each = cross_entropy(outputs.scores, _wanted(outputs, samples), reduction="none")
        return torch.stack([part.sum() for part in torch.split(each, _lengths(samples))])

    def decode(self, outputs: Output, samples: Sequence[Sample]) -> list[Any]:
        right = outputs.scores.argmax(-1) == _wanted(outputs, samples)
        foreseen = [int(part.sum()) for part in torch.split(right, _lengths(samples))]
        texts = self._write(outputs.model, outputs.inputs)
        return [Written(*each) for each in zip(texts, foreseen, _lengths(samples), strict=True)]

    def _write(self, model: torch.nn.Module, inputs: dict[str, Any]) -> Iterator[str]:
        """Greedy decoding, until all texts have ended."""
        generating: Any = model
        ids = generating.generate(**inputs, do_sample=False, num_beams=1)
        for each in ids:
            yield self.tokenizer.decode(each, skip_special_tokens=True).strip()

    def metrics(self, answers: Sequence[Any], examples: Sequence[Example]) -> dict[str, float]:
        wanted = [each.target.strip() for each in examples if isinstance(each, Pair)]
        foreseen, tokens = (
            sum(getattr(each, name) for each in answers) for name in ("foreseen", "tokens")
        )
        return {
            "exact_match": exact_share(wanted, [each.text for each in answers]),
            "token_accuracy": foreseen / tokens,
        }

    def to_row(self, answer: Any) -> dict[str, Any]:
        return {"answer": answer.text}

    def save(self, model: torch.nn.Module, folder: Path) -> None:
        """How long answers may be too, for an adapter as well."""
        super().save(model, folder)
        unwrapped_model(model).generation_config.save_pretrained(folder)


def make_tokenizer(pairs: Sequence[Pair], vocabulary: int) -> Any:
    """A tokenizer for the texts of pairs: of characters where the vocabulary is small, else of
    pairs of bytes merged again and again (Sennrich et al. 2016) until it is full."""
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    texts = [text for each in pairs for text in (each.source, each.target)]
    small = vocabulary < _CHARACTERS
    made: Tokenizer = (
        _characters(texts, vocabulary) if small else byte_pairs(texts, vocabulary, _SPECIAL)
    )
    made.post_processor = processors.TemplateProcessing(
        single=f"$A {_END}", special_tokens=[(_END, made.token_to_id(_END))]
    )
    maker: Any = PreTrainedTokenizerFast
    return maker(
        tokenizer_object=made,
        pad_token=_PAD,
        eos_token=_END,
        unk_token=_UNKNOWN,
        clean_up_tokenization_spaces=False,
    )


def _characters(texts: Sequence[str], vocabulary: int) -> Any:
    """The most frequent characters; those of equal number in order of their code."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    counted = Counter(character for text in texts for character in text)
    best = sorted(counted, key=lambda each: (-counted[each], each))[: vocabulary - len(_SPECIAL)]
    numbers = {token: number for number, token in enumerate([*_SPECIAL, *sorted(best)])}
    made = Tokenizer(models.WordLevel(numbers, unk_token=_UNKNOWN))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    made.decoder = decoders.Fuse()
    return made


def _wanted(outputs: Output, samples: Sequence[Sample]) -> torch.Tensor:
    """The targets' tokens, one after another."""
    flat = np.concatenate([each.sequences[1] for each in samples]).astype(np.int64)
    return torch.from_numpy(flat).to(outputs.scores.device)


def _lengths(samples: Sequence[Sample]) -> list[int]:
    return [len(each.sequences[1]) for each in samples]
