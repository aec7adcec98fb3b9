"""`moli predict`."""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moli.cli.output import (
    INTERRUPTED,
    JsonOption,
    WorkspaceOption,
    echo,
    make_console,
    open_workspace,
    print_json,
    recover_text,
    warn,
)
from moli.cli.rows import UNREAD, format_rows
from moli.records.errors import InputError, MoliError, WorkspaceError
from moli.records.files import whole_file
from moli.translations.catalogue import translate

if TYPE_CHECKING:
    from moli.records.examples import Example, MalformedRow
    from moli.training.inference import OnProgress, Progress
    from moli.training.trained.generate import AnswerGenerator
    from moli.training.trained.load import TrainedModel
    from moli.workspace.datasets import Dataset

# Rows that are answered together, and lost together when interrupted.
_GENERATION_BLOCK, _BLOCK = 128, 2048
_MAX_SUMMARY = 100  # characters of a row, on a terminal
_FINISH_REASON = "finish_reason"  # a field of an answer that a language model wrote

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
        str | None,
        typer.Option(metavar="TEXT", help="One text to answer, or one row as a JSON object."),
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
    _check_options(file, text, out)
    from moli.training.trained import predict as inference

    with open_workspace(workspace) as opened:
        stored = opened.models.get(model)
    with inference.loaded_model(stored) as trained:
        if text is not None:
            _answer_text(trained, recover_text(text), out, max_tokens, as_json=as_json)
            return
        assert file is not None  # noqa: S101 - for the type checker; it was checked above
        dataset = inference.read_unanswered(trained, file)
        examples = [each.example for each in dataset.examples]
        predictions = _predict_in_blocks(trained, examples, max_tokens, quiet=as_json)
    answers, progress = predictions.answers, predictions.progress
    rows = [
        {"where": row.where, **_input_columns(row.values, answer), **answer}
        for row, answer in zip(dataset.rows, answers, strict=False)  # the first if interrupted
    ]
    counts = _count_rows(dataset, len(answers))
    if out:
        _write_rows(out, rows)
    if as_json:
        rate = {"seconds": progress.seconds, "tokens_per_second": progress.rate}
        faults = {"malformed": dataset.malformed, "unread": dataset.unread, "rows": counts}
        print_json({"model": trained.name, "answers": rows, **faults, **rate})
    else:
        if not out:
            terminal = make_console()
            for example, answer in zip(examples, answers, strict=False):
                terminal.print(f"{_format_answer(answer)}\t{_summarize(example)}")
        _print_statistics(counts, progress, (*dataset.unread, *dataset.malformed))
    if len(rows) < len(examples):
        echo(f"Interrupted: {len(examples) - len(rows):,} rows are not answered.", err=True)
        raise typer.Exit(INTERRUPTED)
    if dataset.malformed or dataset.unread:
        raise typer.Exit(UNREAD)


def _answer_text(
    trained: TrainedModel | AnswerGenerator,
    text: str,
    out: Path | None,
    max_tokens: int,
    *,
    as_json: bool,
) -> None:
    """Answer one text; print the answer, or write it to a file."""
    from moli.training.trained import predict as inference

    example = inference.read_text(trained, text)
    answer = inference.predict(trained, [example], max_tokens=max_tokens)[0]
    if out:
        _write_rows(out, [answer])
    if as_json or not out:
        _print_answer(answer, as_json=as_json)


def _check_options(file: Path | None, text: str | None, out: Path | None) -> None:
    """Check what can be checked before the model is loaded."""
    if (file is None) == (text is None):
        raise typer.BadParameter("give a FILE or --text", param_hint="FILE")
    if out and out.suffix not in (".jsonl", ".csv"):
        raise typer.BadParameter("its name must end in .jsonl or .csv", param_hint="--out")
    if out:  # checked before the work rather than after it
        check_output(out, file)


def check_output(out: Path, *inputs: Path | None) -> None:
    """Check that a file can be written, and is not an input of the command or in one.

    Raises:
        InputError: it is.
        WorkspaceError: its folder is not there or may not be written to.
    """
    if not out.parent.is_dir():
        raise write_error(out, "there is no such folder")
    if out.is_dir():
        raise write_error(out, "it is a folder")
    if not os.access(out.resolve().parent, os.W_OK):
        raise write_error(out, "the folder may not be written to")
    for path in inputs:
        is_same = path and path.exists() and out.exists() and path.samefile(out)
        if path and (is_same or out.resolve().is_relative_to(path.resolve())):
            raise InputError(
                f"the output would be written over the input {path}",
                where=str(out),
                fix="Name another file.",
            )


def _count_rows(dataset: Dataset, answered: int) -> dict[str, int]:
    """Numbers of rows by what became of them."""
    return {
        "total": dataset.row_count,
        "answered": answered,
        "not_answered": len(dataset.examples) - answered,
        "malformed": len(dataset.malformed),
        "unread": dataset.unread_lines,
    }


