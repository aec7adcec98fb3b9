"""A report of a run: `report.html`, a self-contained page, and `curves.png`."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from moli.metrics.main import main_metric
from moli.records.training import Evaluated, Event, RunEnded, RunStarted, StepTaken
from moli.training.listeners.charts import Panel, panels_of, png, svg
from moli.training.listeners.curves import read_events
from moli.training.listeners.figures import ExponentialMean, duration, figure, flat

PAGE, PICTURE = "report.html", "curves.png"
STATUS = {
    "running": "Running",
    "finished": "Finished",
    "stopped_early": "Stopped early",
    "interrupted": "Interrupted",
    "failed": "Failed",
}
_ROWS = 60  # of evaluations shown; of more, those evenly spread, the best and the last
_SHARE = 19.0  # of the time that a report took, before another is written
# Nothing is fetched, whatever the page is made to hold.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


class Report:
    """Writes the report on every evaluation and at the end. `Curves` must get events first.

    It takes at most a twentieth of a run's time: if evaluations follow one another too fast for
    that, some go unreported until the next.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._folder: Path | None = None
        self._due = -math.inf

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._folder, self._due = Path(event.folder), -math.inf
        elif self._folder is not None and (
            isinstance(event, RunEnded)
            or (isinstance(event, Evaluated) and self._clock() >= self._due)
        ):
            begun = self._clock()
            write_report(self._folder)
            self._due = self._clock() + _SHARE * (self._clock() - begun)


@dataclass(frozen=True, slots=True)
class _Run:
    """What the files of a run tell."""

    events: Sequence[Event]
    recipe: str
    environment: Mapping[str, Any]
    notes: Sequence[str]

    @property
    def started(self) -> RunStarted | None:
        return next((each for each in reversed(self.events) if isinstance(each, RunStarted)), None)

    @property
    def taken(self) -> list[StepTaken]:
        return [each for each in self.events if isinstance(each, StepTaken)]

    @property
    def judged(self) -> list[Evaluated]:
        """Evaluations, the last one at each step."""
        return list({e.step: e for e in self.events if isinstance(e, Evaluated)}.values())

    @property
    def ended(self) -> RunEnded | None:
        """Its end, unless it was taken up again after that."""
        last = [each for each in self.events if isinstance(each, RunStarted | RunEnded)][-1:]
        return last[0] if last and isinstance(last[0], RunEnded) else None

    @property
    def status(self) -> str:
        return self.ended.status if self.ended else "running"

    @property
    def best(self) -> Evaluated | None:
        return next((each for each in reversed(self.judged) if each.best), None)


def write_report(folder: Path) -> Path:
    """Write the report of the run in `folder` from what is there; gives the page's path.

    Raises:
        InputError: the events cannot be read.
        OSError: the folder cannot be written to.
    """
    run = _read(folder)
    panels = panels_of(run.events) if find_spec("matplotlib") else []
    name = run.started.run if run.started else folder.name
    if panels:
        _replace(folder / PICTURE, png(panels, name))
    _replace(folder / PAGE, _page(name, run, panels).encode("utf-8", "replace"))
    return folder / PAGE


def _read(folder: Path) -> _Run:
    notes = []
    if find_spec("matplotlib") is None:
        notes.append("The curves are not drawn. Run: pip install matplotlib")
    try:
        environment = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        environment = {}
    except ValueError as error:
        environment = {}
        notes.append(f"environment.json cannot be read ({error}).")
    try:
        recipe = (folder / "recipe.yaml").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        recipe = ""
    if not isinstance(environment, Mapping):
        environment = {"environment": environment}
    return _Run(read_events(folder), recipe, environment, notes)


