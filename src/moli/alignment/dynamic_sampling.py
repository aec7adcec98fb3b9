"""Dynamic sampling (Yu et al. 2025, section 3.2): a batch of groups whose rewards differ.

Compared with each other, answers to one prompt that are all as good teach nothing. Further batches
are sampled, up to a bound, until there are enough groups that teach something.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from moli.alignment.algorithms.protocol import AlgorithmOptions
from moli.alignment.rewards.protocol import ReportingReward, Reward, score_answers
from moli.alignment.rewards.shaping import penalize_missing_end
from moli.alignment.rollouts.buffer import Rollouts, make_rollouts


@dataclass(frozen=True, slots=True)
class RewardedRollouts:
    """Rollouts with the reward of each answer.

    Attributes:
        rewards: before scaling and penalties, [B].
        metrics: what the reward has reported of them, and `uniform_share`, the share of groups
            with equal rewards among all that were sampled, if answers are compared in groups.
    """

    rollouts: Rollouts
    rewards: torch.Tensor
    metrics: Mapping[str, float]

    @property
    def ended(self) -> torch.Tensor:
        """Whether each answer ended by itself, [B]."""
        return torch.tensor([answer.ended for answer in self.rollouts.answers])


def reward_rollouts(rollouts: Rollouts, reward: Reward) -> RewardedRollouts:
    """Rollouts with their rewards.

    Raises:
        InputError: there is not a finite reward for each answer.
    """
    rewards = score_answers(reward, rollouts.prompts, rollouts.answers)
    metrics = dict(reward.metrics) if isinstance(reward, ReportingReward) else {}
    return RewardedRollouts(rollouts, torch.tensor(rewards, dtype=torch.float64), metrics)


def sample_batches(
    sample: Callable[[int], RewardedRollouts], options: AlgorithmOptions
) -> RewardedRollouts:
    """A batch with as many groups as the first, with different rewards if enough have them.

    If there are too few at the last batch that may be sampled, the first others fill up the rest.

    Args:
        sample: returns a batch by its number, which is 0 for the first.
    """
    batches = [sample(0)]
    uniform = uniform_groups(batches[0], options)
    requested = len(uniform)
    while int((~uniform).sum()) < requested and len(batches) <= options.further_batches:
        batches.append(sample(len(batches)))
        uniform = torch.cat([uniform, uniform_groups(batches[-1], options)])
    groups = uniform.int().argsort(stable=True)[:requested].sort().values
    chosen = _groups_of(batches, groups, options.answers_per_prompt)
    metrics = _mean_metrics([batch.metrics for batch in batches])
    if options.answers_per_prompt > 1:
        metrics["uniform_share"] = float(uniform.double().mean())
    return RewardedRollouts(*chosen, metrics)


def uniform_groups(batch: RewardedRollouts, options: AlgorithmOptions) -> torch.Tensor:
    """Whether all answers to a prompt have one reward, less the penalty for a missing end, [G]."""
    rewards = penalize_missing_end(batch.rewards, batch.ended, options.missing_end_penalty)
    groups = rewards.view(-1, options.answers_per_prompt)
    return groups.amax(1) == groups.amin(1)


def _groups_of(
    batches: Sequence[RewardedRollouts], groups: torch.Tensor, size: int
) -> tuple[Rollouts, torch.Tensor]:
    """Some groups of several batches, and the rewards of their answers."""
    rows = (groups[:, None] * size + torch.arange(size)).flatten()
    prompts = [prompt for batch in batches for prompt in batch.rollouts.prompts]
    answers = [answer for batch in batches for answer in batch.rollouts.answers]
    rewards = torch.cat([batch.rewards for batch in batches])[rows]
    numbers = rows.tolist()
    chosen = make_rollouts([prompts[row] for row in numbers], [answers[row] for row in numbers])
    return chosen, rewards


def _mean_metrics(reported: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means over batches of what a reward has reported of each."""
    names = dict.fromkeys(name for metrics in reported for name in metrics)
    return {
        name: statistics.fmean(metrics[name] for metrics in reported if name in metrics)
        for name in names
    }
