"""The protocol of algorithms, and the options that all of them have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from pydantic import Field

from moli.alignment.kl import KLEstimator
from moli.alignment.rewards.shaping import Scaling
from moli.alignment.rollouts.buffer import Experience
from moli.alignment.rollouts.protocols import TokenScores
from moli.training.recipes.task_options import TaskOptions


class AlgorithmOptions(TaskOptions):
    """Options of every algorithm. Those that an algorithm does not use do nothing."""

    learning_rate: float = Field(3e-6, gt=0, description="Peak learning rate of the policy")
    beta: float = Field(0.01, ge=0, description="Coefficient of the divergence in the reward")
    kl_target: float | None = Field(
        None, gt=0, description="Divergence per answer to steer the coefficient to"
    )
    kl_horizon: int = Field(10_000, ge=1, description="Answers over which the steering acts")
    kl_estimator: KLEstimator = Field("k1", description="Estimator of the divergence in rewards")
    answers_per_prompt: int = Field(1, ge=1, description="Answers sampled for each prompt")
    epochs: int = Field(1, ge=1, description="Passes over each batch of rollouts")
    minibatches: int = Field(1, ge=1, description="Updates in each pass")
    clip_low: float = Field(0.2, gt=0, lt=1, description="Largest fall of a ratio that is learned")
    clip_high: float = Field(0.2, gt=0, description="Largest rise of a ratio that is learned")
    importance_cap: float = Field(
        2.0, ge=1, description="Largest weight that corrects for another engine's sampling"
    )
    missing_end_penalty: float = Field(
        1.0, ge=0, description="Deducted from the score of an answer that did not end by itself"
    )
    score_scaling: Scaling = Field(
        "none", description="Scores as they are, whitened by batch, or by all so far"
    )

    @property
    def further_batches(self) -> int:
        """Most batches that a step samples after its first, for groups whose rewards differ."""
        return 0


class GroupOptions(AlgorithmOptions):
    """Options of algorithms that compare the answers to one prompt."""

    answers_per_prompt: int = Field(4, ge=2, description="Answers sampled for each prompt")


@dataclass(frozen=True, slots=True)
class Minibatch:
    """The part of a batch of rollouts that one update learns from, or a part of that.

    Attributes:
        weights: weight of each token in the loss, [B, T]; they add up to 1 in the whole minibatch
            unless the algorithm says otherwise.
        beta: coefficient of the divergence.
    """

    experience: Experience
    weights: torch.Tensor
    beta: float


@dataclass(frozen=True, slots=True)
class Losses:
    """A minibatch's loss, and figures to report.

    All are sums weighted like the loss, so that those of a minibatch's parts add up to its own.
    """

    total: torch.Tensor
    metrics: Mapping[str, torch.Tensor]


class Algorithm(Protocol):
    """Turns scores into advantages, and advantages into a loss.

    Attributes:
        needs_values: whether there has to be a value function.
    """

    needs_values: ClassVar[bool]

    @property
    def options(self) -> AlgorithmOptions: ...

    def estimate(self, experience: Experience, beta: float) -> Experience:
        """The experience to learn from, with advantages and returns.

        It may have fewer rows. Answers to one prompt stand side by side, `answers_per_prompt` each.

        Args:
            beta: coefficient of the divergence.
        """
        ...

    def weights(self, experience: Experience) -> torch.Tensor:
        """The weight of each token in a minibatch's loss, [B, T]."""
        ...

    def loss(
        self, minibatch: Minibatch, current: TokenScores, values: torch.Tensor | None
    ) -> Losses:
        """The loss of a minibatch, or its share in it of a part.

        Args:
            current: the tokens as the policy finds them now, with gradients.
            values: the value of each token now, with gradients; None without a value function.
        """
        ...
