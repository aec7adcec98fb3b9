"""A policy's answers compared with those of the policy before, on the same prompts."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from moli.alignment.judging import judge_answers
from moli.alignment.rewards.protocol import Reward, score_answers
from moli.alignment.rollouts.buffer import SampledAnswer, TrainingPrompt
from moli.metrics.win_rates import WinRate, win_rate
from moli.models.protocols.chat import ChatModel

_SAMPLES = 6


@dataclass(frozen=True, slots=True)
class PolicyComparison:
    """The result of comparing a policy's answers with those before.

    Attributes:
        by_reward: win rate by the reward's scores.
        by_judge: win rate by a judge; None without one.
        agreement: share of the prompts at which both orders of the answers gave one verdict.
        reward, reward_before: mean scores.
        sample_answers: some prompts with both answers.
    """

    by_reward: WinRate
    by_judge: WinRate | None
    agreement: float
    reward: float
    reward_before: float
    sample_answers: tuple[dict[str, str], ...]

    def metrics(self) -> dict[str, float]:
        """All figures by name."""
        figures = {"win_rate": self.by_reward.win_rate, **_flat("reward", self.by_reward)}
        if self.by_judge:
            figures |= {**_flat("judge", self.by_judge), "judge_agreement": self.agreement}
        return figures | {"reward": self.reward, "reward_before": self.reward_before}


def _flat(name: str, rate: WinRate) -> dict[str, float]:
    """The figures of a win rate, with the bounds of intervals, by name."""
    values: dict[str, Any] = asdict(rate)
    flat: dict[str, float] = {}
    for key in ("win_rate", "length_controlled"):
        interval = values["interval" if key == "win_rate" else f"{key}_interval"]
        flat |= {
            f"{name}_{key}": values[key],
            f"{name}_{key}_low": interval[0],
            f"{name}_{key}_high": interval[1],
        }
    return flat


def compare_policies(
    prompts: Sequence[TrainingPrompt],
    answers: Sequence[SampledAnswer],
    before: Sequence[SampledAnswer],
    reward: Reward,
    judge: ChatModel | None = None,
) -> PolicyComparison:
    """Compare answers with those of the policy before, one for each prompt.

    Args:
        reward: best one that neither policy has learned from.

    Raises:
        InputError: there are no prompts.
    """
    scores = score_answers(reward, prompts, answers)
    scores_before = score_answers(reward, prompts, before)
    pairs = list(zip(scores, scores_before, strict=True))
    wins = [0.5 if one == other else float(one > other) for one, other in pairs]
    longer_by = [len(a.text) - len(b.text) for a, b in zip(answers, before, strict=True)]
    judgement = judge_answers(judge, prompts, answers, before) if judge else None
    samples = [
        {"prompt": prompt.messages[-1].content, "before": other.text, "after": answer.text}
        for prompt, other, answer in zip(prompts, before, answers, strict=True)
    ]
    return PolicyComparison(
        by_reward=win_rate(wins, longer_by),
        by_judge=win_rate(judgement.wins, longer_by) if judgement else None,
        agreement=judgement.agreement if judgement else 0.0,
        reward=statistics.fmean(scores),
        reward_before=statistics.fmean(scores_before),
        sample_answers=tuple(samples[:_SAMPLES]),
    )
