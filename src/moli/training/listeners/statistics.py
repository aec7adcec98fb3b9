"""Statistics of a run's recent steps: the mean of the loss, and rates."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from moli.records.training import StepTaken

_WINDOW = 20  # steps that recent rates and the mean of the loss look back on


class ExponentialMean:
    """A mean in which each value weighs 1 - 1/window of the one after it.

    Weights are divided by their sum, so the first means are not drawn towards zero (Kingma and
    Ba 2015, section 3). Values that are not finite are left out: one of them would stay in the
    mean for ever.

    Attributes:
        value: the mean so far; NaN before the first finite value.
    """

    def __init__(self, window: float = _WINDOW) -> None:
        self._decay = 1 - 1 / max(window, 1)
        self._sum = self._weight = 0.0

    def add(self, value: float) -> float:
        """Add a value, and return the mean so far."""
        if math.isfinite(value):
            self._sum = self._decay * self._sum + (1 - self._decay) * value
            self._weight = self._decay * self._weight + (1 - self._decay)
        return self.value

    @property
    def value(self) -> float:
        return self._sum / self._weight if self._weight else math.nan


class RecentRates:
    """Rates over the last steps since a run began or was resumed; NaN until there are two steps.

    The first step only marks the start: it does the set-up work for the rest.

    Args:
        steps: number of steps that there will be in all.
        window: number of steps to look back on.
    """

    def __init__(self, steps: int, window: int = _WINDOW) -> None:
        self._steps = steps
        self._recent: deque[StepTaken] = deque(maxlen=window + 1)

    def add(self, step: StepTaken) -> None:
        self._recent.append(step)

    @property
    def tokens_per_second(self) -> float:
        return self._per_second(lambda step: step.tokens)

    @property
    def examples_per_second(self) -> float:
        return self._per_second(lambda step: step.examples)

    @property
    def seconds_left(self) -> float:
        """Time left in training alone, if each step to come takes as long as a recent one did."""
        rate = self._per_second(lambda step: step.step)
        return (self._steps - self._recent[-1].step) / rate if rate > 0 else math.nan

    def _per_second(self, count: Callable[[StepTaken], int]) -> float:
        """Growth of a count that steps report, per second."""
        if not self._recent:
            return math.nan
        first, last = self._recent[0], self._recent[-1]
        seconds = last.seconds - first.seconds
        return (count(last) - count(first)) / seconds if seconds > 0 else math.nan
