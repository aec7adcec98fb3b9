"""Group relative policy optimization (Shao et al. 2024) and what others made of it.

Dr.GRPO (Liu et al. 2025) does not divide by a group's deviation, nor by an answer's length. DAPO
(Yu et al. 2025) counts all tokens the same and clips rises later; its dynamic sampling is there for
all variants. GSPO (Zheng et al. 2025) clips whole answers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator

from moli.alignment.advantages import grpo_advantages
from moli.alignment.algorithms.protocol import GroupOptions, Losses, Minibatch
from moli.alignment.algorithms.surrogate import penalized_scores, spread, surrogate_loss
from moli.alignment.kl import kl_loss
from moli.alignment.policy_losses import (
    Aggregation,
    sequence_ratio,
    token_ratio,
    token_weights,
    weighted_sum,
)
from moli.alignment.rollouts.buffer import Experience
from moli.alignment.rollouts.protocols import TokenScores

Variant = Literal["grpo", "dr_grpo", "dapo", "gspo"]
_AGGREGATIONS: Mapping[Variant, Aggregation] = {
    "grpo": "sequence",
    "dr_grpo": "constant",
    "dapo": "token",
    "gspo": "sequence",
}
_CLIPS: Mapping[Variant, tuple[float, float]] = {"dapo": (0.2, 0.28), "gspo": (3e-4, 4e-4)}


class GRPOOptions(GroupOptions):
    """Options of GRPO; the variant decides on what is not set."""

    variant: Variant = Field("grpo", description="GRPO itself, Dr.GRPO, DAPO or GSPO")
    kl_in: Literal["reward", "loss"] = Field(
        "reward", description="Whether the divergence is deducted from rewards or is a loss"
    )
    max_tokens: int = Field(
        512, ge=1, description="Dr.GRPO: number of tokens by which every answer is divided"
    )
    max_resample_times: int = Field(
        0, ge=0, description="Most further batches in place of groups with equal rewards"
    )

    @property
    def further_batches(self) -> int:
        """Most batches that a step samples after its first, for groups whose rewards differ."""
        return self.max_resample_times

    @model_validator(mode="before")
    @classmethod
    def _derive_clips(cls, values: Any) -> Any:
        """The options with the variant's bounds, where none are set."""
        low, high = _CLIPS.get(values.get("variant"), (0.2, 0.2))
        return {"clip_low": low, "clip_high": high, **values}


@dataclass(frozen=True, slots=True)
class GRPO:
    """Clipped updates by rewards relative to the others of a group."""

    needs_values: ClassVar[bool] = False
    options: GRPOOptions

    def estimate(self, experience: Experience, beta: float) -> Experience:
        """Each answer's score relative to its group's mean and deviation."""
        options = self.options
        is_penalized = options.kl_in == "reward"
        rewards = penalized_scores(experience, beta if is_penalized else 0.0, options)
        groups = rewards.view(-1, options.answers_per_prompt)
        advantages = grpo_advantages(groups, scale=options.variant != "dr_grpo")
        return dataclasses.replace(experience, advantages=spread(advantages, experience.mask))

    def weights(self, experience: Experience) -> torch.Tensor:
        """Answers count the same, or tokens do, as the variant has it."""
        aggregation = _AGGREGATIONS[self.options.variant]
        return token_weights(experience.mask, aggregation, self.options.max_tokens)

    def loss(
        self,
        minibatch: Minibatch,
        current: TokenScores,
        values: torch.Tensor | None,  # noqa: ARG002
    ) -> Losses:
        """The clipped loss of tokens, or of whole answers, and the divergence if it is a loss."""
        batch, options = minibatch.experience, self.options
        scored = (current.logprobs, batch.logprobs, batch.mask)
        is_whole = options.variant == "gspo"
        ratio = (
            sequence_ratio(*scored, length_normalized=True) if is_whole else token_ratio(*scored)
        )
        losses = surrogate_loss(minibatch, ratio, options)
        if options.kl_in == "reward":
            return losses
        per_token = kl_loss(current.logprobs, batch.reference_logprobs, batch.logprobs)
        divergence = weighted_sum(per_token, minibatch.weights)
        metrics = {**losses.metrics, "kl_loss": divergence.detach()}
        return Losses(losses.total + minibatch.beta * divergence, metrics)
