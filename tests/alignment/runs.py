"""Runs of tables: small loops that go to their end in a moment."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from alignment.tabular import Space, TablePolicy, TableReward, TableValues

from moli.alignment.alarms import AlarmLimits, Alarms
from moli.alignment.algorithms.table import make_algorithm
from moli.alignment.learner import make_learner
from moli.alignment.loop import AlignmentLoop, BatchSizes
from moli.alignment.rewards.protocol import Reward
from moli.alignment.rollouts.protocols import Roles
from moli.records.training import Event
from moli.training.loop.loop import RunSchedule

# The best policies of a table are sharp, which an alarm would take for a collapse.
NO_LIMITS = AlarmLimits(kl=None, length_growth=None, repetition=None, entropy_share=None)


def make_run(
    folder: Path,
    algorithm: str,
    options: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    space: Space | None = None,
    reward: Reward | None = None,
    on_event: Callable[[Event], None] = lambda _: None,
    **values: Any,
) -> AlignmentLoop:
    """A loop that trains a table from its first step.

    Args:
        values: `steps`, `prompts` in a step and `scored` at once, `learning_rate`, or attributes of
            the loop.
    """
    space = space or Space()
    policy = TablePolicy(space, seed)
    learning_rate = values.pop("learning_rate", 0.1)
    learners = {"policy": make_learner(policy, learning_rate)}
    made = make_algorithm(algorithm, {"missing_end_penalty": 0.0, **(options or {})})
    value = TableValues(space) if made.needs_values else None
    if value:
        learners["value"] = make_learner(value, learning_rate)
    prompts = values.pop("prompts", 64)
    defaults = {
        "schedule": RunSchedule(values.pop("steps", 5), 10**9, 0, 1e9),
        "sizes": BatchSizes(prompts, values.pop("scored", 10**6)),
        "alarms": Alarms(NO_LIMITS),
    }
    return AlignmentLoop(
        algorithm=made,
        roles=Roles(policy.sample, policy, copy.deepcopy(policy), value),
        reward=reward or TableReward(space, seed),
        prompts=space.prompts * (prompts if len(space.prompts) == 1 else 1),
        learners=learners,
        seed=seed,
        folder=folder,
        on_event=on_event,
        **{**defaults, **values},
    )
