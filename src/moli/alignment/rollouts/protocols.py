"""Protocols of policies, so that a table, a model and an engine are the same to the loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from moli.alignment.rollouts.buffer import Rollouts, SampledAnswer, TrainingPrompt


@dataclass(frozen=True, slots=True)
class TokenScores:
    """Tokens of answers as a policy finds them.

    Attributes:
        logprobs: log probability of each token, [B, T].
        entropies: entropy of the distribution of each token, [B, T].
    """

    logprobs: torch.Tensor
    entropies: torch.Tensor


class RolloutSource(Protocol):
    """Samples an answer for each prompt, with the weights as they are now."""

    def __call__(self, prompts: Sequence[TrainingPrompt], seed: int) -> Sequence[SampledAnswer]:
        """One answer for each prompt; a prompt that stands there several times gets several.

        Args:
            seed: the same prompts, weights and seed give the same answers.
        """
        ...


class Policy(Protocol):
    """Scores the tokens of answers, at the temperature at which they were sampled.

    With gradients where torch records them. Dropout is off, and what else is in the batch does not
    matter.
    """

    def __call__(self, rollouts: Rollouts) -> TokenScores: ...


class ValueFunction(Protocol):
    """Expects rewards: the value of the state before each token of answers, [B, T]."""

    def __call__(self, rollouts: Rollouts) -> torch.Tensor: ...


@dataclass(frozen=True, slots=True)
class Roles:
    """The models of a run, or one model in several roles.

    Attributes:
        sample: samples from the policy.
        policy: the policy that is trained.
        reference: the policy as it was before training.
        value: the value function; None for algorithms without one.
    """

    sample: RolloutSource
    policy: Policy
    reference: Policy
    value: ValueFunction | None = None


@torch.no_grad()
def score_tokens(policy: Policy, rollouts: Rollouts, size: int) -> TokenScores:
    """The tokens of all rollouts as a policy finds them, without gradients.

    Args:
        size: number of answers to score at once.
    """
    parts = [policy(rollouts.select(rows)) for rows in _parts(len(rollouts), size)]
    return TokenScores(
        torch.cat([part.logprobs for part in parts]), torch.cat([part.entropies for part in parts])
    )


@torch.no_grad()
def score_values(value: ValueFunction, rollouts: Rollouts, size: int) -> torch.Tensor:
    """The values of all rollouts, [B, T], without gradients, scored like tokens."""
    return torch.cat([value(rollouts.select(rows)) for rows in _parts(len(rollouts), size)])


def _parts(count: int, size: int) -> Iterator[range]:
    """Rows in parts of `size`."""
    return (range(begin, min(begin + size, count)) for begin in range(0, count, size))
