"""Extractive question answering: where an answer starts and ends (Devlin et al. 2018, 4.2)."""

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

_STRIDE = 128  # tokens that neighboring windows share
_LONGEST_ANSWER = 30  # tokens
_CHUNK = 1000  # examples that are tokenized at once


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a context that a model reads at once, after the question.

    Attributes:
        context_start: index of the first token of the context; the question comes before it.
        start, end: indices of the first and last token of the answer; both 0, the index of the
            sequence's first special token, without an answer.
        offsets: first and last (exclusive) character of each token in the context, [tokens, 2];
            None in training.
    """

    context_start: int
    start: int
    end: int
    offsets: NDArray[np.int32] | None


@dataclass(frozen=True, slots=True)
class AnswerSpan:
    """The likeliest answer in a window, as characters of its context.

    Attributes:
        score: logarithm of its probability.
        no_answer_score: logarithm of the probability that there is no answer.
    """

    score: float
    start: int
    end: int
    no_answer_score: float


class SpanAnswering(TransformerTask):
    """Extractive question answering: the model scores each token of a context as the first and as
    the last token of the answer.

    A sample is a window of a context, after the question; its target is a `Window`.

    Attributes:
        refuses: whether the model may answer that the context has no answer, since some training
            examples have none.
    """

    example_types = (Span,)
    metric = "f1"
    auto_class = "AutoModelForQuestionAnswering"
    default_max_length = 384
    state_fields = ("refuses",)
    refuses = False
    prediction_formats: ClassVar = {"span": {"answers": {"text": [], "answer_start": []}}}

    def prepare(self, examples: Sequence[Example]) -> None:
        """Set `refuses`: whether some examples have no answer in their context."""
        self.refuses = any(isinstance(each, Span) and not each.answers for each in examples)

    def supervised_tokens(self, sample: Sample) -> list[NDArray[np.bool_]]:
        """Mask of the tokens of the answer."""
        indices = np.arange(len(sample.sequences[0]))
        return [(indices >= sample.target.start) & (indices <= sample.target.end)]

    def samples(self, examples: Sequence[Example], *, training: bool) -> list[list[Sample]]:
        """The windows of each example, as samples."""
        spans = [example for example in examples if isinstance(example, Span)]
        groups: list[list[Sample]] = []
        for start in range(0, len(spans), _CHUNK):
            groups += self._windows(spans[start : start + _CHUNK], training=training)
        return groups

    def _windows(self, spans: Sequence[Span], *, training: bool) -> list[list[Sample]]:
        """The windows of each example; in training, none if no window has the whole answer."""
        questions, truncated = self._truncate_questions(spans)
        encoded = self.tokenizer(
            questions,
            [span.context for span in spans],
            truncation="only_second",
            max_length=self.max_length,
            stride=min(_STRIDE, self.max_length // 4),
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_attention_mask=False,
        )
        groups: list[list[Sample]] = [[] for _ in spans]
        for index, owner in enumerate(encoded["overflow_to_sample_mapping"]):
            ids = np.asarray(encoded["input_ids"][index], np.int32)
            offsets = np.asarray(encoded["offset_mapping"][index], np.int32)
            in_context = np.array([1 if part == 1 else 0 for part in encoded.sequence_ids(index)])
            context_start = int(in_context.argmax())
            offsets = offsets * in_context[:, None]
            start, end = _answer_tokens(spans[owner], offsets, context_start)
            window = Window(context_start, start, end, None if training else offsets)
            lost = 0 if groups[owner] else truncated[owner]  # counted once, in the first window
            groups[owner].append(Sample((ids,), window, truncated_tokens=lost))
        if training:
            for span, group in zip(spans, groups, strict=True):
                if span.answers and not any(sample.target.end for sample in group):
                    group.clear()
        return groups

    def _truncate_questions(self, spans: Sequence[Span]) -> tuple[list[str], list[int]]:
        """Questions of at most half the maximum length, and the number of tokens cut off each."""
        limit = self.max_length // 2
        questions, truncated = [span.question.strip() for span in spans], [0] * len(spans)
        for row, question in enumerate(questions):
            if len(question) > limit:  # else it cannot have as many tokens
                encoded = self.tokenizer(
                    question, add_special_tokens=False, return_offsets_mapping=True, verbose=False
                )
                rest = encoded["offset_mapping"][limit:]
                if rest:
                    questions[row], truncated[row] = question[: rest[0][0]].rstrip(), len(rest)
        return questions, truncated

    def forward(
        self, model: torch.nn.Module, samples: Sequence[Sample], *, packed: bool = False
    ) -> torch.Tensor:
        """Scores of each token to be first and last of the answer, [samples, longest, 2].

        They are -inf for tokens where no answer can start or end.
        """
        sequences = [sample.sequences[0] for sample in samples]
        token_inputs = {}
        if "token_type_ids" in self.tokenizer.model_input_names:
            token_inputs["token_type_ids"] = [_token_types(sample) for sample in samples]
        batch = self.collate(sequences, model, packed=packed, token_inputs=token_inputs)
        if batch.packed:
            states = model_without_head(model)(**batch.inputs).last_hidden_state
            scores: torch.Tensor = unwrapped_model(model).qa_outputs(states[0])
        else:
            output = model_to_call(model)(**batch.inputs)
            scores = batch.gather(torch.stack([output.start_logits, output.end_logits], -1))
        allowed = np.concatenate([_allowed_tokens(sample) for sample in samples])
        cells = _rows_and_columns([len(sequence) for sequence in sequences])
        rows = scores.new_full((len(samples), max(map(len, sequences)), 2), -torch.inf).float()
        at = torch.as_tensor(cells[:, allowed], device=scores.device)
        return rows.index_put((at[0], at[1]), scores.float()[torch.as_tensor(allowed)])

    def losses(self, outputs: torch.Tensor, samples: Sequence[Sample]) -> torch.Tensor:
        """Cross-entropy of each window: the mean over its first and last token."""
        targets = torch.tensor(
            [[sample.target.start, sample.target.end] for sample in samples], device=outputs.device
        )
        return cross_entropy(outputs, targets, reduction="none").mean(1)

    def decode(self, outputs: torch.Tensor, samples: Sequence[Sample]) -> list[Any]:
        """An `AnswerSpan` for each window: the likeliest answer in it."""
        log_probabilities = torch.log_softmax(outputs, 1).cpu()
        return [
            _best_span(rows, sample.target)
            for rows, sample in zip(log_probabilities, samples, strict=True)
        ]

    def aggregate(self, answers: Sequence[Any], example: Example) -> Any:
        """The text of the likeliest answer in all windows; "" if "no answer" is likelier still."""
        best: AnswerSpan = max(answers, key=lambda answer: answer.score)
        # The window that has the answer is the least likely one to have none.
        no_answer_score = min(answer.no_answer_score for answer in answers)
        if self.refuses and no_answer_score > best.score:
            return ""
        return example.context[best.start : best.end] if isinstance(example, Span) else ""

    def metrics(self, answers: Sequence[Any], examples: Sequence[Example]) -> dict[str, float]:
        """F1 and exact match as in SQuAD 2.0 (Rajpurkar et al. 2018): if a question has no answer,
        only "" is right."""
        expected = [example.answers for example in examples if isinstance(example, Span)]
        pairs = list(zip(answers, expected, strict=True))

        def mean(score: Callable[[str, Sequence[str]], float]) -> float:
            """Mean score of the answers; 1 or 0 for questions without an answer."""
            return float(np.mean([score(*each) if each[1] else not each[0] for each in pairs]))

        return {"f1": mean(f1), "exact_match": mean(exact_match)}


def _answer_tokens(span: Span, offsets: NDArray[np.int32], context_start: int) -> tuple[int, int]:
    """Indices of the first and last token of an answer in a window.

    The first answer that lies in the window as a whole is taken; (0, 0) if there is none.
    """
    for text, start in zip(span.answers, span.starts, strict=True):
        inside = (offsets[:, 0] < start + len(text)) & (offsets[:, 1] > start)
        inside[:context_start] = False
        tokens = np.flatnonzero(inside)
        if not len(tokens):
            continue
        first, last = int(tokens[0]), int(tokens[-1])
        if offsets[first, 0] <= start and offsets[last, 1] >= start + len(text):
            return first, last
    return 0, 0


def _token_types(sample: Sample) -> NDArray[np.int32]:
    """BERT's token type of each token: 0 in the question, 1 in the context."""
    in_context: NDArray[np.bool_] = (
        np.arange(len(sample.sequences[0])) >= sample.target.context_start
    )
    return in_context.astype(np.int32)


