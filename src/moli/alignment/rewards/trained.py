"""A reward model that was trained on pairs or ratings, as a reward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from moli.alignment.rollouts.buffer import SampledAnswer, TrainingPrompt
from moli.records.errors import InputError
from moli.records.messages import Message
from moli.training.trained.reward_model import RewardModel


@dataclass(slots=True)
class TrainedReward:
    """Scores of a reward model, which are logits; it reads texts with its own tokenizer.

    Attributes:
        must_be_calibrated: whether a model is refused that should not be used as a reward.
        metrics: how far the scores of the last call are from those of its held-out answers: the
            shift of the mean in standard deviations, and the share beyond all of them.

    Raises:
        InputError: the model's calibration speaks against its use as a reward.
    """

    model: RewardModel
    must_be_calibrated: bool = True
    metrics: Mapping[str, float] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if self.must_be_calibrated:
            self.model.check_use()

    def __call__(
        self, prompts: Sequence[TrainingPrompt], answers: Sequence[SampledAnswer], /
    ) -> Sequence[float]:
        if any(not prompt.messages for prompt in prompts):
            raise InputError(
                "a prompt has no messages, and a reward model reads messages, not token ids",
                where=self.model.name,
                fix="Give each prompt its messages.",
            )
        scores = self.model.score(
            [prompt.messages for prompt in prompts],
            [(Message("assistant", answer.text),) for answer in answers],
        )
        if self.model.calibration and scores:
            drift = self.model.drift(scores)
            self.metrics = {"score_shift": drift.shift, "scores_outside": drift.outside}
        return scores
