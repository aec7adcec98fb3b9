"""The figures that people watch while a model is trained, and how they are written."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from moli.records.training import StepTaken

_WINDOW = 20  # steps that recent rates and the mean of the loss look back on


class ExponentialMean:
    """A mean in which each value weighs 1 - 1/window of the one after it.

    Weights are divided by their sum, so the first means are not drawn towards zero (Kingma and
    Ba 2015, section 3). Values that are not finite are left out: one of them would stay in the
    mean for ever.
    """

    def __init__(self, window: float = _WINDOW) -> None:
        self._decay = 1 - 1 / max(window, 1)
        self._sum = self._weight = 0.0

    def add(self, value: float) -> float:
        """Take in a value; gives the mean so far, NaN before the first finite value."""
        if math.isfinite(value):
            self._sum = self._decay * self._sum + (1 - self._decay) * value
            self._weight = self._decay * self._weight + (1 - self._decay)
        return self.value

    @property
    def value(self) -> float:
        return self._sum / self._weight if self._weight else math.nan


class Pace:
    """Rates over the last steps of a session. They are NaN until two steps have been taken.

    The first step of a session only marks the start: it does the set-up work for the rest.
    """

    def __init__(self, steps: int, window: int = _WINDOW) -> None:
        self._steps = steps  # there will be in all
        self._taken: deque[StepTaken] = deque(maxlen=window + 1)

    def add(self, taken: StepTaken) -> None:
        self._taken.append(taken)

    @property
    def tokens_per_second(self) -> float:
        return self._per_second(lambda taken: taken.tokens)

    @property
    def examples_per_second(self) -> float:
        return self._per_second(lambda taken: taken.examples)

    @property
    def seconds_left(self) -> float:
        """Of training alone, if each step to come takes as long as a recent one did."""
        rate = self._per_second(lambda taken: taken.step)
        return (self._steps - self._taken[-1].step) / rate if rate > 0 else math.nan

    def _per_second(self, count: Callable[[StepTaken], int]) -> float:
        if not self._taken:
            return math.nan
        first, last = self._taken[0], self._taken[-1]
        seconds = last.seconds - first.seconds
        return (count(last) - count(first)) / seconds if seconds > 0 else math.nan


def duration(seconds: float) -> str:
    """Seconds in words: '42 s', '3 min 10 s', '2 h 5 min', '1 d 4 h'; '?' if not known."""
    if not math.isfinite(seconds):
        return "?"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for large, small, size, part in (
        ("d", "h", 86_400, 3_600),
        ("h", "min", 3_600, 60),
        ("min", "s", 60, 1),
    ):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {large} {rest} {small}" if rest else f"{whole // size} {large}"
    return f"{whole} s"


def figure(value: Any) -> str:
    """A value for people: whole numbers in groups of three, fractions to four digits."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float):
        return str(value)
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else f"{value:g}"
    if value and not 1e-4 <= abs(value) < 1e15:
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Values of nested mappings by dotted names, as `figure` writes them."""
    found: dict[str, str] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found |= flat(value, f"{name}.")
        elif isinstance(value, list | tuple):
            found[name] = ", ".join(figure(each) for each in value)
        elif value is not None and value != "":
            found[name] = figure(value)
    return found
