"""Extractive question answering: where does an answer start and end? (Devlin et al. 2018, 4.2)"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from moli.metrics.answers import exact_match, f1
from moli.records.examples import Example, Span
from moli.training.batching.samples import Sample
from moli.training.tasks.base.transformer import TransformerTask
from moli.training.tasks.base.wrapped_models import (
    model_to_call,
    model_without_head,
    unwrapped_model,
)

_STRIDE = 128
_LONGEST_ANSWER = 30
_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a context, as far as a model reads at once.

    Attributes:
        begin: the first token of the context; what is before it is the question.
        start, end: first and last token of the answer, both 0 (the sequence's mark) without one.
        offsets: characters [tokens, 2] of each token in the context; kept for reading answers.
    """

    begin: int
    start: int
    end: int
    offsets: NDArray[np.int32] | None


@dataclass(frozen=True, slots=True)
class Found:
    """An answer as characters of its context, and the logarithm of its probability.

    Attributes:
        none: that of there being no answer.
    """

    score: float
    start: int
    end: int
    none: float


class SpanAnswering(TransformerTask):
    """Scores of each token to be the first or the last of the answer."""

    example_types = (Span,)
    metric = "f1"
    kind = "AutoModelForQuestionAnswering"
    default_max_length = 384
    state_fields = ("refuses",)
    refuses = False  # whether it has learnt that a text may hold no answer
    prediction_formats: ClassVar = {"span": {"answers": {"text": [], "answer_start": []}}}

    def prepare(self, examples: Sequence[Example]) -> None:
        self.refuses = any(isinstance(each, Span) and not each.answers for each in examples)

    def supervised_tokens(self, sample: Sample) -> list[NDArray[np.bool_]]:
        places = np.arange(len(sample.sequences[0]))
        return [(places >= sample.target.start) & (places <= sample.target.end)]

    def samples(self, examples: Sequence[Example], *, training: bool) -> list[list[Sample]]:
        spans = [each for each in examples if isinstance(each, Span)]
        groups: list[list[Sample]] = []
        for first in range(0, len(spans), _AT_ONCE):
            groups += self._windows(spans[first : first + _AT_ONCE], training=training)
        return groups

    def _windows(self, spans: Sequence[Span], *, training: bool) -> list[list[Sample]]:
        """The windows of each text; none to learn from where none has the answer whole."""
        questions, cut = self._questions(spans)
        encoded = self.tokenizer(
            questions,
            [each.context for each in spans],
            truncation="only_second",
            max_length=self.max_length,
            stride=min(_STRIDE, self.max_length // 4),
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_attention_mask=False,
        )
        groups: list[list[Sample]] = [[] for _ in spans]
        for number, owner in enumerate(encoded["overflow_to_sample_mapping"]):
            ids = np.asarray(encoded["input_ids"][number], np.int32)
            offsets = np.asarray(encoded["offset_mapping"][number], np.int32)
            parts = np.array([1 if p == 1 else 0 for p in encoded.sequence_ids(number)])
            begin = int(parts.argmax())
            offsets = offsets * parts[:, None]  # what is not context has no place in it
            start, end = _tokens_of(spans[owner], offsets, begin)
            window = Window(begin, start, end, None if training else offsets)
            lost = 0 if groups[owner] else cut[owner]  # counted once, in the first window
            groups[owner].append(Sample((ids,), window, 1, lost))
        if training:
            for each, group in zip(spans, groups, strict=True):
                if each.answers and not any(sample.target.end for sample in group):
                    group.clear()
        return groups

    def _questions(self, spans: Sequence[Span]) -> tuple[list[str], list[int]]:
        """Questions that leave half of the room to the text, and how many tokens each has lost."""
        most = self.max_length // 2
        questions, lost = [each.question.strip() for each in spans], [0] * len(spans)
        for row, question in enumerate(questions):
            if len(question) > most:  # else it cannot have as many tokens
                encoded = self.tokenizer(
                    question, add_special_tokens=False, return_offsets_mapping=True, verbose=False
                )
                over = encoded["offset_mapping"][most:]
                if over:
                    questions[row], lost[row] = question[: over[0][0]].rstrip(), len(over)
        return questions, lost

    def forward(
        self, model: torch.nn.Module, samples: Sequence[Sample], *, packed: bool = False
    ) -> torch.Tensor:
        """Scores to be first and last, [samples, longest, 2], -inf where no answer can be."""
        sequences = [each.sequences[0] for each in samples]
        beside = {}
        if "token_type_ids" in self.tokenizer.model_input_names:
            beside["token_type_ids"] = [_types(each) for each in samples]
        batch = self.collate(sequences, model, packed=packed, **beside)
        if batch.packed:
            states = model_without_head(model)(**batch.inputs).last_hidden_state
            scores: torch.Tensor = unwrapped_model(model).qa_outputs(states[0])
        else:
            output = model_to_call(model)(**batch.inputs)
            scores = batch.gather(torch.stack([output.start_logits, output.end_logits], -1))
        allowed = np.concatenate([_allowed(each) for each in samples])
        places = _places([len(each) for each in sequences])
        rows = scores.new_full((len(samples), max(map(len, sequences)), 2), -torch.inf).float()
        at = torch.as_tensor(places[:, allowed], device=scores.device)
        return rows.index_put((at[0], at[1]), scores.float()[torch.as_tensor(allowed)])

    def losses(self, outputs: torch.Tensor, samples: Sequence[Sample]) -> torch.Tensor:
        wanted = torch.tensor(
            [[each.target.start, each.target.end] for each in samples], device=outputs.device
        )
        return cross_entropy(outputs, wanted, reduction="none").mean(1)

    def decode(self, outputs: torch.Tensor, samples: Sequence[Sample]) -> list[Any]:
        known = torch.log_softmax(outputs, 1).cpu()
        return [_best(each, sample.target) for each, sample in zip(known, samples, strict=True)]

    def aggregate(self, answers: Sequence[Any], example: Example) -> Any:
        """The likeliest answer of all windows, as text; "" where having none is likelier."""
        best: Found = max(answers, key=lambda each: each.score)
        none = min(each.none for each in answers)  # the one window that has it has to say so
        if self.refuses and none > best.score:
            return ""
        return example.context[best.start : best.end] if isinstance(example, Span) else ""

    def metrics(self, answers: Sequence[Any], examples: Sequence[Example]) -> dict[str, float]:
        """As SQuAD 2.0 does: without an answer, to give none is right (Rajpurkar et al. 2018)."""
        wanted = [each.answers for each in examples if isinstance(each, Span)]
        pairs = list(zip(answers, wanted, strict=True))

        def mean(score: Callable[[str, Sequence[str]], float]) -> float:
            return float(np.mean([score(*each) if each[1] else not each[0] for each in pairs]))

        return {"f1": mean(f1), "exact_match": mean(exact_match)}


def _tokens_of(span: Span, offsets: NDArray[np.int32], begin: int) -> tuple[int, int]:
    """First and last token of the first answer that is whole in the window, else (0, 0)."""
    for text, start in zip(span.answers, span.starts, strict=True):
        inside = (offsets[:, 0] < start + len(text)) & (offsets[:, 1] > start)
        inside[:begin] = False
        tokens = np.flatnonzero(inside)
        if not len(tokens):
            continue
        first, last = int(tokens[0]), int(tokens[-1])
        if offsets[first, 0] <= start and offsets[last, 1] >= start + len(text):
            return first, last
    return 0, 0


def _types(sample: Sample) -> NDArray[np.int32]:
    inside: NDArray[np.bool_] = np.arange(len(sample.sequences[0])) >= sample.target.begin
    return inside.astype(np.int32)


def _allowed(sample: Sample) -> NDArray[np.bool_]:
    """Tokens where an answer may begin or end: the context's, and the mark of having none."""
    length = len(sample.sequences[0])
    allowed: NDArray[np.bool_] = np.arange(length) >= sample.target.begin
    allowed[0], allowed[length - 1] = True, False
    return allowed


def _places(lengths: Sequence[int]) -> NDArray[np.int64]:
    """Row and column of each token, [2, tokens]."""
    rows = np.repeat(np.arange(len(lengths)), lengths)
    columns = np.concatenate([np.arange(each) for each in lengths])
    return np.stack([rows, columns])


def _best(known: torch.Tensor, window: Window) -> Found:
    """The likeliest span of a window, from log-probabilities [tokens, 2]."""
    begin, last = window.begin, len(known) - 1
    if window.offsets is None or last <= begin:
        return Found(-np.inf, 0, 0, 0.0)
    first, final = known[begin:last, 0], known[begin:last, 1]
    scores = first[:, None] + final[None]
    scores = scores.triu() + torch.full_like(scores, -torch.inf).tril(-1)
    scores = scores.masked_fill(torch.ones_like(scores).triu(_LONGEST_ANSWER) > 0, -torch.inf)
    start, end = divmod(int(scores.argmax()), len(final))
    return Found(
        float(scores[start, end]),
        int(window.offsets[begin + start, 0]),
        int(window.offsets[begin + end, 1]),
        float(known[0].sum()),
    )
