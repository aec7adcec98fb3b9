"""`moli evaluate`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moli.cli.output import JsonOption, WorkspaceOption, console, open_workspace, print_json
from moli.cli.predict import Model, progress

if TYPE_CHECKING:
    from moli.training.trained.predict import Confusion, Evaluation

_MOST = 20  # classes for which a confusion table is readable


def evaluate(
    model: Model,
    file: Annotated[Path, typer.Argument(help="Labelled examples: a file or a folder.")],
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Evaluate a trained model on examples; the main metric has a 95 % interval.

    Example: moli evaluate support test.jsonl
    """
    from moli.training.trained.load import load_trained
    from moli.training.trained.predict import evaluate_on

    with open_workspace(workspace) as opened:
        trained = load_trained(opened.models.get(model))
    with progress("Evaluating", quiet=as_json) as show:
        found = evaluate_on(trained, file, hear=show)
    if as_json:
        print_json({"model": trained.name, **asdict(found)})
        return
    _print(trained.name, found)


def _print(name: str, found: Evaluation) -> None:
    out = console()
    out.print(f"{name} on {found.examples:,} examples")
    low, high = found.interval
    for metric, value in found.metrics.items():
        interval = f"  (95 %: {low:.4f} to {high:.4f})" if metric == found.metric else ""
        out.print(f"  {metric:<16} {value:.4f}{interval}")
    if found.report and found.confusion:
        out.print()
        out.print(found.report.text())
        _print_confusion(found.confusion)
    if found.cut:
        out.print(f"{found.cut:,} examples were truncated to the model's maximum length.")
    for each in found.malformed:
        typer.echo(f"moli: skipped: {each}", err=True)
    typer.echo(f"{found.seconds:.1f} s, {found.tokens_per_second:,.0f} tokens/s", err=True)


def _print_confusion(confusion: Confusion) -> None:
    """The table, or for very many classes only the most confused ones."""
    out = console()
    if len(confusion.labels) <= _MOST:
        from rich.table import Table

        table = Table("true \\ predicted", *confusion.labels, box=None)
        for label, counts in zip(confusion.labels, confusion.counts, strict=True):
            table.add_row(label, *map(str, counts))
        out.print(table)
        return
    wrong = [
        (count, right, told)
        for right, row in zip(confusion.labels, confusion.counts, strict=True)
        for told, count in zip(confusion.labels, row, strict=True)
        if count and right != told
    ]
    out.print("most confused:")
    for count, right, told in sorted(wrong, reverse=True)[:_MOST]:
        out.print(f"  {count:>6,}  {right} predicted as {told}")
