"""Kahneman-Tversky optimization (Ethayarajh et al. 2024): from answers that are good or bad, each
by itself, instead of pairs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from moli.metrics.implicit_rewards import rating_metrics
from moli.records.examples import Conversation, Example, Preference, RatedAnswer
from moli.training.batching.samples import Sample
from moli.training.tasks.base.causal import TokenPredictions
from moli.training.tasks.base.preference import PairLogps, PreferenceTarget, PreferenceTask
from moli.training.tasks.base.shared_prompts import PromptAnswers


def kto_loss(
    changes: torch.Tensor, is_good: torch.Tensor, kl: torch.Tensor, beta: float
) -> torch.Tensor:
    """Loss of each answer, [answers], without weights (Ethayarajh et al. 2024, equation 8).

    Args:
        changes: log pi - log pi_ref of each answer, [answers].
        is_good: whether each answer is desirable, [answers].
        kl: estimate of the divergence from the reference, the point that gains and losses are seen
            from, [].
    """
    sign = torch.where(is_good, 1.0, -1.0)
    return 1 - torch.sigmoid(sign * beta * (changes - kl))


def estimate_kl(changes: torch.Tensor) -> torch.Tensor:
    """The divergence from the reference by answers to other prompts, [] (section 4.2 of the paper).

    No gradient goes through it.

    Args:
        changes: log pi - log pi_ref of each prompt with the answer to another one, [answers].
    """
    return changes.detach().mean().clamp(min=0)


@dataclass(slots=True)
class RatedTarget(PreferenceTarget):
    """The target of a rated answer and, as the second, the answer to another prompt."""

    is_good: bool = True


class Kto(PreferenceTask):
    """Kahneman-Tversky optimization; a pair is read as a good and a bad answer.

    The divergence is estimated from the samples that are computed at once.
    """

    example_types = (RatedAnswer, Preference)
    supervised_unit = "answers"

    def conversations(self, example: Example) -> list[Conversation]:
        """The prompt with each of its rated answers."""
        rated = _rated_answers(example)
        return [each for one in rated for each in self.prompt_answers(one).conversations()]

    def prompt_answers(self, example: Example) -> PromptAnswers:
        """The prompt with its answer, or with the answers of a pair."""
        if isinstance(example, RatedAnswer):
            return PromptAnswers(example.prompt, (example.answer,))
        return super().prompt_answers(example)

    def target(self, example: Example, masks: tuple[NDArray[np.bool_], ...]) -> RatedTarget:
        """The masks with the rating."""
        assert isinstance(example, RatedAnswer)  # noqa: S101 - pairs are split before
        return RatedTarget(masks, is_good=example.is_good)

    def samples(self, examples: Sequence[Example], *, training: bool) -> list[list[Sample]]:
        """A sample for each rated answer, with the answer to another prompt beside it."""
        rated = [_rated_answers(example) for example in examples]
        flat = [answer for own in rated for answer in own]
        groups = super().samples(flat, training=training)
        usable = [(answer, group[0]) for answer, group in zip(flat, groups, strict=True) if group]
        others = _answers_to_other_prompts(usable)
        mismatched = map(self._with_other, (sample for _, sample in usable), others)
        paired = iter([[next(mismatched)] if group else [] for group in groups])
        return [[sample for _ in own for sample in next(paired)] for own in rated]

    def _with_other(self, sample: Sample, other: Sample) -> Sample:
        """A sample with the answer of another one, as far as it fits, as its second answer."""
        room = self.max_length - len(sample.sequences[0])
        target: RatedTarget = sample.target
        masks = (*target.masks, other.target.masks[1][:room])
        return dataclasses.replace(
            sample,
            sequences=(*sample.sequences, other.sequences[1][:room]),
            target=RatedTarget(masks, is_good=target.is_good),
            continues=(*sample.continues, 0),
        )

    def losses(self, outputs: TokenPredictions, samples: Sequence[Sample]) -> torch.Tensor:
        """Loss of each answer, by its weight."""
        pairs, options = self.pairs(outputs, samples), self.options
        changes = pairs.policy - pairs.reference
        is_good = torch.tensor([each.target.is_good for each in samples], device=changes.device)
        losses = kto_loss(changes[:, 0], is_good, estimate_kl(changes[:, 1]), options.beta)
        weights = torch.where(is_good, options.desirable_weight, options.undesirable_weight)
        return losses * weights

    def pair_losses(self, pairs: PairLogps) -> torch.Tensor:
        """No loss of pairs: answers are rated one by one."""
        raise NotImplementedError

    def rewards(self, pairs: PairLogps) -> torch.Tensor:
        """The implicit rewards of an answer and of the other one, [answers, 2]."""
        rewards: torch.Tensor = self.options.beta * (pairs.policy - pairs.reference)
        return rewards

    def decode(self, outputs: TokenPredictions, samples: Sequence[Sample]) -> list[Any]:
        """For each sample its reward, log probability, the reference's, tokens and rating: [5]."""
        answers = super().decode(outputs, samples)
        ratings = [each.target.is_good for each in samples]
        return [np.append(a[:, 0], good) for a, good in zip(answers, ratings, strict=True)]

    def aggregate(self, answers: Sequence[Any], example: Any) -> Any:  # noqa: ARG002
        """The answers for an example's samples, [samples, 5]."""
        return np.stack(answers)

    def metrics(self, answers: Sequence[Any], examples: Sequence[Example]) -> dict[str, float]:  # noqa: ARG002
        """The share of good and bad answers that the rewards tell apart, and the drift."""
        rewards, logps, reference, tokens, is_good = np.concatenate(answers).T
        return rating_metrics(rewards, logps, tokens, reference, is_good.astype(bool))

    def example_scores(self, answers: Sequence[Any], examples: Sequence[Example]) -> list[float]:  # noqa: ARG002
        """None: the accuracy is of all good answers against all bad ones."""
        return []

    def to_row(self, answer: Any) -> dict[str, Any]:
        """The reward of an answer and its log probability; of a pair, those of the good one."""
        return {"reward": float(answer[0, 0]), "logp": float(answer[0, 1])}


def _rated_answers(example: Example) -> list[RatedAnswer]:
    """The rated answers of an example: its own, or the good and the bad one of a pair."""
    if isinstance(example, RatedAnswer):
        return [example]
    assert isinstance(example, Preference)  # noqa: S101 - no other type is accepted
    return [
        RatedAnswer(example.prompt, example.chosen, is_good=True),
        RatedAnswer(example.prompt, example.rejected, is_good=False),
    ]


def _answers_to_other_prompts(rated: Sequence[tuple[RatedAnswer, Sample]]) -> list[Sample]:
    """For each answer the nearest one before it to another prompt, in a circle; else itself."""
    others: list[Sample] = []
    for number, (answer, sample) in enumerate(rated):
        circle = (rated[number - back] for back in range(1, len(rated)))
        others.append(next((s for a, s in circle if a.prompt != answer.prompt), sample))
    return others
