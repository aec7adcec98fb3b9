"""What a training run reports as it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

COMPLETE = ("finished", "stopped_early")  # of a run that has nothing left to resume


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run is about to take its first step, or its next one after it was resumed.

    Attributes:
        folder: where the run keeps its files.
        recipe: what was asked for, with every value that was derived filled in.
        facts: numbers of examples, of parameters and the like, to be shown and kept.
        step: optimiser steps already taken; 0 unless the run was resumed.
        steps: optimiser steps there will be in all.
    """

    run: str
    folder: str
    recipe: Mapping[str, Any]
    facts: Mapping[str, Any]
    step: int
    steps: int


@dataclass(frozen=True, slots=True)
class StepTaken:
    """One optimiser step.

    Attributes:
        loss: mean over the supervised items (tokens, examples or pairs) of this step.
        gradient_norm: before it was clipped.
        examples, tokens, supervised: sums since the beginning of the run, over resumptions.
        seconds: spent in training since the beginning of the run, over resumptions.
    """

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    examples: int
    tokens: int
    supervised: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The model was judged on held-out examples.

    Attributes:
        metrics: by name; `loss` is always one of them.
        best: whether this is the best evaluation so far, whose weights are kept.
        seconds: what the evaluation took.
    """

    step: int
    metrics: Mapping[str, float]
    best: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class RunEnded:
    """A run has come to its end, or was interrupted so that it can be resumed.

    Attributes:
        result: the adapter's or model's name and place, final metrics, rates and peak memory.
    """

    status: Literal["finished", "stopped_early", "interrupted", "failed"]
    step: int
    result: Mapping[str, Any]


Event = RunStarted | StepTaken | Evaluated | RunEnded
