"""The algorithms by name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from moli.alignment.algorithms.grpo import GRPO, GRPOOptions
from moli.alignment.algorithms.ppo import PPO, PPOOptions
from moli.alignment.algorithms.protocol import Algorithm, AlgorithmOptions
from moli.alignment.algorithms.rejection import Rejection, RejectionOptions
from moli.alignment.algorithms.rloo import RLOO, RLOOOptions
from moli.records.errors import InputError
from moli.training.recipes.task_options import check_options

# The class of each algorithm, which takes its options, and that of the options.
ALGORITHMS: Mapping[str, tuple[Any, type[AlgorithmOptions]]] = {
    "ppo": (PPO, PPOOptions),
    "rloo": (RLOO, RLOOOptions),
    "grpo": (GRPO, GRPOOptions),
    "rejection": (Rejection, RejectionOptions),
}


def make_algorithm(
    name: str, options: Mapping[str, Any] | None = None, *, where: str = "recipe"
) -> Algorithm:
    """An algorithm with options by name; what is left out has its default.

    Args:
        where: the recipe or option that errors name.

    Raises:
        InputError: there is no such algorithm or option (the nearest is named), or an option's
            value cannot be used.
    """
    if name not in ALGORITHMS:
        near = difflib.get_close_matches(name, ALGORITHMS, n=1, cutoff=0.4)
        raise InputError(
            f"there is no algorithm '{name}'",
            where=where,
            fix=f"Did you mean '{near[0]}'?" if near else f"Give one of {', '.join(ALGORITHMS)}.",
        )
    algorithm, options_class = ALGORITHMS[name]
    made: Algorithm = algorithm(check_options(options_class, options or {}, where))
    return made
