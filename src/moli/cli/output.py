"""Options that commands share, and the printing of their results and errors."""

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

INTERRUPTED = 130  # exit code of a program that was stopped by Ctrl-C, as shells have it
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

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


def make_filter(workspace: Workspace, groups: list[str] | None, where: list[str] | None) -> Filter:
    """Filter for the documents that a command's options allow it to see."""
    from moli.workspace.filter import Filter

    return Filter(frozenset(groups or workspace.settings.groups), parse_pairs(where, "--where"))


def parse_pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    """KEY=VALUE options as a mapping.

    Args:
        option: name of the option, for the error.
    """
    result: dict[str, str] = {}
    for text in texts or []:
        key, equals, value = text.partition("=")
        if not (equals and key):
            raise typer.BadParameter(f"'{text}' is not KEY=VALUE", param_hint=option)
        result[key] = value
    return result


def warn_of_missing_vectors(retriever: Retriever) -> None:
    """Warn if passages cannot be found by meaning, as happens after a change of encoder."""
    missing = len(retriever.indexes.lexical) - len(retriever.indexes.dense)
    if missing > 0:
        typer.echo(
            f"moli: {missing} passages are found by words only: they have no vector from "
            f"{retriever.encoder.name}. Run 'moli index rebuild'.",
            err=True,
        )


def format_metrics(metrics: Mapping[str, float], *, main_only: bool = False) -> str:
    """Metrics as text, the main one first."""
    texts = [f"{name} {value:.4g}" for name, value in main_first(metrics).items()]
    return ", ".join(texts[:1] if main_only else texts)


def print_json(value: Any) -> None:
    """Print a record, or lists and mappings of records, as JSON."""
    typer.echo(json.dumps(value, default=_to_json_value, ensure_ascii=False, indent=2))


def _to_json_value(value: Any) -> Any:
    """A record as a mapping of its fields, or a path as text.

    A field whose name in JSON differs has that name in its metadata.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {
            field.metadata.get("json", field.name): getattr(value, field.name) for field in fields
        }
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def make_console(*, stderr: bool = False) -> Console:
    """A console for text that people read; standard error is for progress and the like.

    Brackets in the text are not read as markup, and control characters are left out, so that the
    text of a document cannot control the terminal.
    """
    from rich.console import Console
    from rich.text import Text

    class Terminal(Console):
        """A console that leaves out control characters."""

        def render_str(self, text: str, **options: Any) -> Text:
            """The text without control characters, as rich shows it."""
            return super().render_str(_CONTROL_CHARACTERS.sub("", text), **options)

    return Terminal(stderr=stderr, highlight=False, markup=False, soft_wrap=not stderr)


def print_error(error: MoliError, *, as_json: bool) -> None:
    """Print an error as JSON on standard output, or as text on standard error."""
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
