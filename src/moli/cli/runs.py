"""`moli runs`: list and show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moli.cli.command import App
from moli.cli.output import (
    JsonOption,
    WorkspaceOption,
    echo,
    format_metrics,
    make_console,
    open_workspace,
    print_fields,
    print_json,
    print_table,
)
from moli.records.training import COMPLETE
from moli.translations.catalogue import translate

if TYPE_CHECKING:
    from moli.training.runs import RunSummary

app = App(help="List and show training runs.")


@app.callback(invoke_without_command=True)
def runs(
    context: typer.Context, as_json: JsonOption = False, workspace: WorkspaceOption = None
) -> None:
    """List and show training runs; without a command, list them."""
    if context.invoked_subcommand is None:
        _print_runs(as_json=as_json, workspace=workspace)


@app.command("list")
def list_runs(as_json: JsonOption = False, workspace: WorkspaceOption = None) -> None:
    """List the runs, newest first.

    Example: moli runs list
    """
    _print_runs(as_json=as_json, workspace=workspace)


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="A run's id, or the end of it.")],
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Show a run's recipe, its result and where its report is.

    Example: moli runs show 20260131-093000-a1b2
    """
    from moli.training.listeners.formatting import flatten_values
    from moli.training.recipes.run_folder import command_of
    from moli.training.runs import find_run

    with open_workspace(workspace) as opened:
        details = find_run(opened, run)
    if as_json:
        print_json(details)
        return
    out = make_console()
    out.print(details.id, style="bold")
    rows = {
        "status": _format_status(details),
        "step": translate(f"{details.step:,} of {details.steps:,}"),
        "model": details.model,
        "metrics": format_metrics(details.metrics),
        "started": details.begun,
        "report": str(details.report or ""),
        "folder": str(details.folder),
    }
    print_fields(rows, out)
    for title, values in (("facts", details.facts), ("recipe", details.recipe)):
        out.print(translate(title))
        for name, value in flatten_values(values).items():
            out.print(f"  {name} {value}")
    if details.status not in (*COMPLETE, "running"):
        echo(f"Resume with: moli {command_of(details.recipe)} --resume {details.id}")


def _format_status(run: RunSummary) -> str:
    """The status of a run in words, with the process that works on it."""
    status = translate(run.status.replace("_", " "))
    return translate(f"{status} (process {run.process})") if run.process else status


def _print_runs(*, as_json: bool, workspace: Path | None) -> None:
    """Print all runs, as a table or as JSON."""
    from moli.training.runs import list_runs

    with open_workspace(workspace) as opened:
        runs = list_runs(opened)
    if as_json:
        print_json({"runs": runs})
        return
    if not runs:
        echo("No runs yet.")
        return
    rows = []
    for run in runs:
        status, step = _format_status(run), f"{run.step:,}/{run.steps:,}"
        metric = format_metrics(run.metrics, main_only=True)
        rows.append((run.id, run.task, run.base, status, step, metric, run.begun[:16]))
    columns = ("run", "task", "base", "status", "step", "metric", "started")
    print_table(columns, rows, copied=("run",))
