"""From a recipe to a trained model in the workspace.

result = tune(make_recipe({"task": "classification", "data": "tickets.jsonl"}), workspace)
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moli.models.weights.json_files import write_json
from moli.records.errors import InputError, MoliError
from moli.records.training import COMPLETE, RunEnded, RunStarted
from moli.training.listeners import Listener
from moli.training.listeners.event_log import EVENTS
from moli.training.listeners.run_listeners import failure_reported, run_listeners
from moli.training.loop.checkpoint import remove_checkpoints
from moli.training.recipes.recipe import Recipe, make_recipe
from moli.training.recipes.run_folder import (
    ESTIMATE,
    REQUESTED,
    check_command,
    disk_errors,
    existing_run_folder,
    lock_run,
    make_run_folder,
)
from moli.training.runs import read_run
from moli.training.setup.feedback import with_feedback
from moli.training.trained.names import with_named_base
from moli.workspace import Workspace
from moli.workspace.datasets.folders import is_pattern
from moli.workspace.paths import (
    PLACES,
    absolute_values,
    located_values,
    placed_values,
    relative_values,
)

if TYPE_CHECKING:
    from moli.training.loop.world import World
    from moli.training.setup.prepared import PreparedRun
    from moli.training.trained.comparison import HeldOutResult
    from moli.workspace.content import StoredModel


_CLEAR_GAIN = 0.01  # of a score, as a share of it


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of a training run.

    Attributes:
        run: id of the run.
        status: "finished", "stopped_early" or "interrupted".
        model: name of the model in the workspace, such as `support@3f9c1a2b`; empty if interrupted.
        facts: metrics, rates, peak memory, the packing check and so on; `alias_kept` is the reason
            why the recipe's alias was not pointed at the model, if it was not.
    """

    run: str
    folder: Path
    status: str
    model: str
    facts: dict[str, Any]


def tune(
    recipe: Recipe,
    workspace: Workspace,
    *,
    listeners: Sequence[Listener] = (),
    estimate: bool = False,
    force: bool = False,
) -> RunResult:
    """Train a recipe and store the result in the workspace.

    Every run writes its events and its report to its folder, and reports to the recipe's trackers.

    Args:
        listeners: receive every event of the run, after its event log, report and trackers.
        estimate: take a few steps first to estimate time and memory; they are undone.
        force: point the recipe's alias at the result even if it is worse than its base or than the
            model that the alias points at.

    Raises:
        InputError: the data or a value of the recipe cannot be used.
        ModelError: the base cannot be loaded.
    """
    from moli.training.loop.distributed import join_processes

    folder = join_processes().on_rank_zero(lambda: begin(recipe, workspace))
    try:
        return resume(folder.name, workspace, listeners=listeners, estimate=estimate, force=force)
    except (MoliError, KeyboardInterrupt):
        # Without events there is nothing to resume.
        if join_processes().rank == 0 and not (folder / EVENTS).exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise


def begin(recipe: Recipe, workspace: Workspace, run: str = "") -> Path:
    """Make the folder of a new run, which `resume` starts.

    Args:
        run: the run's id; "" for a new one.
    """
    from moli.training.trained.merged import store_merged

    workspace.check_writable()
    models, recipe = workspace.models, with_feedback(recipe, workspace)
    recipe = with_named_base(recipe, models, lambda stored: store_merged(stored, models).folder)
    check_files(recipe)
    folder = make_run_folder(workspace, run)
    values = placed_values(recipe.model_dump(mode="json"), Path.cwd())
    write_json(folder / REQUESTED, relative_values(values, workspace.root))
    return folder


def _requested_recipe(folder: Path, root: Path, changes: Mapping[str, Any]) -> Recipe:
    """The recipe of a run, with its paths as they are now; new places are written down.

    Raises:
        InputError: a new place is for a value of the recipe that is no path, or a file is gone.
    """
    path = folder / REQUESTED
    check_command(folder, "tune")
    values = absolute_values(json.loads(path.read_text(encoding="utf-8")), root)
    values = located_values(values, root)
    for key in changes:
        if key not in PLACES or not isinstance(values.get(key), str | list):
            raise InputError(
                f"'{key}' of a run cannot be changed",
                where=folder.name,
                fix=f"Only the places of {', '.join(PLACES)} can be.",
            )
    values |= placed_values(changes, Path.cwd())
    if changes:
        write_json(path, relative_values(values, root))
    recipe = make_recipe(values, where=str(path))
    check_files(recipe, folder.name)
    return recipe


