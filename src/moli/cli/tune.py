"""`moli tune`: check a recipe, train it, or resume a run."""

from __future__ import annotations

import warnings
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moli.cli.output import (
    INTERRUPTED,
    JsonOption,
    WorkspaceOption,
    echo,
    make_console,
    on_interrupt,
    open_workspace,
    print_fields,
    print_json,
    warn,
)
from moli.cli.recipe_changes import SetOption, parse_changes
from moli.cli.rows import UNREAD, format_rows
from moli.cli.run_results import KEPT, format_metrics, print_alias_kept, print_interrupted
from moli.records.errors import InputError, WorkspaceError

if TYPE_CHECKING:
    from moli.training.recipes.recipe import Recipe
    from moli.training.run import RunResult
    from moli.workspace import Workspace


def tune(
    recipe: Annotated[
        Path | None,
        typer.Argument(
            metavar="RECIPE", help="A YAML file, or with --task the data; --set may do without."
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(metavar="TASK", help="Train this task, on data given in place of a recipe."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Check the recipe and its data; train nothing.")
    ] = False,
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="RUN", help="Continue this run from its checkpoint."),
    ] = None,
    changes: SetOption = None,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Train on this Ray cluster: HOST:6379, or local."),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Move the alias to the result even if it is worse."),
    ] = False,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Train a model from a recipe, and store it in the workspace.

    --check reads the data, builds the model, takes a few trial steps, and reports bad rows, what
    the model will learn from, how long training will take and where the result can be served. It
    exits with 1 if the recipe cannot be trained. Ctrl-C stops a run after the current step. It
    exits with 130; continue with --resume, and with --set data=FILE if the data have been moved.
    Every row is accounted for at the end; the exit code is 3 if lines of the data could not be
    read.

    The base is evaluated before the first step. The recipe's alias is not moved to a model that
    does worse than its base, or than the alias's present model on the same held-out examples.

    Example: moli tune recipe.yaml --check
    """
    # The libraries warn their developers; users are warned by our errors and findings.
    warnings.simplefilter("ignore")
    if resume:
        if recipe or task or check:
            raise typer.BadParameter("a run already has its recipe", param_hint="--resume")
        paths = parse_changes(changes)
        if ray:
            raise typer.BadParameter("a run on Ray resumes by itself", param_hint="--ray")
        with open_workspace(workspace) as opened:
            _resume(opened, resume, paths, as_json=as_json, force=force)
        return
    resolved = _read_recipe(recipe, task, changes)
    if check:
        _check(resolved, workspace, as_json=as_json)
        return
    with open_workspace(workspace) as opened:
        if ray:
            from moli.training.launch import tune_on_ray

            result = tune_on_ray(resolved, opened.root, ray, force=force)
            _print_result(result, as_json=as_json)
        else:
            _train(opened, resolved, as_json=as_json, force=force)


def _read_recipe(path: Path | None, task: str | None, changes: list[str] | None) -> Recipe:
    """The recipe of a file with KEY=VALUE changes, or of a task, its data and the changes alone."""
    from moli.training.recipes.recipe import make_recipe, read_recipe

    values = parse_changes(changes)
    if task:
        data = {"data": str(path)} if path else {}
        return make_recipe({"task": task, **data, **values}, where="--task")
    if path:
        return read_recipe(path, values)
    if not values:
        raise InputError(
            "no recipe",
            where="moli tune",
            fix="Give a file, or --set task=classification --set data=FILE.",
        )
    return make_recipe(values, where="--set")


def _check(recipe: Recipe, folder: Path | None, *, as_json: bool) -> None:
    """Check a recipe, and print the report."""
    from moli.training.checks.preflight import preflight

    with ExitStack() as stack:
        workspace = None
        # A recipe can be checked without one.
        with suppress(WorkspaceError) if folder is None else nullcontext():
            workspace = stack.enter_context(open_workspace(folder))
        with on_interrupt("Nothing was changed."):
            report = preflight(recipe, workspace)
    if as_json:
        print_json({"ok": report.ok, "preflight": report})
    else:
        from moli.cli.preflight import print_report

        print_report(report, make_console())
    if not report.ok:
        raise typer.Exit(1)


def _train(workspace: Workspace, recipe: Recipe, *, as_json: bool, force: bool) -> None:
    """Train a recipe, and print the result."""
    from moli.training.listeners.progress import ProgressLine
    from moli.training.run import tune

    listeners = [] if as_json else [ProgressLine()]
    with on_interrupt(KEPT):
        result = tune(recipe, workspace, listeners=listeners, estimate=True, force=force)
    _print_result(result, as_json=as_json)


def _resume(
    workspace: Workspace, run: str, paths: dict[str, Any], *, as_json: bool, force: bool
) -> None:
    """Resume the run with this id, with the new paths of its data, and print the result."""
    from moli.training.listeners.progress import ProgressLine
    from moli.training.run import resume
    from moli.training.runs import find_run

    listeners = [] if as_json else [ProgressLine()]
    run = find_run(workspace, run).id
    with on_interrupt(f"Continue with: moli tune --resume {run}"):
        result = resume(run, workspace, listeners=listeners, force=force, paths=paths)
    _print_result(result, as_json=as_json)


def _print_result(result: RunResult, *, as_json: bool) -> None:
    """Print a run's result, and how to resume it if it was interrupted."""
    from moli.training.loop.distributed import join_processes

    if join_processes().rank:  # only the first process prints it
        pass
    elif as_json:
        print_json({"result": result})
    else:
        _print_summary(result)
    if result.status == "interrupted":
        raise typer.Exit(INTERRUPTED)
    if result.facts["rows"]["unread"]:
        raise typer.Exit(UNREAD)


