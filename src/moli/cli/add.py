"""`moli add`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
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
    parse_pairs,
    print_json,
)
from moli.translations.catalogue import translate

_MAX_NAMES = 10

if TYPE_CHECKING:
    from moli.records.ingestion import FileReport


def add(
    paths: Annotated[list[str], typer.Argument(help="Files, folders or glob patterns.")],
    group: Annotated[
        list[str] | None,
        typer.Option("--group", "-g", help="Group that may see them (new: everyone). Repeatable."),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label", metavar="KEY=VALUE", help="KEY=VALUE to filter by later; may be repeated."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Read files again even if unchanged.")
    ] = False,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Add documents; unchanged files are skipped and changed ones replaced.

    A file that cannot be read is reported and skipped; the exit code is then 3.

    Example: moli add handbook.pdf notes/ "reports/**/*.docx"
    """
    from moli.models.encoders.load import load_workspace_encoder
    from moli.retrieval.discover import discover
    from moli.retrieval.indexes import Indexes
    from moli.retrieval.ingest import DocumentLabels, Ingester

    with open_workspace(workspace) as opened:
        files, missing = discover(paths, recordings=bool(opened.settings.speech))
        encoder = load_workspace_encoder(opened)
        labels = DocumentLabels(tuple(group) if group else None, parse_pairs(label, "--label"))
        outcomes = Ingester(opened, encoder).add_files(files, labels, force=force)
        with on_interrupt("Files added so far are kept; the same command adds the rest."):
            reports = [*missing, *_show_progress(outcomes, len(files), quiet=as_json)]
        indexes = Indexes(opened, encoder)
        indexes.catch_up(timeout=60)
        indexes.save()
    counts: Counter[str] = Counter(report.outcome for report in reports)
    if as_json:
        print_json({"files": reports, "counts": counts})
    else:
        _print_summary(reports, counts)
    if counts["failed"]:
        raise typer.Exit(3)


def _show_progress(
    reports: Iterable[FileReport], total: int, *, quiet: bool
) -> Iterator[FileReport]:
    """Pass reports on, with a progress bar on standard error while files are added."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn(translate("Adding")),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[name]}", markup=False),
    )
    with Progress(
        *columns, console=make_console(stderr=True), disable=quiet, transient=True
    ) as bar:
        task = bar.add_task("add", total=total, rate="", name="")
        passages = 0
        for report in reports:
            passages += report.passages
            elapsed = bar.tasks[0].elapsed or 0.0
            rate = translate(f"{passages / elapsed:,.0f} passages/s") if elapsed else ""
            name = report.source.rpartition("/")[2][:40]
            bar.update(task, advance=1, rate=rate, name=name)
            yield report


def _print_summary(reports: list[FileReport], counts: Counter[str]) -> None:
    """Print the number of files by outcome, those that were skipped with the reason, and notes."""
    passages = sum(report.passages for report in reports)
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    echo(f"{outcomes or 'no files found'} ({passages:,} passages)")
    skipped: dict[str, list[str]] = {}
    for report in reports:
        if report.outcome == "skipped":
            reason = report.message.removeprefix(f"{report.source}: ")
            skipped.setdefault(reason, []).append(Path(report.source).name)
        elif report.message:
            prefix = translate("failed" if report.outcome == "failed" else "note")
            typer.echo(f"  {prefix}: {translate(report.message)}", err=report.outcome == "failed")
    for reason, names in skipped.items():
        more = f" (and {len(names) - _MAX_NAMES} more; --json names all)"
        shown = ", ".join(names[:_MAX_NAMES]) + (translate(more) if len(names) > _MAX_NAMES else "")
        typer.echo(f"  {translate('skipped')}: {shown}: {translate(reason)}")
