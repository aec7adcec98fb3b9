"""`moli predict`."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moli.cli.output import (
    INTERRUPTED,
    JsonOption,
    WorkspaceOption,
    console,
    open_workspace,
    print_json,
)
from moli.records.errors import MoliError, WorkspaceError

if TYPE_CHECKING:
    from moli.records.examples import Example, MalformedRow
    from moli.training.inference import OnProgress, Progress
    from moli.training.trained.generate import Writer
    from moli.training.trained.load import Trained

# Rows that are answered together, and lost together when interrupted: by tasks that write, others.
_BLOCKS = 128, 2048
_SHOWN = 100  # characters of a text, on a terminal
_ENDED = "finish_reason"  # told of what a language model wrote

Model = Annotated[
    str, typer.Argument(help="An alias, alias@hash, the beginning of a hash, or builtin:NAME.")
]


def predict(
    model: Model,
    file: Annotated[
        Path | None,
        typer.Argument(
            help="Rows to answer: JSONL, JSON, CSV, TSV, Parquet, Arrow; .txt, one per line."
        ),
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="One text to answer, or one row as a JSON object.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the answers to this file: .jsonl or .csv.", metavar="FILE"),
    ] = None,
    max_tokens: Annotated[
        int, typer.Option(min=1, help="Maximum tokens in a generated answer.")
    ] = 512,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Answer rows with a trained model; the rows need no labels or answers.

    A language model writes the next turn of a conversation, the answer to a prompt, or the
    continuation of a text, always with the most likely token.

    Rows keep their other columns; one named like an answer, such as label, becomes given_label.
    A row that cannot be read is reported and skipped; the exit code is then 3. Ctrl-C ends with the
    rows answered so far, and exit code 130.

    Example: moli predict support tickets.csv --out answered.jsonl
    """
    if (file is None) == (text is None):
        raise typer.BadParameter("give a FILE or --text", param_hint="FILE")
    if out and out.suffix not in (".jsonl", ".csv"):
        raise typer.BadParameter("its name must end in .jsonl or .csv", param_hint="--out")
    if out and not out.parent.is_dir():  # better told now than after the work
        raise _unwritable(out, "there is no such folder")
    from moli.training.trained import predict as answering

    with open_workspace(workspace) as opened:
        stored = opened.models.get(model)
    with answering.loaded(stored) as trained:
        if text is not None:
            example = answering.read_text(trained, text)
            told = answering.predict(trained, [example], max_tokens=max_tokens)[0]
            _print_one(told, as_json=as_json)
            return
        assert file is not None  # noqa: S101 - for the type checker; it was seen to above
        read = answering.read_unanswered(trained, file)
        examples = [each.example for each in read.examples]
        told_all, last = _answered(trained, examples, max_tokens, quiet=as_json)
    rows = [
        {"where": row.where, **_given(row.values, told), **told}
        for row, told in zip(read.rows, told_all, strict=False)  # when interrupted, the first ones
    ]
    if out:
        _write(out, rows)
    if as_json:
        rate = {"seconds": last.seconds, "tokens_per_second": last.rate}
        print_json({"model": trained.name, "answers": rows, "malformed": read.malformed, **rate})
    else:
        if not out:
            terminal = console()
            for example, told in zip(examples, told_all, strict=False):
                terminal.print(f"{_words(told)}\t{_short(example)}")
        _print_end(len(rows), last, read.malformed)
    if len(rows) < len(examples):
        typer.echo(f"Interrupted: {len(examples) - len(rows):,} rows are not answered.", err=True)
        raise typer.Exit(INTERRUPTED)
    if read.malformed:
        raise typer.Exit(3)


def _print_end(count: int, last: Progress, malformed: Sequence[MalformedRow]) -> None:
    typer.echo(f"{count:,} answers in {last.seconds:.1f} s, {last.rate:,.0f} tokens/s", err=True)
    for each in malformed:
        typer.echo(f"moli: {each}", err=True)


def _answered(
    trained: Trained | Writer, examples: Sequence[Example], max_tokens: int, *, quiet: bool
) -> tuple[list[dict[str, Any]], Progress]:
    """What a model answers, block by block until it is interrupted, and how far it got."""
    from moli.training.inference import Progress
    from moli.training.trained import predict as answering

    size = _BLOCKS[trained.task.supervised_unit != "tokens"]
    told: list[dict[str, Any]] = []
    begun, last = time.perf_counter(), Progress(0.0, 0, 0.0)
    with progress("Answering", quiet=quiet) as show, suppress(KeyboardInterrupt):
        for first in range(0, len(examples), size):
            block, before = examples[first : first + size], last.tokens

            def hear(
                now: Progress, done: int = first, more: int = len(block), before: int = before
            ) -> None:
                nonlocal last
                share = (done + now.share * more) / len(examples)
                last = Progress(share, before + now.tokens, time.perf_counter() - begun)
                show(last)

            told += answering.predict(trained, block, max_tokens=max_tokens, hear=hear)
    return told, last


@contextmanager
def progress(title: str, *, quiet: bool) -> Iterator[OnProgress]:
    """A bar on standard error, with the tokens a second and the time that is left."""
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn(title),
        BarColumn(),
        TextColumn("{task.percentage:.0f}%"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console(stderr=True), disable=quiet, transient=True) as bar:
        shown = bar.add_task(title, total=None, rate="")

        def show(now: Progress) -> None:
            rate = f"{now.rate:,.0f} tokens/s"
            bar.update(shown, total=1.0, completed=now.share, rate=rate)

        yield show


def _given(columns: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    """A row's own columns; one with the name of something told is called given_NAME."""
    given = {f"given_{key}" if key in told else key: each for key, each in columns.items()}
    plain: dict[str, Any] = json.loads(json.dumps(given, default=str))
    return plain


def _print_one(told: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(told)
    else:
        console().print(told["answer"] if _ENDED in told else _words(told))


def _words(told: Mapping[str, Any]) -> str:
    """An answer in a line."""
    values = [each for name, each in told.items() if (name, each) != (_ENDED, "stop")]
    return "\t".join(map(_word, values)) or "-"


def _word(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return " ".join(map(_word, value))
    return " ".join(str(value).split())


def _short(example: Example) -> str:
    """The beginning of what was asked."""
    asked = " ".join(example.summary.split())
    return asked if len(asked) <= _SHOWN else asked[: _SHOWN - 1] + "…"


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Answers as rows; in CSV, what is no text or number as JSON.

    Raises:
        WorkspaceError: the file cannot be written.
    """
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            if path.suffix == ".jsonl":
                for row in rows:
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
                return
            names = list(dict.fromkeys(name for row in rows for name in row))
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            for row in rows:
                writer.writerow({key: _cell(value) for key, value in row.items()})
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from error


def _unwritable(path: Path, reason: str) -> MoliError:
    return WorkspaceError(
        f"cannot be written ({reason})",
        where=str(path),
        fix="Check the folder and its permissions.",
    )


def _cell(value: Any) -> Any:
    return value if isinstance(value, str | int | float) else json.dumps(value, ensure_ascii=False)