def _print_statistics(
    counts: Mapping[str, int], progress: Progress, faults: Sequence[MalformedRow]
) -> None:
    """Print the number of answers, the time, and the rows that could not be read."""
    seconds, rate = progress.seconds, progress.rate
    echo(f"{counts['answered']:,} answers in {seconds:.1f} s, {rate:,.0f} tokens/s", err=True)
    echo(format_rows(counts), err=True)
    for row in faults:
        warn(str(row))


@dataclass(frozen=True, slots=True)
class _Predictions:
    """Answers to the first rows, or to all unless interrupted, and how long they took."""

    answers: list[dict[str, Any]]
    progress: Progress


def _predict_in_blocks(
    trained: TrainedModel | AnswerGenerator,
    examples: Sequence[Example],
    max_tokens: int,
    *,
    quiet: bool,
) -> _Predictions:
    """Answer examples block by block, until done or interrupted."""
    from moli.training.inference import Progress
    from moli.training.trained import predict as inference

    size = _GENERATION_BLOCK if trained.task.supervised_unit == "tokens" else _BLOCK
    answers: list[dict[str, Any]] = []
    started, progress = time.perf_counter(), Progress(0.0, 0, 0.0)
    with progress_bar("Answering", quiet=quiet) as show, suppress(KeyboardInterrupt):
        for first in range(0, len(examples), size):
            block, tokens_before = examples[first : first + size], progress.tokens

            def on_progress(
                in_block: Progress,
                first: int = first,
                size: int = len(block),
                tokens_before: int = tokens_before,
            ) -> None:
                """Show the progress of all rows, from that in one block."""
                nonlocal progress
                share = (first + in_block.share * size) / len(examples)
                tokens = tokens_before + in_block.tokens
                progress = Progress(share, tokens, time.perf_counter() - started)
                show(progress)

            answers += inference.predict(
                trained, block, max_tokens=max_tokens, on_progress=on_progress
            )
    return _Predictions(answers, progress)


@contextmanager
def progress_bar(title: str, *, quiet: bool) -> Iterator[OnProgress]:
    """Show a bar on standard error, with the tokens per second and the remaining time.

    Yields:
        A function to call with the progress.
    """
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn(translate(title)),
        BarColumn(),
        TextColumn("{task.percentage:.0f}%"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=make_console(stderr=True), disable=quiet, transient=True) as bar:
        task = bar.add_task(title, total=None, rate="")

        def show(progress: Progress) -> None:
            """Show the progress in the bar."""
            rate = f"{progress.rate:,.0f} tokens/s"
            bar.update(task, total=1.0, completed=progress.share, rate=rate)

        yield show


def _input_columns(columns: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, Any]:
    """A row's own columns; one with the name of a field of the answer is called given_NAME."""
    renamed = {f"given_{key}" if key in answer else key: value for key, value in columns.items()}
    as_json: dict[str, Any] = json.loads(json.dumps(renamed, default=str))
    return as_json


def _print_answer(answer: Mapping[str, Any], *, as_json: bool) -> None:
    """Print an answer as JSON, or as text: generated text whole, other fields in a line."""
    if as_json:
        print_json(answer)
    else:
        make_console().print(
            answer["answer"] if _FINISH_REASON in answer else _format_answer(answer)
        )


def _format_answer(answer: Mapping[str, Any]) -> str:
    """An answer in a line; a finish reason is included unless it is "stop"."""
    values = [value for name, value in answer.items() if (name, value) != (_FINISH_REASON, "stop")]
    return "\t".join(map(_format_value, values)) or "-"


def _format_value(value: Any) -> str:
    """A field of an answer on one line."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return " ".join(map(_format_value, value)) or "-"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_format_value(item)}" for key, item in value.items())
    return " ".join(str(value).split())


def _summarize(example: Example) -> str:
    """The beginning of an example's text."""
    text = " ".join(example.summary.split())
    return text if len(text) <= _MAX_SUMMARY else text[: _MAX_SUMMARY - 1] + "…"


def _write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as JSON lines, or as CSV with JSON in the cells that are no text or number.

    The file is written whole or not at all.

    Raises:
        WorkspaceError: the file cannot be written.
    """
    try:
        # A lone surrogate, which UTF-8 cannot hold, becomes the escape that JSON has for it.
        with (
            whole_file(path) as draft,
            draft.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
        ):
            if path.suffix == ".jsonl":
                for row in rows:
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
                return
            names = list(dict.fromkeys(name for row in rows for name in row))
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            for row in rows:
                writer.writerow({key: _to_csv_cell(value) for key, value in row.items()})
    except OSError as error:
        raise write_error(path, error.strerror or str(error)) from error


def write_error(path: Path, reason: str) -> MoliError:
    """An error for a file that cannot be written."""
    return WorkspaceError(
        f"cannot be written ({reason})",
        where=str(path),
        fix="Check the folder and its permissions.",
    )


def _to_csv_cell(value: Any) -> Any:
    """A value as a cell: a text or number itself, anything else as JSON."""
    return value if isinstance(value, str | int | float) else json.dumps(value, ensure_ascii=False)
