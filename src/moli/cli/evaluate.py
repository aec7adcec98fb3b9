"""`moli evaluate`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moli.cli.output import (
    JsonOption,
    WorkspaceOption,
    echo,
    make_console,
    on_interrupt,
    open_workspace,
    print_json,
    print_table,
    warn,
)
from moli.cli.predict import Model, progress_bar
from moli.cli.rows import UNREAD, format_rows
from moli.translations.catalogue import translate

if TYPE_CHECKING:
    from moli.training.trained.predict import Confusion, Evaluation

_MAX_TABLE_CLASSES = 20  # for which a confusion table is readable


def evaluate(
    model: Model,
    file: Annotated[Path, typer.Argument(help="Labelled examples: a file or a folder.")],
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Evaluate a trained model on examples; the main metric has a 95 % interval.

    Every row is accounted for; the exit code is 3 if lines of the data could not be read.

    Example: moli evaluate support test.jsonl
    """
    from moli.training.trained.load import load_trained
    from moli.training.trained.predict import evaluate_on

    with open_workspace(workspace) as opened:
        trained = load_trained(opened.models.get(model))
    bar = progress_bar("Evaluating", quiet=as_json)
    with on_interrupt("Nothing was changed."), bar as on_progress:
        evaluation = evaluate_on(trained, file, on_progress=on_progress)
    if as_json:
        print_json({"model": trained.name, **asdict(evaluation)})
    else:
        _print_evaluation(trained.name, evaluation)
    if evaluation.unread:
        raise typer.Exit(UNREAD)


def _print_evaluation(name: str, evaluation: Evaluation) -> None:
    """Print an evaluation for people."""
    from moli.training.data import shorten_labels

    out = make_console()
    out.print(translate(f"{name} on {evaluation.examples:,} examples"))
    low, high = evaluation.interval
    for metric, value in evaluation.metrics.items():
        interval = f"  (95 %: {low:.4f} to {high:.4f})" if metric == evaluation.metric else ""
        out.print(f"  {metric:<16} {value:.4f}{interval}")
    if evaluation.report:
        out.print()
        out.print(evaluation.report.text())
    if evaluation.confusion:
        _print_confusion(evaluation.confusion)
    echo(format_rows(evaluation.rows))
    if evaluation.cut:
        echo(f"{evaluation.cut:,} examples were truncated to the model's maximum length.")
    if unknown := evaluation.unknown_labels:
        counts = ", ".join(f"'{label}' ({count:,})" for label, count in list(unknown.items())[:10])
        number = "1 label is" if len(unknown) == 1 else f"{len(unknown):,} labels are"
        warn(
            f"{number} unknown to the model and count as wrong: {counts}. "
            f"It knows {shorten_labels(evaluation.known_labels)}."
        )
    for row in (*evaluation.unread, *evaluation.malformed):
        warn(f"skipped: {row}")
    echo(f"{evaluation.seconds:.1f} s, {evaluation.tokens_per_second:,.0f} tokens/s", err=True)


def _print_confusion(confusion: Confusion) -> None:
    """Print the table, or if there are too many classes for it only the most confused pairs."""
    out = make_console()
    if len(confusion.labels) <= _MAX_TABLE_CLASSES:
        columns = ("true \\ predicted", *confusion.labels)
        counted = zip(confusion.labels, confusion.counts, strict=True)
        print_table(columns, [(label, *map(str, counts)) for label, counts in counted])
        return
    errors = [
        (count, true, predicted)
        for true, row in zip(confusion.labels, confusion.counts, strict=True)
        for predicted, count in zip(confusion.labels, row, strict=True)
        if count and true != predicted
    ]
    out.print(translate("most confused:"))
    for count, true, predicted in sorted(errors, reverse=True)[:_MAX_TABLE_CLASSES]:
        out.print(f"  {count:>6,}  {translate(f'{true} predicted as {predicted}')}")
