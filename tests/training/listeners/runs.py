"""Made-up runs, as listeners hear them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moli.records.training import Evaluated, Event, RunEnded, RunStarted, StepTaken

RECIPE = {"task": "classification", "base": "builtin:minilm", "rank": 8, "shape": {"layers": 2}}


def started(folder: Path, step: int = 0, steps: int = 40, **fields: Any) -> RunStarted:
    values = {"run": "support", "recipe": RECIPE, "facts": {"examples": 320}} | fields
    return RunStarted(folder=str(folder), step=step, steps=steps, **values)


def taken(step: int, **fields: Any) -> StepTaken:
    """A step of 8 examples and 500 tokens, which took a quarter of a second."""
    values: dict[str, Any] = {
        "loss": 2 * math.exp(-step / 20),
        "learning_rate": 1e-4,
        "gradient_norm": 1.0,
        "examples": 8 * step,
        "tokens": 500 * step,
        "supervised": 8 * step,
        "seconds": 0.25 * step,
    }
    return StepTaken(step=step, **values | fields)


def evaluated(step: int, *, best: bool = True, **metrics: float) -> Evaluated:
    return Evaluated(step, metrics or {"accuracy": 0.5 + step / 100, "loss": 1.5}, best, 2.0)


def run(folder: Path, step: int = 0, steps: int = 40, every: int = 10) -> Iterator[Event]:
    """A whole run, or what is left of it after `step`."""
    yield started(folder, step, steps)
    for number in range(step + 1, steps + 1):
        yield taken(number)
        if number % every == 0:
            yield evaluated(number)
    yield RunEnded("finished", steps, {"model": "support@3f9c", "accuracy": 0.9})
