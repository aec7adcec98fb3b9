"""A trained reward model that scores answers to prompts, whatever model has written them.

with Workspace.open() as workspace:
    reward = load_reward_model("safety", workspace)
    reward.score([[Message("user", "Hi")]], [[Message("assistant", "Hello")]])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moli.metrics.preferences import ScoreDrift, score_drift_from
from moli.records.errors import InputError
from moli.records.examples import RatedAnswer
from moli.records.messages import Message
from moli.training import inference
from moli.training.tasks import make_task
from moli.training.tasks.reward import RewardModeling
from moli.training.trained.load import TrainedModel, load_trained, recipe_of
from moli.workspace import Workspace
from moli.workspace.content import StoredModel


@dataclass(slots=True)
class RewardModel:
    """A reward model. Texts are tokenized with its own tokenizer, whatever the policy's is."""

    trained: TrainedModel

    @property
    def name(self) -> str:
        """The name it was requested by in the workspace."""
        return self.trained.name

    @property
    def calibration(self) -> Mapping[str, Any]:
        """The report on the model: accuracy, calibration error and so on; empty without one."""
        return self.trained.task.calibration

    @property
    def may_be_used(self) -> bool:
        """Whether its calibration allows its use as a reward."""
        return _may_be_used(self.calibration)

    def check_use(self) -> None:
        """Check that its calibration allows its use as a reward.

        Raises:
            InputError: it does not, or there is none.
        """
        _check_calibration(self.calibration, self.name)

    def score(
        self, prompts: Sequence[Sequence[Message]], answers: Sequence[Sequence[Message]]
    ) -> list[float]:
        """A score for each answer to its prompt: a logit, larger is better.

        Answers to one prompt that are equal are computed once.

        Raises:
            InputError: there is not one answer for each prompt.
        """
        if len(prompts) != len(answers):
            raise InputError(
                f"{len(answers)} answers for {len(prompts)} prompts",
                where=self.name,
                fix="Give one answer for each prompt, in the same order.",
            )
        task, model = self.trained.task, self.trained.model
        examples = [
            RatedAnswer(tuple(prompt), tuple(answer), is_good=True)
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
        groups = task.samples(examples, training=False)
        samples = [sample for group in groups for sample in group]
        result = inference.run_inference(
            task, model, groups, packed=self.trained.should_pack(samples), with_losses=False
        )
        return [float(scores[0][0]) for scores in result.answers]

    def drift(self, scores: Sequence[float]) -> ScoreDrift:
        """The comparison of scores of a policy's answers with those it was calibrated on.

        Raises:
            InputError: it was not calibrated.
        """
        if not self.calibration:
            self.check_use()
        low, high = self.calibration["score_range"]
        mean, deviation = self.calibration["score_mean"], self.calibration["score_deviation"]
        return score_drift_from(scores, mean=mean, deviation=deviation, low=low, high=high)


def load_reward_model(model: str | StoredModel, workspace: Workspace) -> RewardModel:
    """A reward model of a workspace, by its name or hash.

    Raises:
        NotFoundError: there is no such model.
        InputError: it was trained for another task.
        ModelError: it or its base has changed since it was stored.
    """
    stored = workspace.models.get(model) if isinstance(model, str) else model
    check_task(stored.manifest.task, stored.name)
    trained = load_trained(stored)
    assert isinstance(trained.task, RewardModeling)  # noqa: S101 - for the type checker
    return RewardModel(trained)


def check_reward_model(stored: StoredModel, *, must_be_calibrated: bool) -> None:
    """Check that a stored model can be used as a reward, without loading its weights.

    Raises:
        InputError: it was trained for another task, or its calibration speaks against its use.
    """
    check_task(stored.manifest.task, stored.name)
    if must_be_calibrated:
        task = make_task(recipe_of(stored))
        task.load_state(stored.folder)
        _check_calibration(task.calibration, stored.name)


def check_task(task: str, name: str) -> None:
    """Check that a model's task makes it a reward model.

    Raises:
        InputError: it does not.
    """
    if task != "reward":
        raise InputError(
            f"a model for {task}, not a reward model",
            where=name,
            fix="Name one that was tuned with task: reward.",
        )


def _may_be_used(calibration: Mapping[str, Any]) -> bool:
    """Whether a calibration allows the use of its model as a reward."""
    return bool(calibration.get("may_be_used_as_reward"))


def _check_calibration(calibration: Mapping[str, Any], name: str) -> None:
    """Check that a calibration allows the use of its model as a reward.

    Raises:
        InputError: it does not, or there is none.
    """
    if _may_be_used(calibration):
        return
    problems = calibration.get("problems") or ["it was not calibrated on pairs"]
    raise InputError(
        f"this reward model should not be used as a reward: {'; '.join(problems)}",
        where=name,
        fix="Train it on more or better pairs, and hold some out.",
    )
