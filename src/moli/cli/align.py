"""`moli align`: check a recipe that learns from rewards, run it, or resume a run."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
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
from moli.cli.run_results import KEPT, format_metrics, print_alias_kept, print_interrupted

if TYPE_CHECKING:
    from moli.alignment.recipe import AlignmentRecipe
    from moli.alignment.rounds_recipe import RoundsRecipe
    from moli.alignment.run import AlignmentCheck
    from moli.training.run import RunResult
    from moli.workspace import Workspace

_SHOWN = 5  # malformed rows


def align(
    recipe: Annotated[Path | None, typer.Argument(metavar="RECIPE", help="A YAML file.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Take a trial step and show answers; keep nothing.")
    ] = False,
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="RUN", help="Continue this run from its checkpoint."),
    ] = None,
    changes: SetOption = None,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Let a language model learn from rewards, and store the adapter in the workspace.

    The recipe names prompts, and a reward that scores the model's answers to them: reward models,
    a Python function, a check, or a rubric. With stages, it runs several recipes in rounds, and
    compares each round with the one before. A run that games its reward is stopped by an alarm,
    which the result names; the alias is not moved then. Ctrl-C stops a run after the current step.
    It exits with 130; continue with --resume.

    Example: moli align recipe.yaml --check
    """
    # The libraries warn their developers; users are warned by our errors and findings.
    warnings.simplefilter("ignore")
    if (recipe is None) == (resume is None):
        raise typer.BadParameter("give a recipe, or a run to resume", param_hint="RECIPE")
    if resume and (check or changes):
        raise typer.BadParameter("a run already has its recipe", param_hint="--resume")
    read = _read_recipe(recipe, changes) if recipe else None
    with open_workspace(workspace) as opened:
        if read and check:
            _check(read, opened, as_json=as_json)
        else:
            _run(read, resume, opened, as_json=as_json)


def _read_recipe(path: Path, changes: list[str] | None) -> AlignmentRecipe | RoundsRecipe:
    """The recipe of a file with KEY=VALUE changes."""
    from moli.alignment.rounds_recipe import read_align_recipe

    return read_align_recipe(path, parse_changes(changes))


def _check(recipe: AlignmentRecipe | RoundsRecipe, workspace: Workspace, *, as_json: bool) -> None:
    """Check a recipe, and print what it would do."""
    from moli.alignment.rounds_recipe import RoundsRecipe
    from moli.alignment.run import check

    if isinstance(recipe, RoundsRecipe):
        _check_rounds(recipe, workspace, as_json=as_json)
        return
    with on_interrupt("Nothing was changed."):
        result = check(recipe, workspace)
    if as_json:
        print_json({"ok": True, "check": result})
    else:
        _print_check(result, recipe)


def _check_rounds(recipe: RoundsRecipe, workspace: Workspace, *, as_json: bool) -> None:
    """Check all stages, of which no step is tried: each but the first needs results of another."""
    from moli.alignment.rounds_check import check_rounds

    with on_interrupt("Nothing was changed."):
        facts = check_rounds(recipe, workspace)
    if as_json:
        checked = {"stages": list(recipe.stages), "rounds": recipe.rounds, "check": facts}
        print_json({"ok": True, **checked})
        return
    lines = {
        name: ", ".join(f"{key} {value}" for key, value in stage.items())
        for name, stage in facts.items()
    }
    print_fields(lines, make_console())
    echo("All that the stages name is there, and their data can be read. Nothing was trained.")


def _print_check(result: AlignmentCheck, recipe: AlignmentRecipe) -> None:
    """Print the numbers of a recipe, and some answers of the base with their scores."""
    from moli.training.listeners.formatting import flatten_values, format_duration

    out = make_console()
    print_fields(
        {
            **flatten_values(result.facts),
            "reward": f"{result.metrics['reward']:.4g} (of the base)",
            "time": f"about {format_duration(result.seconds)}",
            "memory": f"{result.memory_mb:,} MB in the trial step",
        },
        out,
    )
    for sample in result.samples:
        answer = " ".join(sample["answer"].split())
        out.print(f"{sample['score']:8.3g}  {sample['prompt'][:60]} | {answer[:80]}")
    if result.metrics["reward_std"] == 0 and len(result.samples) > 1:
        warn("all answers of the trial step have the same reward, so nothing is learnt from them.")
    for row in result.malformed[:_SHOWN]:
        warn(f"malformed row: {row}")
    _warn_of_evaluation(result.facts, recipe)
    echo("Nothing was kept.")


def _warn_of_evaluation(facts: Mapping[str, Any], recipe: AlignmentRecipe) -> None:
    """Say why no prompt is held out, if none is."""
    if facts["held_out"]:
        return
    reason = "'held_out' is 0"
    if recipe.held_out:
        reason = f"a share of {recipe.held_out:g} of {facts['prompts']:,} prompts is less than one"
    if facts["prompts"] == 1:
        reason = "there is only one prompt"
    warn(f"nothing is held out: {reason}, so the last weights are kept, not the best.")


def _run(
    recipe: AlignmentRecipe | RoundsRecipe | None,
    run: str | None,
    workspace: Workspace,
    *,
    as_json: bool,
) -> None:
    """Run a recipe or resume a run, and print the result."""
    from moli.alignment import rounds
    from moli.alignment import run as runs
    from moli.alignment.rounds_recipe import RoundsRecipe
    from moli.training.listeners.progress import ProgressLine
    from moli.training.runs import find_run

    listeners = [] if as_json else [ProgressLine()]
    if recipe:
        with on_interrupt(KEPT):
            if isinstance(recipe, RoundsRecipe):
                result = rounds.run_rounds(recipe, workspace, listeners=listeners)
            else:
                result = runs.align(recipe, workspace, listeners=listeners)
    else:
        summary = find_run(workspace, str(run))
        is_several = rounds.are_rounds(Path(summary.folder))
        resume = rounds.resume_rounds if is_several else runs.resume
        with on_interrupt(f"Continue with: moli align --resume {summary.id}"):
            result = resume(summary.id, workspace, listeners=listeners)
    if as_json:
        print_json({"result": result})
    else:
        _print_summary(result)
    if result.status == "interrupted":
        raise typer.Exit(INTERRUPTED)


def _print_summary(result: RunResult) -> None:
    """Print the new model with its figures, or how to resume the run if it was interrupted."""
    from moli.training.listeners.formatting import format_duration
    from moli.training.listeners.report import PAGE

    out, facts = make_console(), result.facts
    if result.status == "interrupted":
        print_interrupted(result, "align")
        return
    out.print(result.model, style="bold")
    metrics, before = map(format_metrics, (facts["metrics"], facts.get("base_metrics", {})))
    best = f"at step {facts['best_step']:,} of {facts['step']:,}" if before else ""
    fields = {
        "metrics": metrics or "none: nothing is held out",
        "before": f"{before} (the base, before the first step)" if before else "",
        "best": best,
        "time": f"{format_duration(facts['seconds'])} of training" if "seconds" in facts else "",
        "report": str(result.folder / PAGE),
    }
    print_fields(fields, out)
    if alarm := facts.get("alarm"):
        warn(f"stopped by an alarm: {alarm}")
    print_alias_kept(result)
