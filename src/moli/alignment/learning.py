"""The updates of one step: what an algorithm has estimated becomes changed weights."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from moli.alignment.algorithms.protocol import Algorithm, Minibatch
from moli.alignment.learner import Learner
from moli.alignment.rollouts.buffer import Experience
from moli.alignment.rollouts.protocols import Roles
from moli.records.errors import ModelError

# Largest logarithm of a ratio before the first update, where it is 0 but for rounding in float32.
DEFAULT_RATIO_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Learning:
    """An algorithm with the roles that it scores and the learners that it changes.

    Attributes:
        scored: number of answers whose tokens are scored at once.
        ratio_tolerance: largest logarithm of a ratio before the first update.
    """

    algorithm: Algorithm
    roles: Roles
    learners: Mapping[str, Learner]
    scored: int
    ratio_tolerance: float

    def learn(
        self, experience: Experience, beta: float, draw: np.random.Generator, factor: float
    ) -> dict[str, float]:
        """Take an update for each minibatch of each epoch; means of their figures.

        Args:
            beta: coefficient of the divergence.
            draw: decides which answers are in which minibatch.
            factor: the learning rate as a share of its peak.
        """
        options = self.algorithm.options
        figures = defaultdict[str, list[float]](list)
        for _ in range(options.epochs):
            order = draw.permutation(len(experience))
            for rows in np.array_split(order, min(options.minibatches, len(order))):
                minibatch = experience.select(rows.tolist())
                metrics, log_ratio = self._accumulate(minibatch, beta)
                if not figures:
                    self._check_first_ratio(log_ratio)
                for name, learner in self.learners.items():
                    metrics[f"{name}_gradient_norm"] = learner.step(factor)
                for name, value in metrics.items():
                    figures[name].append(value)
        return {name: float(np.mean(values)) for name, values in figures.items()}

    def _accumulate(self, experience: Experience, beta: float) -> tuple[dict[str, float], float]:
        """Add a minibatch's gradients to the learners.

        Returns:
            Its figures, and the largest logarithm of a ratio, without its sign.
        """
        weights = self.algorithm.weights(experience)
        metrics: dict[str, float] = defaultdict(float)
        largest = 0.0
        for begin in range(0, len(experience), self.scored):
            rows = range(begin, min(begin + self.scored, len(experience)))
            part = experience.select(rows)
            current = self.roles.policy(part)
            values = self.roles.value(part) if self.roles.value else None
            minibatch = Minibatch(part, weights[rows.start : rows.stop], beta)
            losses = self.algorithm.loss(minibatch, current, values)
            losses.total.backward()
            for learner in self.learners.values():
                learner.weights.accumulate()
            metrics["loss"] += float(losses.total.detach())
            for name, value in losses.metrics.items():
                metrics[name] += float(value)
            log_ratio = torch.where(part.mask, current.logprobs.detach() - part.logprobs, 0)
            largest = max(largest, float(log_ratio.abs().max()))
        return dict(metrics), largest

    def _check_first_ratio(self, log_ratio: float) -> None:
        """Check that before the first update the policy is the one that was scored.

        Raises:
            ModelError: it is not, so every ratio would be wrong.
        """
        if not log_ratio <= self.ratio_tolerance:
            raise ModelError(
                f"before the first update, log probabilities of the same tokens by the same "
                f"weights differ by {log_ratio:.3g}, and may by {self.ratio_tolerance:g}",
                where="policy",
                fix="Switch dropout off, and score tokens independently of the rest of the batch.",
            )
