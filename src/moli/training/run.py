"""From a recipe to a trained model in the workspace.

result = tune(make_recipe({"task": "classification", "data": "tickets.jsonl"}), workspace)
"""

from __future__ import annotations

import json
import secrets
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moli.models.weights.json_files import write_json
from moli.records.errors import InputError, MoliError, NotFoundError
from moli.records.training import COMPLETE, Event, RunEnded, RunStarted
from moli.training.listeners.curves import FILE as EVENTS
from moli.training.loop.checkpoint import remove
from moli.training.recipes.recipe import Recipe, make_recipe
from moli.training.recipes.run_folder import ASKED, ESTIMATE
from moli.training.runs import read_run
from moli.workspace import Workspace

if TYPE_CHECKING:
    from moli.training.setup.prepared import Session

Hear = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Result:
    """A run's result.

    Attributes:
        model: its name in the workspace, such as `support@3f9c1a2b`; empty if interrupted.
        facts: metrics, rates, peak memory, proof of packing and so on.
    """

    run: str
    folder: Path
    status: str
    model: str
    facts: dict[str, Any]


def tune(
    recipe: Recipe, workspace: Workspace, *, hear: Sequence[Hear] = (), rehearse: bool = False
) -> Result:
    """Train a recipe and store the result in the workspace.

    Every run writes its events and its report to its folder, and reports to the recipe's trackers.

    Args:
        hear: each is called with every event of the run, after those.
        rehearse: take a few steps first to estimate time and memory; they are undone.

    Raises:
        InputError: the data or a value of the recipe cannot be used.
        ModelError: the base cannot be loaded.
    """
    from moli.training.loop.distributed import join

    folder = join().on_rank_zero(lambda: begin(recipe, workspace))
    try:
        return resume(folder.name, workspace, hear=hear, rehearse=rehearse)
    except MoliError:
        if join().rank == 0 and not (folder / EVENTS).exists():  # there is nothing to resume
            shutil.rmtree(folder, ignore_errors=True)
        raise


def begin(recipe: Recipe, workspace: Workspace) -> Path:
    """The folder of a new run, from which `resume` starts it."""
    run = time.strftime("%Y%m%d-%H%M%S-") + secrets.token_hex(2)
    folder = workspace.folder / "runs" / run
    folder.mkdir(parents=True)
    paths: dict[str, Any] = {
        key: value.absolute()
        for key in ("data", "held_out", "template")
        if isinstance(value := getattr(recipe, key), Path)
    }
    if recipe.base and Path(recipe.base).is_dir():
        paths["base"] = str(Path(recipe.base).absolute())
    absolute = recipe.model_copy(update=paths)
    write_json(folder / ASKED, absolute.model_dump(mode="json"))
    return folder


def resume(
    run: str, workspace: Workspace, *, hear: Sequence[Hear] = (), rehearse: bool = False
) -> Result:
    """Resume a run from its last checkpoint; `hear` and `rehearse` are as for `tune`.

    Raises:
        NotFoundError: there is no such run.
        InputError: what it learns from has changed since, or the run is complete.
    """
    folder = workspace.folder / "runs" / run
    if not run or not (folder / ASKED).is_file():
        raise NotFoundError("no such run", where=run or "run", fix="See 'moli runs'.")
    if read_run(folder).status in COMPLETE:
        raise InputError("the run is complete", where=run, fix="Start a new one to train further.")
    asked = json.loads((folder / ASKED).read_text(encoding="utf-8"))
    recipe = make_recipe(asked, where=str(folder / ASKED))
    return _run(recipe, workspace, folder, hear, rehearse=rehearse)


def _run(
    recipe: Recipe, workspace: Workspace, folder: Path, hear: Sequence[Hear], *, rehearse: bool
) -> Result:
    from moli.training.loop.distributed import join
    from moli.training.setup.prepared import Session

    world = join()
    tell = _told(recipe, hear) if world.rank == 0 else _untold
    session = Session.open(recipe, folder, tell, world)
    estimate = _estimate(session, folder, rehearse=rehearse and world.size == 1)
    session.facts |= {"estimate": estimate} if estimate else {}
    loop = session.loop
    settled = session.settled.recipe.model_dump(mode="json")
    step, steps = loop.progress.step, loop.schedule.steps
    tell(RunStarted(folder.name, str(folder), settled, session.facts, step, steps))
    try:
        status = loop.run()
        model = session.store(workspace).name if status != "interrupted" else ""
    except BaseException as error:
        told = {"error": str(error).strip() or type(error).__name__}
        interrupted = isinstance(error, KeyboardInterrupt)
        tell(RunEnded("interrupted" if interrupted else "failed", loop.progress.step, told))
        raise
    facts = session.facts | session.outcome() | {"model": model}
    tell(RunEnded(status, loop.progress.step, facts))
    if status != "interrupted":
        world.on_rank_zero(lambda: remove(folder))
    return Result(folder.name, folder, status, model, facts)


def _told(recipe: Recipe, hear: Sequence[Hear]) -> Hear:
    """All who hear of a run: its files first."""
    from moli.training.listeners import Listeners
    from moli.training.listeners.curves import Curves
    from moli.training.listeners.report import Report
    from moli.training.listeners.trackers import make_trackers

    others: Any = hear
    return Listeners([Curves(), Report(), *make_trackers(recipe.trackers), *others])


def _untold(event: Event) -> None:
    """What the other processes do with an event, which the first one tells."""


def _estimate(session: Session, folder: Path, *, rehearse: bool) -> dict[str, Any] | None:
    """What the run was expected to take when it began; found now if it begins."""
    from moli.training.setup.estimates import rehearse as rehearsed
    from moli.training.setup.estimates import restored_after

    path = folder / ESTIMATE
    if not path.exists():
        if session.loop.progress.step or not rehearse:
            return None
        with restored_after(session.loop):
            found = asdict(rehearsed(session))
        write_json(path, found)
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return kept
