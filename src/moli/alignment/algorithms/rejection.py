"""Rejection sampling: supervised tuning on the best of several answers (Touvron et al. 2023, 3.2).

The best of n has a divergence of at most `best_of_n_kl(n)`, with no other penalty.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field

from moli.alignment.algorithms.protocol import GroupOptions, Losses, Minibatch
from moli.alignment.algorithms.surrogate import spread
from moli.alignment.policy_losses import token_weights, weighted_sum
from moli.alignment.rollouts.buffer import Experience
from moli.alignment.rollouts.protocols import TokenScores
from moli.records.examples import Conversation
from moli.records.messages import Message


class RejectionOptions(GroupOptions):
    """Options of rejection sampling."""

    learning_rate: float = Field(1e-5, gt=0, description="Peak learning rate of the policy")
    answers_per_prompt: int = Field(16, ge=2, description="Answers sampled for each prompt")


@dataclass(frozen=True, slots=True)
class Rejection:
    """Maximum likelihood of the winners."""

    needs_values: ClassVar[bool] = False
    options: RejectionOptions

    def estimate(self, experience: Experience, beta: float) -> Experience:  # noqa: ARG002
        """The winners alone, with advantages of 1."""
        winners = best_rows(experience.scores, self.options.answers_per_prompt)
        best = experience.select(winners)
        advantages = spread(torch.ones_like(best.scores), best.mask)
        return dataclasses.replace(best, advantages=advantages)

    def weights(self, experience: Experience) -> torch.Tensor:
        """Every token counts the same."""
        return token_weights(experience.mask, "token")

    def loss(
        self,
        minibatch: Minibatch,
        current: TokenScores,
        values: torch.Tensor | None,  # noqa: ARG002
    ) -> Losses:
        """Mean negative log probability of the winners' tokens."""
        loss = weighted_sum(-current.logprobs, minibatch.weights)
        return Losses(loss, {"policy_loss": loss.detach()})


def best_rows(scores: torch.Tensor, answers_per_prompt: int) -> list[int]:
    """The row of the best answer to each prompt; of equally good ones the first.

    Args:
        scores: [B], with answers to one prompt side by side.
    """
    groups = scores.view(-1, answers_per_prompt)
    best: list[int] = groups.argmax(1).tolist()
    return [group * answers_per_prompt + column for group, column in enumerate(best)]


def best_examples(experience: Experience, answers_per_prompt: int) -> list[Conversation]:
    """Conversations that end with the best answer to their prompt, for supervised tuning.

    Only that answer is supervised. Prompts without messages are left out.
    """
    examples = []
    for row in best_rows(experience.scores, answers_per_prompt):
        prompt, answer = experience.prompts[row], experience.answers[row]
        if prompt.messages:
            earlier = (dataclasses.replace(m, supervised=False) for m in prompt.messages)
            turns = (*earlier, Message("assistant", answer.text))
            examples.append(Conversation(turns))
    return examples
