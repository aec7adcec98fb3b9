"""Changes of a recipe on the command line: --set KEY=VALUE."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from moli.cli.output import parse_pairs
from moli.records.errors import InputError

SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A value of the recipe, such as epochs=3; may be repeated.",
    ),
]


def parse_changes(changes: list[str] | None) -> dict[str, Any]:
    """The values of KEY=VALUE options."""
    return {key: _parse_value(key, text) for key, text in parse_pairs(changes, "--set").items()}


def _parse_value(key: str, text: str) -> Any:
    """A value as it would be read in a recipe's YAML."""
    from moli.training.recipes.yaml_values import load_yaml

    if text.startswith(tuple("*&!%@")):  # no value of a recipe: a pattern of files, say
        return text
    try:
        return load_yaml(text, "--set")
    except InputError as error:
        raise InputError(
            f"'{key}' cannot be read", where="--set", fix="Write it as in a recipe."
        ) from error