def _print_summary(result: RunResult) -> None:
    """Print the new model with its metrics, or how to resume the run if it was interrupted."""
    from moli.training.listeners.formatting import format_duration
    from moli.training.listeners.report import PAGE

    out, facts = make_console(), result.facts
    if result.status == "interrupted":
        print_interrupted(result, "tune")
        return
    out.print(result.model, style="bold")
    metrics, before = map(format_metrics, (facts["metrics"], facts["base_metrics"]))
    baselines = format_metrics(facts.get("baselines", {}))
    rates = (
        f"{facts['examples_per_second']:,} examples/s, {facts['tokens_per_second']:,} tokens/s, "
        f"{facts['peak_memory_mb']:,} MB at most"
    )
    counts = facts["rows"]
    is_incomplete = counts["malformed"] or counts["dropped"] or counts["unread"]
    listed = "; 'moli tune --check' lists them" if is_incomplete else ""
    rows = {
        "metrics": metrics or f"none: {_why_no_metrics(facts)}",
        "before": f"{before} (the base, before the first step)" if before else "",
        "compare": f"{baselines} (on the same held-out rows)" if baselines else "",
        "best": f"at step {facts['best_step']:,} of {facts['step']:,}" if metrics else "",
        "time": f"{format_duration(facts['seconds'])} of training{_compare_with_estimate(facts)}",
        "rates": rates,
        "rows": f"{format_rows(counts)}{listed}",
        "report": str(result.folder / PAGE),
    }
    print_fields(rows, out)
    for note in [*facts["row_notes"], *facts["notes"]]:
        warn(note)
    if facts["still_improving"]:
        epochs = 2 * facts["epochs"]
        echo(f"It was still improving at the last step: try --set epochs={epochs:g}.")
    print_alias_kept(result)


def _why_no_metrics(facts: dict[str, Any]) -> str:
    """The reason why a run without metrics has none."""
    return "no held-out example fits" if facts.get("held_out") else "nothing is held out"


def _compare_with_estimate(facts: dict[str, Any]) -> str:
    """The difference between the estimated time and the real one; "" without an estimate."""
    ratio = facts.get("against_estimate", {}).get("seconds")
    if not ratio:
        return ""
    return f", {abs(ratio - 1):.0%} {'more' if ratio > 1 else 'less'} than estimated"
