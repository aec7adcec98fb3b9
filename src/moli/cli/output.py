"""Options that commands share, and the printing of their results and errors."""

from __future__ import annotations

import codecs
import dataclasses
import io
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moli.cli.wrapping import cell_len, pad
from moli.metrics.main import main_first
from moli.records.errors import MoliError
from moli.translations.catalogue import translate

if TYPE_CHECKING:
    from rich.console import Console

    from moli.records.answers import Citation, Hit
    from moli.retrieval.search import Retriever
    from moli.workspace import Workspace
    from moli.workspace.filter import Filter

INTERRUPTED = 130  # exit code of a program that was stopped by Ctrl-C, as shells have it
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# What stands for Moli's own characters where an encoding lacks them.
_SUBSTITUTES = dict(
    zip(
        "“”‘’…·–—✓✗←→",
        ('"', '"', "'", "'", "...", "-", "-", "-", "+", "x", "<-", "->"),
        strict=True,
    )
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
WorkspaceOption = Annotated[
    Path | None,
    typer.Option("--workspace", "-w", help="The workspace; default: here or above.", metavar="DIR"),
]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", "-m", help="Language model; default: the workspace's setting."),
]
GroupOption = Annotated[
    list[str] | None,
    typer.Option("--group", "-g", help="See as a member of this group; may be repeated."),
]
WhereOption = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="KEY=VALUE",
        help="Only documents with KEY=VALUE, e.g. format=pdf; repeatable.",
    ),
]


def prepare_output() -> None:
    """Let no character end a command: what an output's encoding lacks is written in its place.

    Quotation marks and the like become plain ones, anything else its code, and a byte of a file
    name that is no text its value.
    """
    codecs.register_error("moli", _substitute)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="moli")


def _substitute(error: UnicodeError) -> tuple[str, int]:
    """The substitute for characters that cannot be encoded, and where to go on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = ""
    for character in error.object[error.start : error.end]:
        if "\udc80" <= character <= "\udcff":  # how Python keeps a byte of a name that is no text
            text += f"\\x{ord(character) - 0xDC00:02x}"
        else:
            code = character.encode("ascii", "backslashreplace").decode()
            text += _SUBSTITUTES.get(character, code)
    return text, error.end


def can_print(text: str) -> bool:
    """Whether standard output has these characters."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def recover_text(argument: str) -> str:
    """An argument as text, also where the locale has no encoding for its characters."""
    return argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def echo(text: str, *, err: bool = False) -> None:
    """Print a message in the reader's language; it is written in English."""
    typer.echo(translate(text), err=err)


def warn(text: str) -> None:
    """Print a warning on standard error."""
    typer.echo(f"moli: {translate(text)}", err=True)


@contextmanager
def on_interrupt(kept: str) -> Iterator[None]:
    """Say what is kept if Ctrl-C ends the block, and exit with 130.

    Args:
        kept: a sentence.
    """
    try:
        yield
    except KeyboardInterrupt:
        echo(f"Interrupted. {kept}", err=True)
        raise typer.Exit(INTERRUPTED) from None


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
        warn(
            f"{missing} passages are found by words only: they have no vector from "
            f"{retriever.encoder.name}. Run 'moli index rebuild'."
        )


def format_place(place: Hit | Citation) -> str:
    """The page or time of a passage or quote, after a comma; "" in documents without."""
    if place.time:
        return f", {place.time}"
    return translate(f", page {place.page}") if place.page else ""


def format_metrics(metrics: Mapping[str, float], *, main_only: bool = False) -> str:
    """Metrics as text, the main one first."""
    texts = [f"{name} {value:.4g}" for name, value in main_first(metrics).items()]
    return ", ".join(texts[:1] if main_only else texts)


def print_json(value: Any) -> None:
    """Print a record, or lists and mappings of records, as JSON."""
    text = json.dumps(value, default=_to_json_value, ensure_ascii=False, indent=2)
    if not can_print(text):
        text = json.dumps(value, default=_to_json_value, indent=2)
    typer.echo(text)


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


def print_fields(fields: Mapping[str, str], out: Console) -> None:
    """Print names and values, each pair on one line; names without a value are left out.

    Names are translated, and values that are more than a name themselves.
    """
    shown = {translate(name): value for name, value in fields.items() if value}
    width = max(map(cell_len, shown), default=0)
    for name, value in shown.items():
        out.print(f"{pad(name, width)}  {translate(value) if ' ' in value else value}")


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, copied: Sequence[str] = ()
) -> None:
    """Print a table. On a terminal its cells are folded to fit; elsewhere every row is one line.

    Args:
        copied: columns whose cells are there to be copied, and are not folded.
    """
    from rich.table import Table

    out = make_console()
    rows = [[" ".join(cell.splitlines()) for cell in row] for row in rows]
    if not out.is_terminal:
        lines = [[translate(name) for name in columns], *rows]
        widths = [max(map(cell_len, cells)) for cells in zip(*lines, strict=True)]
        for cells in lines:
            out.print("  ".join(map(pad, cells, widths)).rstrip())
        return
    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(translate(name), no_wrap=name in copied, overflow="fold")
    for row in rows:
        table.add_row(*row)
    out.print(table, soft_wrap=False)


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
        what, fix = translate(error.what), translate(error.fix)
        where = translate(error.where) if " " in error.where else error.where
        located = f"{where}: {what}" if where else what
        end = "。" if fix and what != error.what else ". "
        typer.echo(f"moli: {located}{end}{fix}" if fix else f"moli: {located}", err=True)
    sys.stdout.flush()