def _allowed_tokens(sample: Sample) -> NDArray[np.bool_]:
    """Mask of the tokens where an answer may start or end.

    These are the context's, and the first special token, which stands for having no answer.
    """
    length = len(sample.sequences[0])
    allowed: NDArray[np.bool_] = np.arange(length) >= sample.target.context_start
    allowed[0], allowed[length - 1] = True, False
    return allowed


def _rows_and_columns(lengths: Sequence[int]) -> NDArray[np.int64]:
    """Row and column in an array of padded sequences for each token of the sequences end to end.

    Args:
        lengths: number of tokens of each sequence.

    Returns:
        Row indices and column indices, [2, tokens].
    """
    rows = np.repeat(np.arange(len(lengths)), lengths)
    columns = np.concatenate([np.arange(length) for length in lengths])
    return np.stack([rows, columns])


def _best_span(log_probabilities: torch.Tensor, window: Window) -> AnswerSpan:
    """The likeliest answer of a window, of at most `_LONGEST_ANSWER` tokens.

    Args:
        log_probabilities: for each token to be the first and to be the last, [tokens, 2].
    """
    begin, last = window.context_start, len(log_probabilities) - 1
    if window.offsets is None or last <= begin:
        return AnswerSpan(-np.inf, 0, 0, 0.0)
    first, final = log_probabilities[begin:last, 0], log_probabilities[begin:last, 1]
    scores = first[:, None] + final[None]
    scores = scores.triu() + torch.full_like(scores, -torch.inf).tril(-1)
    scores = scores.masked_fill(torch.ones_like(scores).triu(_LONGEST_ANSWER) > 0, -torch.inf)
    start, end = divmod(int(scores.argmax()), len(final))
    return AnswerSpan(
        float(scores[start, end]),
        int(window.offsets[begin + start, 0]),
        int(window.offsets[begin + end, 1]),
        float(log_probabilities[0].sum()),
    )
