"""The loop of reinforcement learning. It knows roles, rewards and advantages, but no algorithm.

A run that is interrupted at any point goes on from its last checkpoint to the same weights, bit
for bit: whatever is random follows from the seed and the number of the step.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from moli.alignment.advantages import explained_variance
from moli.alignment.alarms import Alarms
from moli.alignment.algorithms.protocol import Algorithm
from moli.alignment.dynamic_sampling import (
    RewardedRollouts,
    reward_rollouts,
    sample_batches,
)
from moli.alignment.kl import KLController
from moli.alignment.learner import Learner, distribute, gather
from moli.alignment.learning import DEFAULT_RATIO_TOLERANCE, Learning
from moli.alignment.rewards.protocol import Reward
from moli.alignment.rewards.shaping import ScoreScaling, penalize_missing_end
from moli.alignment.rollouts.buffer import (
    Experience,
    TrainingPrompt,
    make_experience,
    make_rollouts,
)
from moli.alignment.rollouts.protocols import Roles, score_tokens, score_values
from moli.alignment.rollouts.statistics import rollout_statistics
from moli.records.errors import InputError
from moli.records.training import Evaluated, Event, StepTaken
from moli.training.loop import checkpoint
from moli.training.loop.checkpoint import TrainingProgress
from moli.training.loop.loop import RunSchedule, Status, stop_signals
from moli.training.optimization.optimizers import learning_rate_factor


@dataclass(frozen=True, slots=True)
class BatchSizes:
    """Sizes of batches.

    Attributes:
        prompts: prompts in a step.
        scored: answers whose tokens are scored at once; memory grows with it, results do not
            depend on it but for rounding.
    """

    prompts: int
    scored: int = 64


@dataclass(slots=True)
class AlignmentLoop:
    """A run's policy, reward and progress, and the steps that change them.

    Attributes:
        learners: the trained weights, `policy` first; with a value function `value` too.
        schedule: steps are batches of rollouts here, each with several updates.
        on_event: receives each step and evaluation.
        evaluate: evaluates the current policy on held-out prompts: its `reward` and the standard
            error `reward_error`, among others. With it the best weights are kept.
        ratio_tolerance: largest logarithm of a ratio before the first update; in bfloat16 rounding
            takes more.
        alarm: why the run was stopped early; "" if it was not.
        begun: time at which the current step began.
    """

    algorithm: Algorithm
    roles: Roles
    reward: Reward
    prompts: Sequence[TrainingPrompt]
    learners: Mapping[str, Learner]
    schedule: RunSchedule
    sizes: BatchSizes
    seed: int
    folder: Path
    on_event: Callable[[Event], None]
    evaluate: Callable[[], Mapping[str, float]] | None = None
    alarms: Alarms = field(default_factory=Alarms)
    ratio_tolerance: float = DEFAULT_RATIO_TOLERANCE
    progress: TrainingProgress = field(default_factory=TrainingProgress)
    alarm: str = ""
    begun: float = field(default=0.0, init=False)
    controller: KLController = field(init=False)
    scaling: ScoreScaling = field(init=False)

    def __post_init__(self) -> None:
        self._check_parts()
        options = self.algorithm.options
        self.controller = KLController(options.beta, options.kl_target, options.kl_horizon)
        self.scaling = ScoreScaling(options.score_scaling)

    def _check_parts(self) -> None:
        """Check that there is all that a run needs, and leave out an unused value function.

        Raises:
            InputError: there is no prompt, or no value function for an algorithm that needs one.
        """
        if not self.prompts:
            raise InputError("no prompts", where="alignment", fix="Give one or more.")
        if not self.algorithm.needs_values:
            self.roles = dataclasses.replace(self.roles, value=None)
        elif self.roles.value is None or "value" not in self.learners:
            raise InputError(
                "the algorithm needs a value function, and there is none",
                where="alignment",
                fix="Give the roles a value function and the learners its weights as 'value'.",
            )

    def run(self) -> Status:
        """Train until the last step, an interruption or an alarm; then load the best weights."""
        if self.progress.step == 0:
            self._evaluate()
        saved_at = time.perf_counter()
        with stop_signals() as is_interrupted:
            while self.progress.step < self.schedule.steps and not self.alarm:
                taken = self.take_step()
                self.on_event(taken)
                self.alarm = self.alarms.on_step(taken.metrics)
                if self._is_due(self.schedule.evaluate_every):
                    self._evaluate(taken.metrics["reward"])
                stopping = is_interrupted()
                now = time.perf_counter()
                if stopping or self.alarm or self._is_saving_due(now - saved_at):
                    self.save()
                    saved_at = now
                if stopping:
                    return "interrupted"
        self._load_best_weights()
        return "stopped_early" if self.alarm else "finished"

    def take_step(self) -> StepTaken:
        """Roll out, score and learn."""
        experience, metrics = self.score(self.roll_out())
        return self.learn(experience, metrics)

    def roll_out(self) -> RewardedRollouts:
        """Answers to prompts with their rewards, those to one prompt side by side."""
        self.begun = time.perf_counter()
        return sample_batches(self._sample_batch, self.algorithm.options)

    def _sample_batch(self, number: int) -> RewardedRollouts:
        """A batch of this step; all but the first are further ones of dynamic sampling."""
        chosen = self._chosen_prompts(number)
        repeated = np.repeat(chosen, self.algorithm.options.answers_per_prompt)
        prompts = [self.prompts[index] for index in repeated.tolist()]
        rollouts = make_rollouts(prompts, self.roles.sample(prompts, self._draw(number)))
        return reward_rollouts(rollouts, self.reward)

    def _chosen_prompts(self, number: int) -> np.ndarray:
        """Indices of a batch's prompts: in the first those whose turn it is, in others any."""
        size, step, count = self.sizes.prompts, self.progress.step, len(self.prompts)
        if number:
            return np.random.default_rng((self.seed, step, number)).permutation(count)[:size]
        epoch, turn = divmod(step, -(-count // size))
        order = np.random.default_rng((self.seed, epoch)).permutation(count)
        return order[turn * size : (turn + 1) * size]

    def score(self, batch: RewardedRollouts) -> tuple[Experience, dict[str, float]]:
        """The rollouts with what all roles say of their tokens, and figures."""
        roles, size, rollouts = self.roles, self.sizes.scored, batch.rollouts
        policy = score_tokens(roles.policy, rollouts, size)
        reference = score_tokens(roles.reference, rollouts, size)
        values = score_values(roles.value, rollouts, size) if roles.value else None
        penalty = self.algorithm.options.missing_end_penalty
        shaped = penalize_missing_end(self.scaling(batch.rewards), batch.ended, penalty)
        experience = make_experience(
            rollouts,
            logprobs=policy.logprobs,
            reference_logprobs=reference.logprobs,
            scores=shaped.to(policy.logprobs.dtype),
            rewards=batch.rewards,
            values=values,
        )
        figures = rollout_statistics(experience, policy.entropies, batch.rewards)
        return experience, {**figures, **batch.metrics}

    def learn(self, experience: Experience, metrics: Mapping[str, float]) -> StepTaken:
        """Estimate advantages and update.

        Args:
            metrics: figures of the experience, which are reported with those of the updates.
        """
        beta = self.controller.beta
        estimated = self.algorithm.estimate(experience, beta)
        figures = {**metrics, "beta": beta} | self.update(estimated)
        if self.roles.value:
            explained = explained_variance(estimated.values, estimated.returns, estimated.mask)
            figures["explained_variance"] = float(explained)
        self.controller.update(figures["kl"], len(experience))
        return self._taken(experience, figures, time.perf_counter() - self.begun)

    def update(self, experience: Experience) -> dict[str, float]:
        """Learn from the experience; means of the figures of all updates."""
        learning = Learning(
            self.algorithm, self.roles, self.learners, self.sizes.scored, self.ratio_tolerance
        )
        step = self.progress.step
        draw = np.random.default_rng((self.seed, step))
        factor = learning_rate_factor(step, self.schedule.steps)
        return learning.learn(experience, self.controller.beta, draw, factor)

    def _taken(
        self, experience: Experience, metrics: dict[str, float], seconds: float
    ) -> StepTaken:
        """The event of a step, once it is counted."""
        progress, sampled = self.progress, int(experience.mask.sum())
        rate = self.learners["policy"].rate
        progress.step += 1
        progress.examples += len(experience)
        progress.supervised += sampled
        progress.tokens += sum(
            len(prompt.ids) + len(answer.ids)
            for prompt, answer in zip(experience.prompts, experience.answers, strict=True)
        )
        progress.seconds += seconds
        return StepTaken(
            step=progress.step,
            loss=metrics.pop("loss"),
            learning_rate=rate,
            gradient_norm=metrics.pop("policy_gradient_norm"),
            examples=progress.examples,
            tokens=progress.tokens,
            supervised=progress.supervised,
            seconds=progress.seconds,
            metrics=metrics,
        )

    def _draw(self, purpose: int) -> int:
        """A seed for one purpose in this step."""
        sequence = np.random.SeedSequence((self.seed, self.progress.step, purpose))
        return int(sequence.generate_state(1, np.uint32)[0])

    def _is_due(self, every: int) -> bool:
        """Whether something happens after this step that happens every so many, and at the end."""
        return self.progress.step % every == 0 or self.progress.step == self.schedule.steps

    def _is_saving_due(self, seconds: float) -> bool:
        """Whether it is time for a checkpoint, `seconds` after the last one."""
        every = self.schedule.save_every
        return self._is_due(every) if every else seconds >= self.schedule.save_seconds

    def _evaluate(self, training_reward: float | None = None) -> None:
        """Evaluate the policy on held-out prompts, and save its weights if they are the best.

        Args:
            training_reward: the reward of the last step; None before the first.
        """
        if self.evaluate is None:
            return
        begun = time.perf_counter()
        metrics, progress = dict(self.evaluate()), self.progress
        is_best = progress.best is None or metrics["reward"] > progress.best
        if progress.step == 0:
            progress.base_metrics = metrics
        if is_best:
            progress.best, progress.best_step = metrics["reward"], progress.step
            progress.metrics = metrics
            path = checkpoint.best_weights_path(self.folder, progress.step)
            checkpoint.write_tensors(path, gather(self.learners, "weights"), {})
        if training_reward is not None:
            self.alarm = self.alarm or self.alarms.on_evaluation(metrics, training_reward)
        seconds = time.perf_counter() - begun
        self.on_event(Evaluated(progress.step, metrics, is_best, seconds))

    def _load_best_weights(self) -> None:
        """Set the weights to those of the best evaluation, if there was one."""
        if self.progress.best is not None:
            from safetensors.torch import load_file

            path = checkpoint.best_weights_path(self.folder, self.progress.best_step)
            distribute(self.learners, "weights", load_file(path))

    def save(self) -> None:
        """Write a checkpoint from which `resume` continues."""
        state = {
            "beta": self.controller.beta,
            "scaling": dataclasses.asdict(self.scaling),
            "alarms": self.alarms.state_dict(),
            "alarm": self.alarm,
        }
        weights, optimizers = gather(self.learners, "weights"), gather(self.learners, "optimizers")
        checkpoint.save_checkpoint(self.folder, self.progress, weights, optimizers, {}, state)

    def resume(self) -> None:
        """Continue from the folder's checkpoint, if there is one."""
        if saved := checkpoint.load_checkpoint(self.folder):
            self.progress = saved.progress
            distribute(self.learners, "weights", saved.weights)
            distribute(self.learners, "optimizers", saved.optimizer)
            self.controller.beta = saved.state["beta"]
            self.scaling = ScoreScaling(**saved.state["scaling"])
            self.alarms.load_state_dict(saved.state["alarms"])
            self.alarm = saved.state["alarm"]
