"""A recipe whose open values are resolved by its task, the model's size and the machine."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from moli.models.hardware.probe import Machine
from moli.models.weights.json_files import write_json
from moli.training.batching.samples import Batching
from moli.training.recipes.method_table import METHODS
from moli.training.recipes.recipe import Recipe
from moli.training.recipes.task_table import NGRAMS, TASKS

# The classic recipe's rate for full training at a width of 768. The best rate falls with the width
# (Yang et al. 2022), and an adapter's is about ten times that of full training.
_RATE, _WIDTH, _ADAPTER = 5e-5, 768, 10.0


@dataclass(frozen=True, slots=True)
class ResolvedRecipe:
    """A recipe without open values, which a resumed run takes over unchanged.

    Attributes:
        max_tokens: maximum tokens of a micro-batch.
        threads: number of torch's threads.
        packed: whether samples are packed; None before that is decided.
    """

    recipe: Recipe
    max_tokens: int
    threads: int
    packed: bool | None = None

    def batching(self, *, packed: bool, split: bool) -> Batching:
        """The division of samples into steps, and of steps into micro-batches if `split`."""
        max_tokens = self.max_tokens if split else None
        return Batching(int(self.recipe.batch or 1), max_tokens, packed)


def resolve_recipe(recipe: Recipe, machine: Machine, width: int) -> ResolvedRecipe:
    """Derive every value that a recipe leaves open.

    Args:
        width: width of the base model's hidden states; 0 for a new model.
    """
    spec, new = TASKS[recipe.task], recipe.base == "new"
    method = recipe.method or spec.method
    rate = recipe.learning_rate
    if rate is None:
        rate = spec.new_learning_rate if new else spec.rate_scale * _RATE * _WIDTH / max(width, 64)
        rate *= _ADAPTER if METHODS[method].is_adapter else 1.0
    epochs = 1.0 if recipe.epochs is None else recipe.epochs
    if recipe.base == NGRAMS:  # fitted to its optimum before the first step
        epochs = 0.0
    resolved = recipe.model_copy(
        update={
            "method": method,
            "learning_rate": float(f"{rate:.2g}"),
            "batch": recipe.batch or spec.batch,
            "epochs": epochs,
            "patience": recipe.patience or 0,
            "optimizer": recipe.optimizer or (spec.new_optimizer if new else "adamw"),
            "options": spec.options(**recipe.options).model_dump(),
            "precision": "fp32" if recipe.base == NGRAMS else recipe.precision or machine.precision,
        }
    )
    return ResolvedRecipe(resolved, _max_tokens(machine), machine.threads)


def _max_tokens(machine: Machine) -> int:
    """Maximum tokens of a micro-batch, for fast matrix products within the available memory."""
    if machine.device == "cuda":
        return 16384
    return 4096 if machine.memory > 4 << 30 else 1024


def write_resolved(path: Path, resolved: ResolvedRecipe) -> None:
    """Save a resolved recipe for when its run is resumed."""
    values = {**dataclasses.asdict(resolved), "recipe": resolved.recipe.model_dump(mode="json")}
    write_json(path, values)


def read_resolved(path: Path) -> ResolvedRecipe:
    """Read a resolved recipe that was saved."""
    values = json.loads(path.read_text(encoding="utf-8"))
    return ResolvedRecipe(**{**values, "recipe": Recipe(**values["recipe"])})
