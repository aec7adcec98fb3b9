"""`moli check`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moli.cli.output import (
    GroupOption,
    JsonOption,
    ModelOption,
    WhereOption,
    WorkspaceOption,
    echo,
    make_console,
    make_filter,
    on_interrupt,
    open_workspace,
    print_json,
    warn,
)
from moli.cli.predict import check_output, write_error
from moli.cli.rows import UNREAD
from moli.records.files import whole_file
from moli.translations.catalogue import translate

if TYPE_CHECKING:
    from moli.retrieval.check import AnswerCheck

_MAX_FAULTS = 20  # listed; the page has all


def check(
    questions: Annotated[
        Path,
        typer.Argument(help="Questions with their answers: JSONL or CSV.", metavar="QUESTIONS"),
    ],
    risk: Annotated[
        float,
        typer.Option(min=0.001, max=0.5, help="Share of wrong answers to suggest a threshold for."),
    ] = 0.05,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a page with the curve.", metavar="FILE")
    ] = None,
    model: ModelOption = None,
    group: GroupOption = None,
    where: WhereOption = None,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Check the answers to your own questions, and suggest the setting confidence.

    A row has a question and its right answers; without answers, there is none in the documents.
    An answer is right if it has the words of a right answer in a row. No traces are stored.

    A row that cannot be read is reported and skipped; the exit code is then 3.

    Example: moli check questions.jsonl --html report.html
    """
    from moli.models.encoders.load import load_workspace_encoder
    from moli.retrieval.check import check_answers
    from moli.retrieval.questions import read_questions
    from moli.retrieval.search import Retriever
    from moli.training.trained.names import load_named_chat

    if html:  # checked before the work rather than after it
        check_output(html, questions)
    with open_workspace(workspace) as opened, on_interrupt("Nothing was changed."):
        read, malformed = read_questions(questions)
        reference = opened.settings.model if model is None else model
        chat = load_named_chat(reference, opened) if reference else None
        retriever = Retriever(opened, load_workspace_encoder(opened))
        visible = make_filter(opened, group, where)
        with _question_bar(len(read), quiet=as_json) as on_progress:
            result = check_answers(
                opened, retriever, read, chat, visible, risk=risk, on_progress=on_progress
            )
    result = replace(result, malformed=tuple(malformed))
    if html:
        _write_page(html, result, questions.name)
    if as_json:
        print_json(result)
    else:
        _print_check(result)
    if malformed:
        raise typer.Exit(UNREAD)


@contextmanager
def _question_bar(total: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Show a bar on standard error, with the number of questions and the remaining time.

    Yields:
        A function to call with the number of questions that are done.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (TextColumn(translate("Checking")), BarColumn(), MofNCompleteColumn(), Remaining())
    console = make_console(stderr=True)
    with Progress(*columns, console=console, disable=quiet, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda done: bar.update(task, completed=done)


def _write_page(path: Path, result: AnswerCheck, name: str) -> None:
    """Write the report as a page.

    Raises:
        WorkspaceError: the file cannot be written.
    """
    from moli.retrieval.check_report import page_of

    try:
        with whole_file(path) as draft:
            draft.write_text(page_of(result, name), encoding="utf-8")
    except OSError as error:
        raise write_error(path, error.strerror or str(error)) from error


def _print_check(result: AnswerCheck) -> None:
    """Print a check for people."""
    from moli.retrieval.check_report import NAMES, conclusions_of, faults_of

    out = make_console()
    echo(f"{len(result.questions):,} questions")
    for outcome, count in result.counts.items():
        out.print(f"{count:>6,}  {translate(NAMES[outcome])}")
    out.print()
    for line in conclusions_of(result):
        out.print(line)
    faults = faults_of(result)
    for fault in faults[:_MAX_FAULTS]:
        out.print(f"\n{translate(NAMES[fault.outcome])} ({fault.confidence:.2f})", style="bold")
        out.print(f"  {fault.where}: {fault.question}")
        if fault.best:
            out.print(f"  {'✓' if fault.right else '✗'} {fault.best}")
        if fault.expected:
            out.print("  " + translate(f"right: {' | '.join(fault.expected)}"))
    if len(faults) > _MAX_FAULTS:
        echo(f"and {len(faults) - _MAX_FAULTS:,} more, which --html FILE lists")
    for row in result.malformed:
        warn(f"skipped: {row}")
