"""The reward on held-out prompts, by a reward that the policy does not learn from."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from moli.alignment.rewards.protocol import Reward, score_answers
from moli.alignment.rollouts.buffer import TrainingPrompt
from moli.alignment.rollouts.protocols import RolloutSource

_SEED = 1  # the same at every evaluation, so that only the weights differ


@dataclass(frozen=True, slots=True)
class HeldOutReward:
    """Samples an answer to each held-out prompt, and scores it.

    Attributes:
        reward: best another one than that of training, such as a reward model trained on other
            pairs: the policy may learn to please the one that it sees.
    """

    prompts: Sequence[TrainingPrompt]
    sample: RolloutSource
    reward: Reward

    def __call__(self) -> Mapping[str, float]:
        answers = self.sample(self.prompts, _SEED)
        scores = score_answers(self.reward, self.prompts, answers)
        error = statistics.stdev(scores) / len(scores) ** 0.5 if len(scores) > 1 else 0.0
        length = statistics.fmean(len(answer.ids) for answer in answers)
        return {"reward": statistics.fmean(scores), "reward_error": error, "length": length}
