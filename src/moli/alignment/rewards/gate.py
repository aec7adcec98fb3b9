"""Safety before helpfulness: which of two reward models counts for an answer (Llama 2, 3.2.3)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from moli.alignment.rewards.protocol import Reward, score_answers
from moli.alignment.rollouts.buffer import SampledAnswer, TrainingPrompt

SAFETY_THRESHOLD = 0.15  # probability of being safe below which safety is what counts


@dataclass(frozen=True, slots=True)
class GatedScores:
    """Scores of B answers.

    Attributes:
        scores: the score that counts, a logit, [B].
        gated: whether it is that of safety, [B].
        inverted: whether an answer passed as safe, and yet is scored lower than an answer at the
            threshold that did not, [B]. There the rule rewards being less safe.
    """

    scores: torch.Tensor
    gated: torch.Tensor
    inverted: torch.Tensor


def gate(
    safety: torch.Tensor,
    helpfulness: torch.Tensor,
    is_unsafe: torch.Tensor,
    threshold: float = SAFETY_THRESHOLD,
) -> GatedScores:
    """The score of safety where the prompt is tagged or the answer unsafe, else of helpfulness.

    The rule is Rc = Rs if the prompt is unsafe or Rs < 0.15, else Rh, with R = sigmoid(z). Rewards
    are logits, and logit(sigmoid(z)) = z, so all of it happens on logits, without a sigmoid that
    loses large ones.

    Args:
        safety, helpfulness: logits of the two reward models, [B].
        is_unsafe: whether the prompt is tagged as unsafe, [B].
        threshold: probability of being safe.
    """
    limit = math.log(threshold) - math.log1p(-threshold)
    gated = is_unsafe | (safety < limit)
    scores = torch.where(gated, safety, helpfulness)
    return GatedScores(scores, gated, ~gated & (helpfulness < limit))


@dataclass(slots=True)
class GatedReward:
    """Two reward models behind the gate. Both return logits.

    Attributes:
        metrics: share of answers that were scored by safety in the last call, and the number of
            inversions.
    """

    safety: Reward
    helpfulness: Reward
    threshold: float = SAFETY_THRESHOLD
    metrics: Mapping[str, float] = field(default_factory=dict, init=False)

    def __call__(
        self, prompts: Sequence[TrainingPrompt], answers: Sequence[SampledAnswer], /
    ) -> Sequence[float]:
        result = gate(
            torch.tensor(score_answers(self.safety, prompts, answers), dtype=torch.float64),
            torch.tensor(score_answers(self.helpfulness, prompts, answers), dtype=torch.float64),
            torch.tensor([prompt.is_unsafe for prompt in prompts], dtype=torch.bool),
            self.threshold,
        )
        self.metrics = {
            "gated_share": float(result.gated.double().mean()),
            "gate_inversions": float(result.inverted.sum()),
        }
        scores: list[float] = result.scores.tolist()
        return scores
