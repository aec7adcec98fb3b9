"""The runs of a workspace, read from the files in their folders."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from moli.records.errors import NotFoundError
from moli.records.training import COMPLETE
from moli.training.listeners.event_log import EVENTS
from moli.training.listeners.report import PAGE
from moli.training.recipes.run_folder import LOCK, REQUESTED, RESOLVED
from moli.workspace import Workspace
from moli.workspace.locks import find_holder

# Most of a run's events are steps; only the last step is parsed.
_STEP_PREFIX = '{"event": "step"'


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run as its files describe it.

    Attributes:
        task: what the model learns, or the algorithm if it learns from rewards.
        status: `finished`, `stopped_early`, `interrupted`, `failed`, `running`, or `killed` if it
            has no end and no process works on it.
        process: id of the process that works on it; 0 if none does.
        step, steps: optimizer steps taken, and those there will be in all.
        metrics: metrics of the best evaluation so far.
        model: name of the model in the workspace; empty until there is one.
        begun: local time in ISO format.
        report: path of the report; empty before there is one.
        facts: numbers known at its start, and at its end if it has ended.
    """

    id: str
    folder: str
    task: str
    base: str
    status: str
    step: int
    steps: int
    metrics: Mapping[str, float]
    model: str
    begun: str
    report: str
    recipe: Mapping[str, Any]
    facts: Mapping[str, Any]
    process: int = 0


def list_runs(workspace: Workspace) -> list[RunSummary]:
    """All runs of a workspace, newest first."""
    files = (workspace.folder / "runs").glob(f"*/{REQUESTED}")
    return [read_run(file.parent) for file in sorted(files, reverse=True)]


def find_run(workspace: Workspace, run: str) -> RunSummary:
    """A run by its id, or by the end of its id.

    Raises:
        NotFoundError: there is none, or there are several.
    """
    folders = [each.parent for each in (workspace.folder / "runs").glob(f"*/{REQUESTED}")]
    matches = [folder for folder in folders if folder.name == run]
    matches = matches or [folder for folder in folders if run and folder.name.endswith(run)]
    if len(matches) != 1:
        problem = f"{len(matches)} run ids end with this" if matches else "no such run"
        raise NotFoundError(problem, where=run or "run", fix="See 'moli runs'.")
    return read_run(matches[0])


def read_run(folder: Path) -> RunSummary:
    """The run in a folder."""
    requested = _read_object(folder / REQUESTED)
    recipe = _read_object(folder / RESOLVED).get("recipe") or requested
    events = list(_read_events(folder / EVENTS))
    started = _last_event(events, "started")
    ended = _last_event(events, "ended") if _has_ended(events) else {}
    best = [event for event in events if event["event"] == "evaluated" and event.get("best")]
    result = ended.get("result") or {}
    report = folder / PAGE
    status = str(ended.get("status", "killed"))
    holder = None if status in COMPLETE else find_holder(folder / LOCK)
    return RunSummary(
        id=folder.name,
        folder=str(folder),
        task=_task_of(recipe),
        base=str(recipe.get("base", "")),
        status="running" if holder else status,
        step=max((int(event.get("step", 0)) for event in events), default=0),
        steps=int(started.get("steps", 0)),
        metrics=best[-1].get("metrics", {}) if best else {},
        model=str(result.get("model", "")),
        begun=_begin_time(folder),
        report=str(report) if report.is_file() else "",
        recipe=recipe,
        facts={**(started.get("facts") or {}), **result},
        process=holder.process if holder else 0,
    )


def _task_of(recipe: Mapping[str, Any]) -> str:
    """The task of a run; the algorithm of one that learns from rewards, or "rounds" of several."""
    return str(recipe.get("task") or recipe.get("algorithm") or ("rounds" if recipe else ""))


def _has_ended(events: list[dict[str, Any]]) -> bool:
    """Whether a run has ended and was not resumed after that."""
    ends = [event["event"] for event in events if event["event"] in ("started", "ended")]
    return ends[-1:] == ["ended"]


def _last_event(events: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """The last event of a kind; empty if there is none."""
    return next((event for event in reversed(events) if event["event"] == kind), {})


def _read_events(path: Path) -> Iterator[dict[str, Any]]:
    """All events but steps, and the last step; lines that cannot be read are passed over."""
    if not path.is_file():
        return
    step = ""
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith(_STEP_PREFIX):
                step = line
            else:
                yield from _parse_event(line)
    yield from _parse_event(step)


def _parse_event(line: str) -> Iterator[dict[str, Any]]:
    """The event of a line, or nothing if the line cannot be read."""
    try:
        event = json.loads(line)
    except ValueError:
        return
    if isinstance(event, dict) and "event" in event:
        yield event


def _read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty if the file has none or cannot be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _begin_time(folder: Path) -> str:
    """The local time at which a run's folder was made, which its name begins with."""
    moment = re.match(r"\d{8}-\d{6}", folder.name)
    if moment is None:
        return ""
    return datetime.strptime(moment[0], "%Y%m%d-%H%M%S").isoformat(sep=" ")
