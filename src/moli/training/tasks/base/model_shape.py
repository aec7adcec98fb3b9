"""The shape of a new model."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from moli.records.errors import InputError
from moli.training.recipes.method_table import METHODS
from moli.training.recipes.recipe import Recipe


def read_shape(
    recipe: Recipe, defaults: Mapping[str, int], optional: Sequence[str] = ()
) -> dict[str, int]:
    """The recipe's shape, completed with defaults.

    Args:
        optional: names that may be set but have no default, as they follow from the others.

    Raises:
        InputError: the shape has an unknown name or an unusable number, or the recipe's method
            needs a base.
    """
    known = [*defaults, *optional]
    for name, value in recipe.shape.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(known)}."
            raise InputError(f"a new model has no '{name}'", where="shape", fix=hint)
        if value < 1:
            raise InputError(f"'{name}' is {value}", where="shape", fix="Give 1 or more.")
    if recipe.method and METHODS[recipe.method].is_adapter:
        raise InputError(
            f"a new model has nothing that '{recipe.method}' could adapt",
            where="method",
            fix="Use method: full, or name a base.",
        )
    shape = {**defaults, **recipe.shape}
    if shape["hidden"] % shape.get("heads", 1):
        raise InputError(
            f"'hidden' is {shape['hidden']}, which is not divisible by {shape['heads']} heads",
            where="shape",
            fix="Make it a multiple of 'heads'.",
        )
    return shape
