"""What every verb shares: its common options, and how it prints results and errors."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moli.metrics.main import main_first
from moli.records.errors import MoliError

if TYPE_CHECKING:
    from rich.console import Console

    from moli.retrieval.search import Retriever
    from moli.workspace import Workspace
    from moli.workspace.filter import Filter

INTERRUPTED = 130  # what a shell gives for a program that Ctrl-C has stopped
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
WorkspaceOption = Annotated[
    Path | None,
    typer.Option("--workspace", "-w", help="The workspace; default: here or above.", metavar="DIR"),
]
GroupOption = Annotated[
    list[str] | None,
    typer.Option("--group", "-g", help="See as a member of this group; may be repeated."),
]
WhereOption = Annotated[
    list[str] | None,
    typer.Option("--where", help="Only documents with KEY=VALUE, e.g. format=pdf; repeatable."),
]


def open_workspace(path: Path | None) -> Workspace:
    """The workspace that a command works on."""
    from moli.workspace import Workspace

    return Workspace.open(path)


def filter_of(workspace: Workspace, groups: list[str] | None, where: list[str] | None) -> Filter:
    """What a command's options let it see."""
    from moli.workspace.filter import Filter

    return Filter(frozenset(groups or workspace.settings.groups), pairs(where, "--where"))


def pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    """KEY=VALUE options as a mapping."""
    result: dict[str, str] = {}
    for text in texts or []:
        key, equals, value = text.partition("=")
        if not (equals and key):
            raise typer.BadParameter(f"'{text}' is not KEY=VALUE", param_hint=option)
        result[key] = value
    return result


def warn_of_missing_vectors(retriever: Retriever) -> None:
    """Say so when passages cannot be found by meaning, as after a change of encoder."""
    lacking = len(retriever.indexes.lexical) - len(retriever.indexes.dense)
    if lacking > 0:
        typer.echo(
            f"moli: {lacking} passages are found by words only: they have no vector from "
            f"{retriever.encoder.name}. Run 'moli index rebuild'.",
            err=True,
        )


def shown(metrics: Mapping[str, float], *, every: bool = True) -> str:
    """Metrics as text, the main one first; all of them or only that."""
    told = [f"{name} {value:.4g}" for name, value in main_first(metrics).items()]
    return ", ".join(told if every else told[:1])


def print_json(value: Any) -> None:
    """Print a record, or lists and mappings of records, as JSON."""
    typer.echo(json.dumps(value, default=_plain, ensure_ascii=False, indent=2))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def console(*, stderr: bool = False) -> Console:
    """A terminal for people; on standard error for progress, which is no result.

    Text is shown as it is: brackets in it are no markup, and control characters are left out, for
    what a document says must not work the terminal.
    """
    from rich.console import Console
    from rich.text import Text

    class Terminal(Console):
        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(_CONTROL.sub("", text), **options)

    return Terminal(stderr=stderr, highlight=False, markup=False, soft_wrap=not stderr)


def fail(error: MoliError, *, as_json: bool) -> None:
    """Print an error: as JSON on standard output, or in words on standard error."""
    if as_json:
        body = {
            "code": error.code,
            "message": str(error),
            "what": error.what,
            "where": error.where,
            "fix": error.fix,
        }
        print_json({"error": body})
    else:
        typer.echo(f"moli: {error}", err=True)
    sys.stdout.flush()
