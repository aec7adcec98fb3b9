"""`moli runs`: list and show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moli.cli.output import JsonOption, WorkspaceOption, console, open_workspace, print_json, shown
from moli.records.training import COMPLETE

app = typer.Typer(help="List and show training runs.")


@app.callback(invoke_without_command=True)
def runs(
    context: typer.Context, as_json: JsonOption = False, workspace: WorkspaceOption = None
) -> None:
    """List and show training runs; without a command, list them."""
    if context.invoked_subcommand is None:
        _list(as_json=as_json, workspace=workspace)


@app.command("list")
def list_runs(as_json: JsonOption = False, workspace: WorkspaceOption = None) -> None:
    """List the runs, newest first.

    Example: moli runs list
    """
    _list(as_json=as_json, workspace=workspace)


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="A run's id, or the end of it.")],
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Show a run's recipe, its result and where its report is.

    Example: moli runs show 20260131-093000-a1b2
    """
    from moli.training.listeners.figures import flat
    from moli.training.runs import find_run

    with open_workspace(workspace) as opened:
        found = find_run(opened, run)
    if as_json:
        print_json(found)
        return
    out = console()
    out.print(found.id, style="bold")
    rows = {
        "status": found.status.replace("_", " "),
        "step": f"{found.step:,} of {found.steps:,}",
        "model": found.model,
        "metrics": shown(found.metrics),
        "started": found.begun,
        "report": found.report,
        "folder": found.folder,
    }
    for name, told in rows.items():
        out.print(f"{name:<8} {told or '-'}")
    for title, values in (("facts", found.facts), ("recipe", found.recipe)):
        out.print(title)
        for name, told in flat(values).items():
            out.print(f"  {name} {told}")
    if found.status not in COMPLETE:
        out.print(f"Resume with: moli tune --resume {found.id}")


def _list(*, as_json: bool, workspace: Path | None) -> None:
    from moli.training.runs import list_runs

    with open_workspace(workspace) as opened:
        found = list_runs(opened)
    if as_json:
        print_json({"runs": found})
        return
    if not found:
        typer.echo("No runs yet.")
        return
    from rich.table import Table

    table = Table(box=None)
    table.add_column("run", no_wrap=True)  # ids are there to be copied
    for head in ("task", "base", "status", "step", "metric", "started"):
        table.add_column(head, overflow="fold")
    for each in found:
        status, step = each.status.replace("_", " "), f"{each.step:,}/{each.steps:,}"
        metric = shown(each.metrics, every=False)
        table.add_row(each.id, each.task, each.base, status, step, metric, each.begun[:16])
    console().print(table)
