"""Reward models: a score for an answer to a prompt, from pairs of a better and a worse answer.

Legend: z are scores, which are logits; P pairs, N single answers.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from moli.metrics.calibration import fit_temperature
from moli.metrics.classification import accuracy
from moli.metrics.preferences import (
    calibrate_reward,
    length_correlation,
    pair_accuracy,
    preference_calibration_error,
)
from moli.models.weights.loading import is_decoder, load_config
from moli.records.errors import InputError
from moli.records.examples import Example, Preference, RatedAnswer
from moli.records.messages import Message
from moli.records.preferences import answer_length
from moli.training.batching.batches import Batch
from moli.training.batching.samples import Sample, Tokens
from moli.training.methods import method_of
from moli.training.recipes.recipe import Recipe
from moli.training.recipes.task_options import RewardOptions
from moli.training.tasks.base.pooled import PooledTask
from moli.training.tasks.base.prompted_answers import (
    AnswerLayout,
    EncodedAnswer,
    encode_answers,
    shared_length,
)
from moli.training.tasks.base.sequence_logits import sequence_logits, sequence_means
from moli.training.tasks.base.task import HeadRows

_MIN_CALIBRATION_PAIRS = 20


def pair_loss(
    chosen: torch.Tensor, rejected: torch.Tensor, margins: torch.Tensor, centring: float = 0.0
) -> torch.Tensor:
    """-log sigmoid(z_c - z_r - m) + centring (z_c + z_r)^2 of each pair, [P].

    The margins are those of Touvron et al. 2023 (Llama 2), equation 2; the second term keeps scores
    around zero (Eisenstein et al. 2023, section 4).

    Args:
        chosen, rejected: scores of the two answers, [P].
        margins: by how much the chosen answer's score is to be higher, [P].
    """
    return -logsigmoid(chosen - rejected - margins) + centring * (chosen + rejected).square()


def safety_loss(scores: torch.Tensor, is_safe: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of sigmoid(z) as the probability of being safe, or good, [N].

    It is the auxiliary loss of Touvron et al. 2023, section 3.2.2.

    Args:
        is_safe: 1 for safe, 0 for unsafe, NaN where it is unknown, which has no loss, [N].
    """
    known = ~is_safe.isnan()
    losses = binary_cross_entropy_with_logits(scores, is_safe.nan_to_num(), reduction="none")
    return torch.where(known, losses, 0.0)


@dataclass(frozen=True, slots=True)
class RewardTarget:
    """Everything about a pair, or a single answer, besides its token ids.

    Attributes:
        margin: by how much the first answer's score is to be higher, if there are two.
        is_safe: whether each answer is safe, or good; NaN where that is unknown.
        token_types: for each answer, 0 for tokens of the prompt and 1 for those of the answer;
            empty for models without token types.
    """

    margin: float
    is_safe: tuple[float, ...]
    token_types: tuple[Tokens, ...]


