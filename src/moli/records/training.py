"""Events of a training run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

COMPLETE = ("finished", "stopped_early")  # statuses of runs that cannot be resumed


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run is about to take its first step, or its next one after it was resumed.

    Attributes:
        run: the run's id.
        folder: the folder of the run's files.
        recipe: the recipe, with every derived value filled in.
        facts: numbers of examples, of parameters and the like, to show and to store.
        step: optimizer steps taken before; 0 unless the run was resumed.
        steps: total number of optimizer steps.
    """

    run: str
    folder: str
    recipe: Mapping[str, Any]
    facts: Mapping[str, Any]
    step: int
    steps: int


@dataclass(frozen=True, slots=True)
class StepTaken:
    """One optimizer step.

    Attributes:
        loss: mean over the supervised items (tokens, examples or pairs) of this step.
        gradient_norm: norm of the gradients before clipping.
        examples, tokens, supervised: totals since the start of the run, resumptions included;
            `supervised` counts supervised items.
        seconds: training time since the start of the run, resumptions included.
        metrics: other figures of the step by name, such as an algorithm's.
    """

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    examples: int
    tokens: int
    supervised: int
    seconds: float
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The model was evaluated on held-out examples.

    Attributes:
        metrics: values by name of the metric, including `loss`.
        best: whether this is the best evaluation so far, whose weights are kept.
        seconds: duration of the evaluation.
    """

    step: int
    metrics: Mapping[str, float]
    best: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class RunEnded:
    """A run has ended, or was interrupted and can be resumed.

    Attributes:
        step: optimizer steps taken.
        result: the adapter's or model's name and path, final metrics, rates and peak memory.
    """

    status: Literal["finished", "stopped_early", "interrupted", "failed"]
    step: int
    result: Mapping[str, Any]


Event = RunStarted | StepTaken | Evaluated | RunEnded