def check_files(recipe: Recipe, run: str = "") -> None:
    """Check that a recipe's files are there.

    Args:
        run: the run that is to be resumed; "" for a new one.

    Raises:
        InputError: one is not.
    """
    for key in PLACES:
        place = getattr(recipe, key)
        for file in place if isinstance(place, tuple) else (place,):
            if isinstance(file, Path) and not (file.exists() or is_pattern(file)):
                advice = f"Say where it is now: moli tune --resume {run} --set {key}=PATH."
                raise InputError("no such file", str(file), advice if run else "Check the path.")


def resume(
    run: str,
    workspace: Workspace,
    *,
    listeners: Sequence[Listener] = (),
    estimate: bool = False,
    force: bool = False,
    paths: Mapping[str, Any] | None = None,
) -> RunResult:
    """Resume a run from its last checkpoint; the other options are as for `tune`.

    Args:
        paths: the path, or list of paths, at which the data, the base and so on are now, by the
            recipe's keys.

    Raises:
        NotFoundError: there is no such run.
        WorkspaceError: another process is training it, or the disk is too full.
        InputError: the data or the base has changed since, or the run is complete.
    """
    from moli.training.loop.distributed import join_processes

    folder = existing_run_folder(workspace, run)
    with ExitStack() as locks:
        join_processes().on_rank_zero(lambda: locks.enter_context(lock_run(folder)))
        if read_run(folder).status in COMPLETE:
            fix = "Start a new one to train further."
            raise InputError("the run is complete", where=run, fix=fix)
        recipe = _requested_recipe(folder, workspace.root, paths or {})
        with disk_errors(folder, "tune"):
            return _run(recipe, workspace, folder, listeners, estimate=estimate, force=force)


def _run(
    recipe: Recipe,
    workspace: Workspace,
    folder: Path,
    listeners: Sequence[Listener],
    *,
    estimate: bool,
    force: bool,
) -> RunResult:
    """Prepare the run in a folder, train it to its end, and store its model."""
    from moli.training.loop.distributed import join_processes
    from moli.training.setup.baselines import measure_baselines
    from moli.training.setup.disk import check_disk_space
    from moli.training.setup.prepared import ignore_event, prepare
    from moli.training.setup.references import prepare_reference

    world = join_processes()
    on_event = ignore_event if world.rank else run_listeners(recipe.trackers, listeners)
    prepared = prepare(recipe, folder, on_event, world)
    world.on_rank_zero(lambda: check_disk_space(prepared.loop, folder))
    facts = prepared.facts()
    if baselines := world.on_rank_zero(lambda: measure_baselines(prepared)):
        facts["baselines"] = baselines
    if expected := _estimate(prepared, folder, estimate=estimate and world.size == 1):
        facts["estimate"] = expected
    loop = prepared.loop
    resolved = prepared.resolved.recipe.model_dump(mode="json")
    step, steps = loop.progress.step, loop.schedule.steps
    on_event(RunStarted(folder.name, str(folder), resolved, facts, step, steps))
    with failure_reported(on_event, lambda: loop.progress.step):
        prepare_reference(prepared, folder, world)
        status = loop.run()
        stored = {} if status == "interrupted" else _store(prepared, workspace, world, force=force)
    facts = facts | {"model": ""} | stored | _outcome(prepared, expected)
    if "baselines" in facts and loop.average and prepared.task.hidden_size:
        frozen = loop.progress.base_metrics.get(prepared.task.metric)
        facts["baselines"] = facts["baselines"] | {"frozen encoder": frozen}
    on_event(RunEnded(status, loop.progress.step, facts))
    if status != "interrupted":
        world.on_rank_zero(lambda: remove_checkpoints(folder))
    return RunResult(folder.name, folder, status, facts["model"], facts)


def _estimate(prepared: PreparedRun, folder: Path, *, estimate: bool) -> dict[str, Any] | None:
    """The estimate of time and memory, made when the run begins; None if not requested then."""
    from moli.training.setup.estimates import estimate_cost, restored_after

    path = folder / ESTIMATE
    if not path.exists():
        if prepared.loop.progress.step or not estimate:
            return None
        with restored_after(prepared.loop):
            values = asdict(estimate_cost(prepared))
        write_json(path, values)
    saved: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return saved


