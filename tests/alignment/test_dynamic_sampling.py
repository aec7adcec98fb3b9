"""Dynamic sampling: batches whose groups have different rewards, as derived by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from alignment.runs import make_run
from alignment.tabular import Space

from moli.alignment.algorithms.table import make_algorithm
from moli.alignment.dynamic_sampling import RewardedRollouts, reward_rollouts, sample_batches
from moli.alignment.rollouts.buffer import SampledAnswer, TrainingPrompt, make_rollouts
from moli.records.training import StepTaken

# Rewards of two answers to each of two prompts, in batches: 0 and 3 are uniform groups.
FIRST = [[1.0, 1.0], [0.0, 1.0]]
SECOND = [[2.0, 3.0], [0.0, 0.0]]
THIRD = [[5.0, 4.0], [7.0, 8.0]]


class Table:
    """A reward that is looked up by an answer's text, and reports the largest of a call."""

    metrics: Mapping[str, float]

    def __call__(
        self, prompts: Sequence[TrainingPrompt], answers: Sequence[SampledAnswer], /
    ) -> list[float]:
        scores = [float(answer.text) for answer in answers]
        self.metrics = {"largest": max(scores)}
        return scores


def batch_of(number: int, rewards: Sequence[Sequence[float]]) -> RewardedRollouts:
    """A batch whose prompts have the ids (batch, group) and answers of one to four tokens."""
    prompts = [TrainingPrompt((number, group)) for group in range(len(rewards)) for _ in range(2)]
    answers = [
        SampledAnswer((5,) * (1 + row), (-0.5,) * (1 + row), str(reward))
        for row, reward in enumerate(reward for group in rewards for reward in group)
    ]
    return reward_rollouts(make_rollouts(prompts, answers), Table())


def sampled(most: int, *batches: Sequence[Sequence[float]]) -> tuple[RewardedRollouts, int]:
    """What is sampled with at most so many further batches, and how many batches that took."""
    asked: list[int] = []

    def sample(number: int) -> RewardedRollouts:
        asked.append(number)
        return batch_of(number, batches[number])

    options = {"answers_per_prompt": 2, "max_resample_times": most}
    result = sample_batches(sample, make_algorithm("grpo", options).options)
    assert asked == list(range(len(asked)))
    return result, len(asked)


def test_it_is_sampled_on_until_enough_groups_differ() -> None:
    result, count = sampled(5, FIRST, SECOND, THIRD)
    assert count == 2
    groups = [prompt.ids for prompt in result.rollouts.prompts]
    assert groups == [(0, 1), (0, 1), (1, 0), (1, 0)]
    assert result.rewards.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert [answer.text for answer in result.rollouts.answers] == ["0.0", "1.0", "2.0", "3.0"]
    assert result.rollouts.lengths.tolist() == [3, 4, 1, 2]
    assert result.metrics == {"uniform_share": 0.5, "largest": (1 + 3) / 2}


@pytest.mark.parametrize(
    ("most", "batches", "taken", "rewards", "share"),
    [
        (0, (FIRST,), 1, [1, 1, 0, 1], 1 / 2),  # off, so the batch is as it was
        (3, (THIRD,), 1, [5, 4, 7, 8], 0),  # full at once
        (1, (FIRST, THIRD), 2, [0, 1, 5, 4], 1 / 4),  # one more than was needed
        (1, ([[1, 1], [2, 2]], SECOND), 2, [1, 1, 2, 3], 3 / 4),  # filled up with the first
        (2, ([[1, 1], [2, 2]], [[3, 3], [4, 4]], [[5, 5], [6, 6]]), 3, [1, 1, 2, 2], 1),
    ],
)
def test_the_batch_has_its_size_whatever_is_sampled(
    most: int, batches: Sequence[Sequence[Sequence[float]]], taken: int, rewards: list[float],
    share: float,
) -> None:  # fmt: skip
    result, count = sampled(most, *batches)
    assert count == taken
    assert result.rewards.tolist() == rewards
    assert result.metrics["uniform_share"] == pytest.approx(share)


def test_an_answer_that_was_cut_off_differs_by_its_penalty() -> None:
    whole = batch_of(0, [[1.0, 1.0]])
    answers = list(whole.rollouts.answers)
    answers[1] = dataclasses.replace(answers[1], ended=False)
    cut = dataclasses.replace(whole, rollouts=make_rollouts(whole.rollouts.prompts, answers))
    for penalty, share in ((1.0, 0.0), (0.0, 1.0)):
        options = {"answers_per_prompt": 2, "missing_end_penalty": penalty}
        result = sample_batches(lambda _: cut, make_algorithm("grpo", options).options)
        assert result.metrics["uniform_share"] == share


def test_a_run_learns_from_groups_that_differ(tmp_path: Path) -> None:
    """Of two prompts one always gets the same reward, so it is never learned from."""
    space, learned, steps = Space(prompts=2), [], []

    def reward(prompts: Sequence[TrainingPrompt], answers: Sequence[SampledAnswer]) -> list[float]:
        pairs = zip(prompts, answers, strict=True)
        return [float(p.ids[0] and len(a.ids)) for p, a in pairs]

    for most in (0, 20):
        options = {"answers_per_prompt": 6, "max_resample_times": most}
        loop = make_run(
            tmp_path, "grpo", options, space=space, reward=reward, prompts=2, learning_rate=1e-3
        )
        loop.on_event = steps.append
        for _ in range(4):
            experience, metrics = loop.score(loop.roll_out())
            learned.append({prompt.ids[0] for prompt in experience.prompts})
            loop.on_event(loop.learn(experience, metrics))
    assert learned == [{0, 1}] * 4 + [{1}] * 4
    shares = [step.metrics["uniform_share"] for step in steps if isinstance(step, StepTaken)]
    assert shares[:4] == [0.5] * 4 and all(0 < share < 1 for share in shares[4:])


def test_an_algorithm_without_groups_reports_no_share(tmp_path: Path) -> None:
    _, metrics = (loop := make_run(tmp_path, "ppo", prompts=4)).score(loop.roll_out())
    assert "uniform_share" not in metrics
