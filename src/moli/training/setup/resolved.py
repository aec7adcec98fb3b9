"""What a recipe leaves open, settled by the task, the model's size and what the machine can do."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from moli.models.hardware.probe import Machine
from moli.models.weights.json_files import write_json
from moli.training.recipes.method_table import METHODS
from moli.training.recipes.recipe import Recipe
from moli.training.recipes.task_table import TASKS

# Of full tuning at a width of 768, the classic recipe's; the best rate falls with the width (Yang
# et al. 2022), and an adapter's is about ten times that of full tuning.
_RATE, _WIDTH, _ADAPTER = 5e-5, 768, 10.0


@dataclass(frozen=True, slots=True)
class Settled:
    """A run's decisions, which a resumed run takes over as they are.

    Attributes:
        recipe: with no value left open.
        max_tokens: that are computed at once.
        threads: of torch.
        packed: whether samples lie end to end; None before that has been tried.
    """

    recipe: Recipe
    max_tokens: int
    threads: int
    packed: bool | None = None


def settle(recipe: Recipe, machine: Machine, width: int) -> Settled:
    """Decide what is open.

    Args:
        width: of the base model's hidden states; 0 for a new model.
    """
    spec, new = TASKS[recipe.task], recipe.base == "new"
    method = recipe.method or spec.method
    rate = recipe.learning_rate
    if rate is None:
        rate = spec.new_learning_rate if new else _RATE * _WIDTH / max(width, 64)
        rate *= _ADAPTER if METHODS[method].is_adapter else 1.0
    settled = recipe.model_copy(
        update={
            "method": method,
            "learning_rate": float(f"{rate:.2g}"),
            "batch": recipe.batch or spec.batch,
            "optimizer": recipe.optimizer or (spec.new_optimizer if new else "adamw"),
            "precision": recipe.precision or machine.precision,
        }
    )
    return Settled(settled, _max_tokens(machine), machine.threads)


def _max_tokens(machine: Machine) -> int:
    """Tokens at once: enough to keep matrix products busy, few enough for the memory there is."""
    if machine.device == "cuda":
        return 16384
    return 4096 if machine.memory > 4 << 30 else 1024


def write(path: Path, settled: Settled) -> None:
    """Save a run's decisions for when it is resumed."""
    values = {**dataclasses.asdict(settled), "recipe": settled.recipe.model_dump(mode="json")}
    write_json(path, values)


def read(path: Path) -> Settled:
    """The decisions that were saved."""
    values = json.loads(path.read_text(encoding="utf-8"))
    return Settled(**{**values, "recipe": Recipe(**values["recipe"])})