class RewardModeling(PooledTask):
    """A reward model; an answer is an array with the scores of the example's one or two answers.

    The base is an encoder, or a causal model, whose head reads the last token. Its scores are
    divided by a temperature, so that sigmoid(difference) is the probability of being preferred.

    Attributes:
        largest_margin: the largest margin in the training data, to which the others are scaled.
        temperature: fitted to held-out pairs after training; 1 until then.
        has_pairs: whether it was trained on pairs, and not only on rated answers.
    """

    example_types: ClassVar = (Preference, RatedAnswer)
    prediction_formats: ClassVar = {
        "rated": {"label": True},
        "rated_messages": {"label": True},
        "paired": {},
    }
    state_fields: ClassVar[tuple[str, ...]] = (
        *PooledTask.state_fields,
        *("largest_margin", "temperature", "calibration", "has_pairs"),
    )
    is_calibrated = True
    selection_metric = "loss"  # which tells more of few held-out pairs than a share of them does
    largest_margin: float = 0.0
    temperature: float = 1.0
    has_pairs: bool = True

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.options = RewardOptions(**recipe.options)
        self.calibration = {}

    @property
    def metric(self) -> str:
        """Share of pairs that are ordered rightly, or of answers rated rightly without pairs."""
        return "pair_accuracy" if self.has_pairs else "rating_accuracy"

    @cached_property
    def is_causal(self) -> bool:
        """Whether the base reads from left to right."""
        return is_decoder(load_config(self.recipe.base))

    def prepare(self, examples: Sequence[Example]) -> None:
        """Set `largest_margin` and `has_pairs` from the examples.

        Raises:
            InputError: there are only rated answers, all of one rating.
        """
        pairs = [example for example in examples if isinstance(example, Preference)]
        self.has_pairs = bool(pairs)
        self.largest_margin = max((pair.margin for pair in pairs), default=0.0)
        ratings = {example.is_good for example in examples if isinstance(example, RatedAnswer)}
        if not pairs and len(ratings) < 2:
            raise InputError(
                f"every answer is rated as {'good' if True in ratings else 'bad'}",
                where=self.recipe.data_name,
                fix="Add answers with the other rating, or pairs of answers.",
            )

    def samples(self, examples: Sequence[Example], *, training: bool) -> list[list[Sample]]:
        """A sample for each example; in training, those of one prompt are in one step."""
        groups: dict[Hashable, int] = {}
        answers = [(example, answer) for example in examples for answer in _answers(example)]
        encoded = iter(
            encode_answers(self.tokenizer, answers, self.max_length, is_causal=self.is_causal)
        )
        result = []
        for example in examples:
            own = [next(encoded) for _ in _answers(example)]
            group = groups.setdefault(example.subject, len(groups)) if training else None
            result.append([self._sample(example, own, group)])
        return result

    def _sample(
        self, example: Example, answers: Sequence[EncodedAnswer], group: int | None
    ) -> Sample:
        """The sample of an example, with what both texts begin with apart for a causal base."""
        margin = 0.0
        if isinstance(example, Preference) and self.largest_margin:
            margin = self.options.margin * example.margin / self.largest_margin
        types = tuple(each.token_types for each in answers if each.token_types is not None)
        sequences = tuple(each.ids for each in answers)
        shared = shared_length(*sequences) if len(sequences) == 2 and self.shares_prompts else 0
        if shared:
            sequences = (sequences[0][:shared], *(each[shared:] for each in sequences))
        return Sample(
            sequences,
            RewardTarget(margin, _safety_tags(example), types),
            truncated_tokens=sum(each.truncated for each in answers),
            group=group,
            continues=(-1, 0, 0) if shared else (),
        )

    @cached_property
    def shares_prompts(self) -> bool:
        """Whether two texts may continue one: if no token reads those after it."""
        return self.is_causal and not method_of(self.recipe).adds_virtual_tokens

    def build(self, dtype: torch.dtype) -> torch.nn.Module:
        """The base model with a head that gives one score."""
        return self.build_with_head(dtype, num_labels=1)

    def forward(
        self, model: torch.nn.Module, samples: Sequence[Sample], *, packed: bool = False
    ) -> torch.Tensor:
        """Scores of all answers of all samples, in order, [answers], in float32.

        Equal texts, and equal beginnings of the texts of a causal model, are computed once.
        """
        layout = AnswerLayout.of(samples)
        batch = self._batch(layout, model, packed=packed)
        logits = sequence_logits(model, batch, mean=self.pooling == "mean")
        return logits[layout.answers, 0] / self.temperature

    def _batch(self, layout: AnswerLayout, model: torch.nn.Module, *, packed: bool) -> Batch:
        """A batch of the different sequences of samples."""
        types = layout.token_types
        return self.collate(
            layout.sequences,
            model,
            packed=packed,
            continues=layout.continues,
            token_inputs={"token_type_ids": types} if types else {},
        )

    def head_inputs(self, model: torch.nn.Module, samples: Sequence[Sample]) -> torch.Tensor:
        """The mean state of each answer with its prompt."""
        layout = AnswerLayout.of(samples)
        return sequence_means(model, self._batch(layout, model, packed=False))[layout.answers]

    def head_rows(self, inputs: torch.Tensor, samples: Sequence[Sample]) -> HeadRows:
        """Differences of the vectors of pairs, every other one reversed, and vectors with tags."""
        rows: list[tuple[torch.Tensor, int, int]] = []
        start = 0
        for number, sample in enumerate(samples):
            tags = sample.target.is_safe
            own = inputs[start : start + len(tags)]
            start += len(tags)
            group = number if sample.group is None else sample.group
            if len(tags) == 2:
                order = number % 2
                rows.append((own[1 - order] - own[order], order, group))
            rows += [
                (vector, int(tag), group)
                for vector, tag in zip(own, tags, strict=True)
                if not math.isnan(tag)
            ]
        vectors, targets, groups = zip(*rows, strict=True)
        return HeadRows(torch.stack(vectors), torch.tensor(targets), torch.tensor(groups))

    def losses(self, outputs: torch.Tensor, samples: Sequence[Sample]) -> torch.Tensor:
        """Loss of each sample: of its pair, if it is one, and of its answers' tags."""
        counts = [len(sample.target.is_safe) for sample in samples]
        tags = outputs.new_tensor([tag for sample in samples for tag in sample.target.is_safe])
        tag_losses = safety_loss(outputs, tags)
        result = torch.stack([part.mean() for part in torch.split(tag_losses, counts)])
        starts = np.cumsum([0, *counts[:-1]])
        pairs = [number for number, count in enumerate(counts) if count == 2]
        weight = outputs.new_tensor([self.options.safety if c == 2 else 1.0 for c in counts])
        result = result * weight
        if not pairs:
            return result
        first = torch.as_tensor(starts[pairs], device=outputs.device)
        margins = outputs.new_tensor([samples[number].target.margin for number in pairs])
        losses = pair_loss(outputs[first], outputs[first + 1], margins, self.options.centring)
        return result.index_add(0, torch.as_tensor(pairs, device=outputs.device), losses)

    def decode(self, outputs: torch.Tensor, samples: Sequence[Sample]) -> list[Any]:
        """For each sample the scores of its answers."""
        scores = torch.split(outputs, [len(sample.target.is_safe) for sample in samples])
        return [each.cpu().numpy() for each in scores]

    def metrics(self, answers: Sequence[Any], examples: Sequence[Example]) -> dict[str, float]:
        """Accuracy on pairs with its calibration error and what length has to do with it, and
        accuracy on rated answers."""
        metrics: dict[str, float] = {}
        pairs = _scored_pairs(answers, examples)
        if len(pairs.differences):
            metrics |= {
                "pair_accuracy": pair_accuracy(pairs.differences),
                "calibration_error": preference_calibration_error(pairs.differences),
                "longer_accuracy": pair_accuracy(pairs.longer_by),
                "length_correlation": length_correlation(pairs.differences, pairs.longer_by),
            }
        rated = [
            (example.is_good, bool(scores[0] > 0))
            for scores, example in zip(answers, examples, strict=True)
            if isinstance(example, RatedAnswer)
        ]
        if rated:
            expected, predicted = zip(*rated, strict=True)
            names = {True: "good", False: "bad"}
            metrics["rating_accuracy"] = accuracy(
                [names[each] for each in expected], [names[each] for each in predicted]
            )
        return metrics

    def example_scores(self, answers: Sequence[Any], examples: Sequence[Example]) -> list[float]:
        """1 for each pair, or else each rated answer, that is scored rightly; a tie is half."""
        pairs = _scored_pairs(answers, examples)
        if self.has_pairs:
            return [float(each) for each in (np.sign(pairs.differences) + 1) / 2]
        return super().example_scores(answers, examples)

    def calibrate(self, answers: Sequence[Any], examples: Sequence[Example]) -> None:
        """Set the temperature, unless there are too few pairs, and the report on the model."""
        pairs = _scored_pairs(answers, examples)
        count = len(pairs.differences)
        if not count:
            return
        if count >= _MIN_CALIBRATION_PAIRS:
            logits = np.stack([pairs.differences, np.zeros(count)], axis=1)
            self.temperature = fit_temperature(logits, np.zeros(count, np.int64))
        scaled = pairs.differences / self.temperature
        report = calibrate_reward(scaled, pairs.longer_by, pairs.margins, pairs.prompts)
        scores = np.concatenate([np.ravel(each) for each in answers]) / self.temperature
        self.calibration = {
            "may_be_used_as_reward": report.may_be_used,
            **asdict(report),
            "interval": list(report.interval),
            "problems": list(report.problems),
            "temperature": self.temperature,
            "score_mean": float(scores.mean()),
            "score_deviation": float(scores.std()),
            "score_range": [float(scores.min()), float(scores.max())],
        }

    def outcome_notes(
        self,
        metrics: Mapping[str, float],  # noqa: ARG002
        base_metrics: Mapping[str, float],  # noqa: ARG002
    ) -> list[str]:
        """The reasons not to use the model as a reward."""
        problems = self.calibration.get("problems", ())
        return [f"the model should not be used as a reward: {problem}" for problem in problems]

    def to_row(self, answer: Any) -> dict[str, Any]:
        """The score of an answer, or the scores of both."""
        scores = [float(score) for score in answer]
        return {"score": scores[0]} if len(scores) == 1 else {"scores": scores}