def _replace(path: Path, content: bytes) -> None:
    """Write a file as a whole, so that nobody sees half of it."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)


def _page(name: str, run: _Run, panels: Sequence[Panel]) -> str:
    style = (files("moli.training.listeners") / "report.css").read_text(encoding="utf-8")
    status = STATUS[run.status]
    pill = f'<span class="status {run.status}">{escape(status)}</span>'
    parts = [
        f"<header><h1>{escape(name)}</h1>{pill}</header>",
        f'<p class="quiet">{escape(_subtitle(run))}</p>',
        _figures(run),
        _warnings(run),
        _curves(panels),
        _evaluations(run),
        _both(
            _table("Result", run.ended.result if run.ended else {}),
            _table("Facts", run.started.facts if run.started else {}),
        ),
        _both(_recipe(run), _table("Environment", run.environment)),
        f"<footer>Written by Moli on {time.strftime('%Y-%m-%d at %H:%M')}.</footer>",
    ]
    body = "\n".join(part for part in parts if part)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(name)}: {escape(status.lower())}</title>\n<style>\n{style}</style>\n"
        f"</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _subtitle(run: _Run) -> str:
    """What was trained, in a line."""
    recipe = run.started.recipe if run.started else {}
    known = [str(recipe[key]) for key in ("task", "method", "base") if recipe.get(key)]
    if run.started is None:
        return "No events of this run have been recorded."
    return ", ".join(known) or run.started.folder


def _figures(run: _Run) -> str:
    """The few figures that one looks for first."""
    if run.started is None or not run.taken:
        return ""
    mean = ExponentialMean()
    for each in run.taken:
        mean.add(each.loss)
    last = run.taken[-1]
    shown = {
        "Step": f"{last.step:,} of {run.started.steps:,}",
        "Training loss, mean": figure(mean.value),
    }
    if run.best:
        where = f"at step {run.best.step:,}"
        names = dict.fromkeys((main_metric(run.best.metrics), "loss"))
        shown |= {
            f"Best {'held-out loss' if name == 'loss' else name}, {where}": figure(
                run.best.metrics[name]
            )
            for name in names
            if name in run.best.metrics
        }
    shown["Time in training"] = duration(last.seconds)
    if last.seconds > 0:
        shown["Tokens per second"] = f"{last.tokens / last.seconds:,.0f}"
        shown["Examples per second"] = figure(round(last.examples / last.seconds, 1))
    cells = (
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in shown.items()
    )
    return f'<dl class="figures">{"".join(cells)}</dl>'


def _warnings(run: _Run) -> str:
    told: list[str] = []
    broken = [each.step for each in run.taken if not math.isfinite(each.loss)]
    if broken:
        told.append(
            f"The loss was not a finite number at {len(broken):,} of {len(run.taken):,} steps, "
            f"first at step {broken[0]:,}."
        )
    items = "".join(f"<li>{escape(each)}</li>" for each in (*told, *run.notes))
    return f'<ul class="warnings">{items}</ul>' if items else ""


def _curves(panels: Sequence[Panel]) -> str:
    drawn = []
    for number, panel in enumerate(panels):
        wide = number == 0 or (number == len(panels) - 1 and number % 2)
        shape = svg(panel, width=9.6 if wide else 4.7)
        label = f'<svg role="img" aria-label="{escape(panel.title)}"'
        shape = shape.replace("<svg", label, 1)
        drawn.append(f'<figure class="{"wide" if wide else "half"}">{shape}</figure>')
    return f'<h2>Curves</h2>\n<div class="curves">{"".join(drawn)}</div>' if drawn else ""


def _evaluations(run: _Run) -> str:
    judged = run.judged
    if not judged:
        return ""
    every = math.ceil(len(judged) / _ROWS)
    shown = [e for n, e in enumerate(judged, 1) if n % every == 0 or e in (run.best, judged[-1])]
    names = list(dict.fromkeys(name for each in judged for name in each.metrics))
    heads = "".join(f"<th>{escape(each)}</th>" for each in ("step", *names, "took", ""))
    rows = []
    for each in shown:
        best = each is run.best
        values = [_aligned(each.metrics[name]) if name in each.metrics else "" for name in names]
        cells = (figure(each.step), *values, duration(each.seconds), "best" if best else "")
        row = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        rows.append(f'<tr class="{"best" if best else "other"}">{row}</tr>')
    left = len(judged) - len(shown)
    more = f'<p class="quiet">{left:,} more are in events.jsonl.</p>' if left else ""
    return (
        f'<h2>Evaluations</h2>\n<div class="sheet evaluations"><table><thead><tr>{heads}</tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table></div>{more}"
    )


def _aligned(value: float) -> str:
    """As `figure`, with the zeros that make a column of figures even."""
    return f"{value:#.4g}" if 1e-3 <= abs(value) < 1000 else figure(value)


def _recipe(run: _Run) -> str:
    if run.recipe:
        return f'<h2>Recipe</h2>\n<div class="sheet"><pre>{escape(run.recipe.strip())}</pre></div>'
    return _table("Recipe", run.started.recipe if run.started else {})


def _table(title: str, values: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><th>{escape(name.replace('_', ' '))}</th><td>{escape(value)}</td></tr>"
        for name, value in flat(values).items()
    )
    return f'<h2>{title}</h2>\n<div class="sheet"><table>{rows}</table></div>' if rows else ""


def _both(left: str, right: str) -> str:
    if not (left and right):
        return left + right
    return f'<div class="columns"><section>{left}</section><section>{right}</section></div>'
