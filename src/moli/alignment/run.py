"""From a recipe to an adapter in the workspace that has learned from rewards.

result = align(make_alignment_recipe({"prompts": "questions.jsonl", "reward": "safety"}), workspace)
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moli.alignment.prepared import PreparedAlignment, prepare
from moli.alignment.recipe import (
    AlignmentRecipe,
    make_alignment_recipe,
    read_stored_values,
    stored_values,
)
from moli.alignment.rewards.load import NameCheck, check_reward
from moli.models.weights.json_files import write_json
from moli.records.errors import InputError, MoliError
from moli.records.examples import MalformedRow
from moli.records.training import COMPLETE, Event, RunEnded, RunStarted
from moli.training.listeners import Listener
from moli.training.listeners.event_log import EVENTS
from moli.training.listeners.run_listeners import failure_reported, run_listeners
from moli.training.loop.checkpoint import remove_checkpoints
from moli.training.recipes.recipe import make_recipe
from moli.training.recipes.run_folder import (
    REQUESTED,
    check_command,
    disk_errors,
    existing_run_folder,
    lock_run,
    make_run_folder,
)
from moli.training.run import RunResult
from moli.training.runs import read_run
from moli.training.setup.memory import peak_memory_mb
from moli.training.trained.comparison import HeldOutResult
from moli.training.trained.merged import store_merged
from moli.training.trained.names import (
    check_named_chat,
    find_named,
    load_named_chat,
    with_named_base,
)
from moli.workspace import Workspace
from moli.workspace.content import StoredModel


@dataclass(frozen=True, slots=True)
class AlignmentCheck:
    """A recipe that was tried out.

    Attributes:
        facts: numbers of prompts and the like.
        metrics: figures of a trial step.
        samples: prompts of the trial step with the base's answers and their scores.
        seconds: expected duration of all steps.
        malformed: rows of the prompts that are not read.
        memory_mb: most memory held at once in the trial step, in MiB.
    """

    facts: dict[str, Any]
    metrics: dict[str, float]
    samples: list[dict[str, Any]]
    seconds: float
    malformed: tuple[MalformedRow, ...]
    memory_mb: int


def align(
    recipe: AlignmentRecipe, workspace: Workspace, *, listeners: Sequence[Listener] = ()
) -> RunResult:
    """Let a model learn from rewards by a recipe, and store the adapter in the workspace.

    Args:
        listeners: receive every event of the run, after its event log, report and trackers.

    Raises:
        InputError: the prompts, the reward or a value of the recipe cannot be used.
        ModelError: a model cannot be loaded.
    """
    folder = begin(recipe, workspace)
    try:
        return resume(folder.name, workspace, listeners=listeners)
    except (MoliError, KeyboardInterrupt):
        if not (folder / EVENTS).exists():  # there is nothing to resume
            shutil.rmtree(folder, ignore_errors=True)
        raise


def begin(recipe: AlignmentRecipe, workspace: Workspace, run: str = "") -> Path:
    """Make the folder of a new run, which `resume` starts.

    Args:
        run: the run's id; "" for a new one.
    """
    workspace.check_writable()
    check_names(recipe, workspace)
    recipe = with_whole_base(recipe, workspace)
    folder = make_run_folder(workspace, run)
    write_json(folder / REQUESTED, stored_values(recipe, workspace.root))
    return folder


def with_whole_base(recipe: AlignmentRecipe, workspace: Workspace) -> AlignmentRecipe:
    """The recipe with the folder of its base; an adapter is merged, and so is the reference."""
    models = workspace.models
    named = make_recipe({"task": "instruction", "base": recipe.base, "data": "."})
    whole = with_named_base(named, models, lambda stored: store_merged(stored, models).folder)
    return recipe.model_copy(update={"base": whole.base})


def check_names(
    recipe: AlignmentRecipe, workspace: Workspace, check_name: NameCheck | None = None
) -> None:
    """Check that all that a recipe names is there, before anything is loaded or trained.

    Args:
        check_name: checks names of reward models in another way, such as those of stages.

    Raises:
        NotFoundError: there is no such model; similar names are suggested.
        InputError: a file or a function is not there, or a model is of another kind.
        ModelError: a chat model has no files on this machine.
    """
    _check_files(recipe)
    find_named(recipe.base, workspace.models)
    for spec in (recipe.reward, recipe.held_out_reward):
        if spec is not None:
            check_reward(spec, workspace, check_name)
    if recipe.judge:
        check_named_chat(recipe.judge, workspace)


def _check_files(recipe: AlignmentRecipe) -> None:
    """Check that the files of the prompts are there.

    Raises:
        InputError: one is not.
    """
    from moli.workspace.datasets.folders import is_pattern

    paths = [recipe.prompts] if isinstance(recipe.prompts, Path) else recipe.prompts
    for path in paths:
        if not (path.exists() or is_pattern(path)):
            raise InputError("no such file", where=str(path), fix="Check the path.")


def resume(run: str, workspace: Workspace, *, listeners: Sequence[Listener] = ()) -> RunResult:
    """Resume a run from its last checkpoint.

    Raises:
        NotFoundError: there is no such run.
        WorkspaceError: another process works on it, or the disk is too full.
        InputError: the prompts, the base or the reward has changed since, or the run is complete.
    """
    folder = existing_run_folder(workspace, run)
    check_command(folder, "align")
    with lock_run(folder), disk_errors(folder, "align"):
        if read_run(folder).status in COMPLETE:
            fix = "Start a new one to train further."
            raise InputError("the run is complete", where=run, fix=fix)
        recipe = _requested_recipe(folder, workspace.root)
        _check_files(recipe)
        on_event = run_listeners(recipe.trackers, listeners)
        return _run(prepare(recipe, workspace, folder, on_event), workspace, on_event)


def _requested_recipe(folder: Path, root: Path) -> AlignmentRecipe:
    """The recipe of a run, with its paths as they are now."""
    path = folder / REQUESTED
    return make_alignment_recipe(read_stored_values(path, root), where=str(path))


def _run(
    prepared: PreparedAlignment, workspace: Workspace, on_event: Callable[[Event], None]
) -> RunResult:
    """Train a prepared run to its end, and store its adapter."""
    loop, folder = prepared.loop, prepared.loop.folder
    recipe = prepared.recipe.model_dump(mode="json")
    step, steps = loop.progress.step, loop.schedule.steps
    on_event(RunStarted(folder.name, str(folder), recipe, prepared.facts, step, steps))
    with failure_reported(on_event, lambda: loop.progress.step):
        status = loop.run()
        stored = {"model": ""} if status == "interrupted" else _store(prepared, workspace)
    facts = dict(prepared.facts) | stored | _outcome(prepared)
    on_event(RunEnded(status, loop.progress.step, facts))
    if status != "interrupted":
        remove_checkpoints(folder)
    return RunResult(folder.name, folder, status, facts["model"], facts)


def _outcome(prepared: PreparedAlignment) -> dict[str, Any]:
    """Rates, memory, the best step and the alarm at the end of a run."""
    progress = prepared.loop.progress
    seconds = max(progress.seconds, 1e-9)
    return {
        "step": progress.step,
        "best_step": progress.best_step,
        "alarm": prepared.loop.alarm,
        "metrics": progress.metrics,
        "base_metrics": progress.base_metrics,
        "seconds": round(progress.seconds, 3),
        "answers_per_second": round(progress.examples / seconds, 2),
        "tokens_per_second": round(progress.tokens / seconds, 1),
        "peak_memory_mb": peak_memory_mb(),
    }


def _store(prepared: PreparedAlignment, workspace: Workspace) -> dict[str, Any]:
    """Store the adapter, and point the alias at it unless an alarm has stopped the run.

    Returns:
        The model's name, samples of answers before and after, and the reason if the alias was not
        pointed at it.
    """
    progress, alias = prepared.loop.progress, prepared.recipe.name
    result = HeldOutResult(
        "reward", progress.metrics, progress.base_metrics, "", base_was_candidate=True
    )
    stored = prepared.policy.store(
        prepared.shared,
        workspace,
        prepared.loop.folder / "model",
        prepared.prompts.digest,
        result,
        prepared.lineage,
    )
    name = prepared.recipe.judge
    judge = load_named_chat(name, workspace) if name else None
    return prepared.compare(judge) | _point_alias(alias, stored, prepared.loop.alarm, workspace)


def _point_alias(
    alias: str, stored: StoredModel, alarm: str, workspace: Workspace
) -> dict[str, Any]:
    """The model's name, once the alias points at it, or why it was left as it was."""
    if not alias:
        return {"model": stored.name}
    if alarm:
        return {"model": stored.name, "alias": alias, "alias_kept": alarm}
    return {"model": workspace.models.point(alias, stored.hash).name, "alias": alias}


def check(recipe: AlignmentRecipe, workspace: Workspace) -> AlignmentCheck:
    """Read the prompts, load all models and take a trial step, of which nothing is kept.

    Raises:
        InputError: the prompts, the reward or a value of the recipe cannot be used.
        ModelError: a model cannot be loaded.
    """
    check_names(recipe, workspace)
    recipe = with_whole_base(recipe, workspace)
    if recipe.judge:
        load_named_chat(recipe.judge, workspace)
    with tempfile.TemporaryDirectory(prefix="moli-align-") as name:
        prepared = prepare(recipe, workspace, Path(name), lambda _: None)
        loop = prepared.loop
        experience, figures = loop.score(loop.roll_out())
        taken = loop.learn(experience, figures)
    samples = [
        {"prompt": prompt.messages[-1].content, "answer": answer.text, "score": float(reward)}
        for prompt, answer, reward in zip(
            experience.prompts, experience.answers, experience.rewards, strict=True
        )
    ]
    seconds = taken.seconds * recipe.steps
    return AlignmentCheck(
        dict(prepared.facts),
        figures,
        samples[:8],
        seconds,
        prepared.prompts.malformed,
        peak_memory_mb(),
    )