@dataclass(frozen=True, slots=True)
class _ScoredPairs:
    """Differences between the chosen and the rejected answer of each pair, its margin and prompt.

    Attributes:
        prompts: number of the prompt of each pair.
    """

    differences: Any
    longer_by: Any
    margins: Any
    prompts: Any


def _scored_pairs(answers: Sequence[Any], examples: Sequence[Example]) -> _ScoredPairs:
    """The pairs among scored examples; lengths are in characters."""
    numbers: dict[Hashable, int] = {}
    rows = [
        (
            float(scores[0]) - float(scores[1]),
            answer_length(example.chosen) - answer_length(example.rejected),
            example.margin,
            numbers.setdefault(example.subject, len(numbers)),
        )
        for scores, example in zip(answers, examples, strict=True)
        if isinstance(example, Preference)
    ]
    return _ScoredPairs(*np.array(rows, float).reshape(-1, 4).T)


def _answers(example: Example) -> list[tuple[Message, ...]]:
    """The answers of an example, the chosen one first."""
    if isinstance(example, Preference):
        return [example.chosen, example.rejected]
    return [example.answer] if isinstance(example, RatedAnswer) else []


def _safety_tags(example: Example) -> tuple[float, ...]:
    """Whether each answer is safe or good: 1, 0, or NaN where that is unknown."""
    tags: tuple[bool | None, ...] = ()
    if isinstance(example, Preference):
        tags = (example.chosen_is_safe, example.rejected_is_safe)
    elif isinstance(example, RatedAnswer):
        tags = (example.is_good,)
    return tuple(float("nan") if tag is None else float(tag) for tag in tags)