def _outcome(prepared: PreparedRun, expected: dict[str, Any] | None) -> dict[str, Any]:
    """Rates, memory and the best step at the end of a run, and their ratio to the estimate."""
    from moli.training.setup.memory import peak_memory_mb

    progress = prepared.loop.progress
    seconds = max(progress.seconds, 1e-9)
    outcome: dict[str, Any] = {
        "step": progress.step,
        "best_step": progress.best_step,
        "still_improving": _is_still_improving(prepared),
        "notes": prepared.task.outcome_notes(progress.metrics, progress.base_metrics),
        "seconds": round(progress.seconds, 3),
        "examples_per_second": round(progress.examples / seconds, 2),
        "tokens_per_second": round(progress.tokens / seconds, 1),
        "peak_memory_mb": peak_memory_mb(),
    }
    if prepared.task.calibration:
        outcome["calibration"] = dict(prepared.task.calibration)
    if not expected or not progress.step:
        return outcome
    expected_seconds = expected["seconds"] * progress.step / prepared.loop.schedule.steps
    ratios = {
        "seconds": progress.seconds / max(expected_seconds, 1e-9),
        "memory": peak_memory_mb() / max(expected["memory_mb"], 1),
    }
    rounded = {name: round(ratio, 3) for name, ratio in ratios.items()}
    return outcome | {"against_estimate": rounded}


def _is_still_improving(prepared: PreparedRun) -> bool:
    """Whether the last evaluation of the last step was the best by more than a hundredth."""
    progress, steps = prepared.loop.progress, prepared.loop.schedule.steps
    if not steps or progress.best_step != steps or progress.best is None:
        return False
    return progress.gain > _CLEAR_GAIN * abs(progress.best)


def _store(
    prepared: PreparedRun, workspace: Workspace, world: World, *, force: bool
) -> dict[str, Any]:
    """Gather the trained weights from all processes, store them, and point the alias at them.

    Returns:
        The model's name and metrics, and the reason if the alias was not pointed at it.
    """
    from moli.models.hardware.probe import DTYPES
    from moli.training.setup.evaluation import calibrate
    from moli.training.setup.head import fit_head
    from moli.training.trained.comparison import HeldOutResult, hash_examples
    from moli.training.trained.store import store_model

    recipe, progress = prepared.resolved.recipe, prepared.loop.progress
    held_out = prepared.data.evaluation_examples
    # A head that several processes share is left as it was evaluated.
    may_refit = held_out and not recipe.held_out_paths and world.size == 1
    calibrated = world.call_unsharded(
        prepared.loop.loss, lambda: calibrate(prepared.task, prepared.model, held_out)
    )
    world.gather_model(prepared.model, DTYPES[str(recipe.precision)])

    def store() -> dict[str, Any]:
        task = prepared.task
        result = HeldOutResult(
            task.metric,
            calibrated or progress.metrics,
            progress.base_metrics,
            hash_examples([each.example for each in held_out]),
            base_was_candidate=prepared.loop.average is not None,
        )
        if may_refit and prepared.loop.average and progress.best_step == 0:  # now learn from all
            others = [sample for each in held_out for sample in each.samples]
            fit_head(task, prepared.model, prepared.data.samples + others, recipe.seed)
        stored = store_model(
            prepared.model,
            task,
            recipe,
            workspace,
            draft=prepared.loop.folder / "model",
            dataset_hash=prepared.data.examples.digest,
            result=result,
        )
        metrics = {"metrics": result.metrics, "base_metrics": result.base_metrics}
        return metrics | _point_alias(recipe.name, stored, result, workspace, force=force)

    return world.on_rank_zero(store)


def _point_alias(
    alias: str, stored: StoredModel, result: HeldOutResult, workspace: Workspace, *, force: bool
) -> dict[str, Any]:
    """Point an alias at a new model, unless its base or the alias's present model is better.

    Returns:
        The model's name and the alias, and the reason if the alias was not pointed at it.
    """
    from moli.training.trained.comparison import find_better_model

    if not alias:
        return {"model": stored.name}
    present = workspace.models.find(alias)
    reason = "" if force else find_better_model(result, present)
    if reason:
        return {"model": stored.name, "alias": alias, "alias_kept": reason}
    return {"model": workspace.models.point(alias, stored.hash).name, "alias": alias}
