"""Alarms: signs that a policy games its reward instead of becoming better. They stop the run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import Field

from moli.training.recipes.task_options import TaskOptions

# A mean divergence below 0 by so many standard errors, and by more than rounding, is no chance.
_KL_ERRORS, _KL_ROUNDING = 3, 0.01


class AlarmLimits(TaskOptions):
    """Limits of a run's figures; None switches an alarm off.

    Baselines are means of the run's first steps.
    """

    kl: float | None = Field(30.0, gt=0, description="Largest divergence per answer")
    length_growth: float | None = Field(
        3.0, gt=1, description="Largest length of answers, as a multiple of the baseline"
    )
    repetition: float | None = Field(
        0.5, gt=0, le=1, description="Largest share of runs of four tokens that are repeated"
    )
    entropy_share: float | None = Field(
        0.1, gt=0, lt=1, description="Smallest entropy per token, as a share of the baseline"
    )
    held_out_errors: float | None = Field(
        2.0, gt=0, description="Fall of the held-out reward below its best, in standard errors"
    )
    baseline_steps: int = Field(5, ge=1, description="First steps that make the baseline")
    patience: int = Field(3, ge=1, description="Times in a row before an alarm stops the run")


@dataclass(frozen=True, slots=True)
class _Sign:
    """A sign of something wrong, whether it is there, and what to say of it."""

    subject: str
    rings: bool
    message: str


@dataclass(slots=True)
class AlarmState:
    """Observations so far, which a checkpoint keeps.

    Attributes:
        steps: number of steps.
        baseline: means over the first steps by metric.
        streaks: times in a row that an alarm has rung, by its subject.
        best_held_out: the best held-out reward, None before the first.
        training_reward: the training reward at that time.
    """

    steps: int = 0
    baseline: dict[str, float] = field(default_factory=dict)
    streaks: dict[str, int] = field(default_factory=dict)
    best_held_out: float | None = None
    training_reward: float = 0.0


class Alarms:
    """Watches the figures of steps and evaluations. A message says why the run has to stop."""

    def __init__(self, limits: AlarmLimits | None = None) -> None:
        self.limits = limits or AlarmLimits()
        self._state = AlarmState()

    def on_step(self, metrics: Mapping[str, float]) -> str:
        """The alarm after a step, "" without one.

        Args:
            metrics: figures of the step: `kl`, `kl_error`, `length`, `repetition`, `entropy`.
        """
        state = self._state
        if state.steps < self.limits.baseline_steps:
            for name in ("length", "entropy"):
                mean = state.baseline.get(name, 0.0)
                state.baseline[name] = mean + (metrics[name] - mean) / (state.steps + 1)
        state.steps += 1
        return self._ring(self._step_signs(metrics))

    def on_evaluation(self, metrics: Mapping[str, float], training_reward: float) -> str:
        """The alarm after an evaluation, "" without one.

        Args:
            metrics: figures on held-out prompts: `reward` and its standard error `reward_error`.
            training_reward: the reward of the last step.
        """
        state, errors = self._state, self.limits.held_out_errors
        reward = metrics["reward"]
        if state.best_held_out is None or reward >= state.best_held_out:
            state.best_held_out, state.training_reward = reward, training_reward
        has_fallen = (
            errors is not None and reward < state.best_held_out - errors * metrics["reward_error"]
        )
        message = (
            f"the held-out reward fell from {state.best_held_out:.3g} to {reward:.3g} while the "
            f"training reward rose from {state.training_reward:.3g} to {training_reward:.3g}"
        )
        is_gamed = has_fallen and training_reward > state.training_reward
        return self._ring([_Sign("held-out reward", is_gamed, message)])

    def state_dict(self) -> dict[str, Any]:
        """All observations, as JSON has them."""
        return asdict(self._state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._state = AlarmState(**state)

    def _step_signs(self, metrics: Mapping[str, float]) -> Iterable[_Sign]:
        """All alarms of a step, whether they ring or not."""
        limits, baseline = self.limits, self._state.baseline
        kl, length = metrics["kl"], metrics["length"]
        entropy, repetition = metrics["entropy"], metrics["repetition"]
        if limits.kl is not None:
            message = f"the divergence from the reference is {kl:.3g}, its budget {limits.kl:g}"
            yield _Sign("divergence", kl > limits.kl, message)
        message = (
            f"the divergence from the reference is {kl:.3g}, though it cannot be negative: answers "
            "are not sampled from the policy that is trained"
        )
        is_negative = kl < -_KL_ERRORS * metrics["kl_error"] - _KL_ROUNDING
        yield _Sign("negative divergence", is_negative, message)
        if limits.length_growth is not None:
            message = f"answers grew from {baseline['length']:.3g} to {length:.3g} tokens"
            has_grown = length > limits.length_growth * baseline["length"]
            yield _Sign("length", has_grown, message)
        if limits.repetition is not None:
            message = f"answers repeat themselves: {repetition:.0%} of their runs of four tokens"
            yield _Sign("repetition", repetition > limits.repetition, message)
        if limits.entropy_share is not None:
            fall = f"from {baseline['entropy']:.3g} to {entropy:.3g} nats per token"
            has_collapsed = entropy < limits.entropy_share * baseline["entropy"]
            yield _Sign("entropy", has_collapsed, f"the entropy fell {fall}")

    def _ring(self, signs: Iterable[_Sign]) -> str:
        """The message of the first alarm that has rung often enough in a row; "" for none."""
        messages = []
        for sign in signs:
            streak = self._state.streaks.get(sign.subject, 0) + 1 if sign.rings else 0
            self._state.streaks[sign.subject] = streak
            if streak >= self.limits.patience:
                messages.append(sign.message)
        return messages[0] if messages else ""
