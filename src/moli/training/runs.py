"""What the files in their folders tell about runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from moli.records.errors import NotFoundError
from moli.training.listeners.curves import FILE
from moli.training.listeners.report import PAGE
from moli.training.recipes.run_folder import ASKED, SETTLED
from moli.workspace import Workspace

# Steps are most of a run's events, and of them only the last one is looked at.
_STEP = '{"event": "step"'


@dataclass(frozen=True, slots=True)
class Run:
    """A run, as its files describe it.

    Attributes:
        status: `finished`, `stopped_early`, `interrupted`, `failed`, or `unfinished`: still
            running, or killed.
        step, steps: optimiser steps taken, and those there will be in all.
        metrics: of the best evaluation so far.
        model: its name in the workspace; empty until there is one.
        begun: local time in ISO format.
        report: the report's path; empty before there is one.
        facts: what was known at its start, and at its end if it has ended.
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


def list_runs(workspace: Workspace) -> list[Run]:
    """All runs of a workspace, newest first."""
    folders = (workspace.folder / "runs").glob(f"*/{ASKED}")
    return [read_run(each.parent) for each in sorted(folders, reverse=True)]


def find_run(workspace: Workspace, run: str) -> Run:
    """A run by its id, or by the end of it.

    Raises:
        NotFoundError: there is none, or there are several.
    """
    found = [each for each in (workspace.folder / "runs").glob("*") if (each / ASKED).is_file()]
    named = [each for each in found if each.name == run]
    named = named or [each for each in found if run and each.name.endswith(run)]
    if len(named) != 1:
        what = f"{len(named)} run ids end with this" if named else "no such run"
        raise NotFoundError(what, where=run or "run", fix="See 'moli runs'.")
    return read_run(named[0])


def read_run(folder: Path) -> Run:
    """The run in a folder."""
    asked = _json(folder / ASKED)
    recipe = _json(folder / SETTLED).get("recipe") or asked
    events = list(_events(folder / FILE))
    started = _last(events, "started")
    ended = _last(events, "ended") if events and _newest(events) == "ended" else {}
    judged = [each for each in events if each["event"] == "evaluated" and each.get("best")]
    result = ended.get("result") or {}
    report = folder / PAGE
    return Run(
        id=folder.name,
        folder=str(folder),
        task=str(recipe.get("task", "")),
        base=str(recipe.get("base", "")),
        status=str(ended.get("status", "unfinished")),
        step=max((int(each.get("step", 0)) for each in events), default=0),
        steps=int(started.get("steps", 0)),
        metrics=judged[-1].get("metrics", {}) if judged else {},
        model=str(result.get("model", "")),
        begun=_begun(folder),
        report=str(report) if report.is_file() else "",
        recipe=recipe,
        facts={**(started.get("facts") or {}), **result},
    )


def _newest(events: list[dict[str, Any]]) -> str:
    """Which came last: the run's beginning, or its end."""
    return next((e["event"] for e in reversed(events) if e["event"] in ("started", "ended")), "")


def _last(events: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    return next((each for each in reversed(events) if each["event"] == kind), {})


def _events(path: Path) -> Iterator[dict[str, Any]]:
    """All events but steps, and the last step; what cannot be read is passed over."""
    if not path.is_file():
        return
    step = ""
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith(_STEP):
                step = line
            else:
                yield from _event(line)
    yield from _event(step)


def _event(line: str) -> Iterator[dict[str, Any]]:
    try:
        event = json.loads(line)
    except ValueError:
        return
    if isinstance(event, dict) and "event" in event:
        yield event


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _begun(folder: Path) -> str:
    """When the folder was made, which its name tells."""
    moment = re.match(r"\d{8}-\d{6}", folder.name)
    if moment is None:
        return ""
    return datetime.strptime(moment[0], "%Y%m%d-%H%M%S").isoformat(sep=" ")
