"""A report of a run: `report.html`, a self-contained page, and `curves.png`.

The calibration of a reward model is on the page and in `calibration.json`.
"""

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
from moli.records.files import whole_file
from moli.records.training import Evaluated, Event, RunEnded, RunStarted, StepTaken
from moli.training.listeners.charts import Panel, make_panels, render_png, render_svg
from moli.training.listeners.event_log import read_events
from moli.training.listeners.formatting import flatten_values, format_duration, format_value
from moli.training.listeners.statistics import ExponentialMean

PAGE, PICTURE = "report.html", "curves.png"
CALIBRATION = "calibration.json"  # of a reward model
STATUS = {
    "running": "Running",
    "finished": "Finished",
    "stopped_early": "Stopped early",
    "interrupted": "Interrupted",
    "failed": "Failed",
}
_APART = ("calibration", "sample_answers")  # parts of a result with a place of their own
_MAX_EVALUATIONS = 60  # shown; of more, some evenly spread, the best and the last
_PAUSE = 19.0  # times that a report took, before another is written
# Nothing is fetched, whatever text the page holds.
_CONTENT_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


class Report:
    """Writes the report on every evaluation and at the end. `EventLog` must get events first.

    It takes at most a twentieth of a run's time: if evaluations follow one another too fast for
    that, some go unreported until the next.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._folder: Path | None = None
        self._due_at = -math.inf

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._folder, self._due_at = Path(event.folder), -math.inf
        elif self._folder is not None and (
            isinstance(event, RunEnded)
            or (isinstance(event, Evaluated) and self._clock() >= self._due_at)
        ):
            begun = self._clock()
            write_report(self._folder)
            self._due_at = self._clock() + _PAUSE * (self._clock() - begun)


@dataclass(frozen=True, slots=True)
class _RunFiles:
    """The content of a run's files.

    Attributes:
        recipe: the text of `recipe.yaml`; empty if there is none.
        environment: the content of `environment.json`.
        warnings: problems with the files.
    """

    events: Sequence[Event]
    recipe: str
    environment: Mapping[str, Any]
    warnings: Sequence[str]

    @property
    def started(self) -> RunStarted | None:
        """The latest start of the run; None if its events have none."""
        return next((each for each in reversed(self.events) if isinstance(each, RunStarted)), None)

    @property
    def steps(self) -> list[StepTaken]:
        return [each for each in self.events if isinstance(each, StepTaken)]

    @property
    def evaluations(self) -> list[Evaluated]:
        """Evaluations, the last one at each step."""
        return list({e.step: e for e in self.events if isinstance(e, Evaluated)}.values())

    @property
    def ended(self) -> RunEnded | None:
        """The run's end; None if it has not ended, or was resumed after that."""
        last = [each for each in self.events if isinstance(each, RunStarted | RunEnded)][-1:]
        return last[0] if last and isinstance(last[0], RunEnded) else None

    @property
    def status(self) -> str:
        """The status at the run's end, or "running"."""
        return self.ended.status if self.ended else "running"

    @property
    def best(self) -> Evaluated | None:
        """The best evaluation; None if there was no evaluation."""
        return next((each for each in reversed(self.evaluations) if each.best), None)


def write_report(folder: Path) -> Path:
    """Write the report of the run in `folder` from its files, and return the page's path.

    Raises:
        InputError: the events cannot be read.
        OSError: the folder cannot be written to.
    """
    run = _read_files(folder)
    panels = make_panels(run.events) if find_spec("matplotlib") else []
    name = run.started.run if run.started else folder.name
    if panels:
        _write(folder / PICTURE, render_png(panels, name))
    if run.ended and (calibration := run.ended.result.get("calibration")):
        _write(folder / CALIBRATION, json.dumps(calibration, indent=2).encode())
    page = _page_html(name, run, panels)
    _write(folder / PAGE, page.encode("utf-8", "replace"))
    return folder / PAGE


def _read_files(folder: Path) -> _RunFiles:
    """Read a run's events, recipe and environment, with warnings about them."""
    warnings = []
    if find_spec("matplotlib") is None:
        warnings.append("The curves are not drawn. Run: pip install matplotlib")
    try:
        environment = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        environment = {}
    except ValueError as error:
        environment = {}
        warnings.append(f"environment.json cannot be read ({error}).")
    try:
        recipe = (folder / "recipe.yaml").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        recipe = ""
    if not isinstance(environment, Mapping):
        environment = {"environment": environment}
    return _RunFiles(read_events(folder), recipe, environment, warnings)


def _write(path: Path, content: bytes) -> None:
    """Write a file as a whole, so that nobody sees half of it."""
    with whole_file(path) as draft:
        draft.write_bytes(content)


def _page_html(name: str, run: _RunFiles, panels: Sequence[Panel]) -> str:
    """The whole page: title, summary, warnings, curves, evaluations, recipe and environment."""
    style = (files("moli.training.listeners") / "report.css").read_text(encoding="utf-8")
    status = STATUS[run.status]
    result = run.ended.result if run.ended else {}
    pill = f'<span class="status {run.status}">{escape(status)}</span>'
    parts = [
        f"<header><h1>{escape(name)}</h1>{pill}</header>",
        f'<p class="quiet">{escape(_subtitle(run))}</p>',
        _summary_html(run),
        _warnings_html(run),
        _curves_html(panels),
        _evaluations_html(run),
        _calibration_html(result),
        _samples_html(result.get("sample_answers") or ()),
        _columns_html(
            _table_html("Result", {k: v for k, v in result.items() if k not in _APART}),
            _table_html("Facts", run.started.facts if run.started else {}),
        ),
        _columns_html(_recipe_html(run), _table_html("Environment", run.environment)),
        f"<footer>Written by Moli on {time.strftime('%Y-%m-%d at %H:%M')}.</footer>",
    ]
    body = "\n".join(part for part in parts if part)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_CONTENT_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(name)}: {escape(status.lower())}</title>\n<style>\n{style}</style>\n"
        f"</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _subtitle(run: _RunFiles) -> str:
    """The task or algorithm, the method and the base in a line."""
    recipe = run.started.recipe if run.started else {}
    known = [str(recipe[key]) for key in ("task", "algorithm", "method", "base") if recipe.get(key)]
    if run.started is None:
        return "No events of this run have been recorded."
    return ", ".join(known) or run.started.folder


def _summary_html(run: _RunFiles) -> str:
    """The few numbers that one looks for first."""
    if run.started is None or not (run.steps or run.evaluations):
        return ""
    values = _training_numbers(run.steps, run.started.steps) | _evaluation_numbers(run)
    cells = (
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in values.items()
    )
    return f'<dl class="figures">{"".join(cells)}</dl>'


def _training_numbers(steps: Sequence[StepTaken], total: int) -> dict[str, str]:
    """The loss and the rates of a run's steps by what they are; empty before the first."""
    if not steps:
        return {}
    mean = ExponentialMean()
    for step in steps:
        mean.add(step.loss)
    last = steps[-1]
    values = {
        "Step": f"{last.step:,} of {total:,}",
        "Training loss, mean": format_value(mean.value),
        "Time in training": format_duration(last.seconds),
    }
    if last.seconds > 0:
        values["Tokens per second"] = f"{last.tokens / last.seconds:,.0f}"
        values["Examples per second"] = format_value(round(last.examples / last.seconds, 1))
    return values


def _evaluation_numbers(run: _RunFiles) -> dict[str, str]:
    """Results on the held-out examples by what was evaluated: baselines, the base, the best."""
    values = {}
    if run.started:
        result = run.ended.result if run.ended else run.started.facts
        for name, value in (result.get("baselines") or {}).items():
            values[f"Baseline: {name}"] = format_value(value)
    if run.evaluations and run.evaluations[0].step == 0:
        before = run.evaluations[0].metrics
        main = main_metric(before)
        name = "held-out loss" if main == "loss" else main
        values[f"{name.capitalize()} before the first step"] = format_value(before[main])
    if run.best:
        where = f"at step {run.best.step:,}"
        names = dict.fromkeys((main_metric(run.best.metrics), "loss"))
        values |= {
            f"Best {'held-out loss' if name == 'loss' else name}, {where}": format_value(
                run.best.metrics[name]
            )
            for name in names
            if name in run.best.metrics
        }
    return values


def _warnings_html(run: _RunFiles) -> str:
    warnings = list(run.warnings)
    if alarm := run.ended.result.get("alarm") if run.ended else "":
        warnings.insert(0, f"An alarm stopped the run: {alarm}.")
    infinite = [step.step for step in run.steps if not math.isfinite(step.loss)]
    if infinite:
        warnings.insert(
            0,
            f"The loss was not a finite number at {len(infinite):,} of {len(run.steps):,} steps, "
            f"first at step {infinite[0]:,}.",
        )
    items = "".join(f"<li>{escape(warning)}</li>" for warning in warnings)
    return f'<ul class="warnings">{items}</ul>' if items else ""


def _curves_html(panels: Sequence[Panel]) -> str:
    figures = []
    for number, panel in enumerate(panels):
        is_wide = number == 0 or (number == len(panels) - 1 and number % 2)
        svg = render_svg(panel, width=9.6 if is_wide else 4.7)
        label = f'<svg role="img" aria-label="{escape(panel.title)}"'
        svg = svg.replace("<svg", label, 1)
        figures.append(f'<figure class="{"wide" if is_wide else "half"}">{svg}</figure>')
    return f'<h2>Curves</h2>\n<div class="curves">{"".join(figures)}</div>' if figures else ""


def _evaluations_html(run: _RunFiles) -> str:
    evaluations, best = run.evaluations, run.best
    if not evaluations:
        return ""
    every = math.ceil(len(evaluations) / _MAX_EVALUATIONS)
    shown = [
        evaluation
        for number, evaluation in enumerate(evaluations, 1)
        if number % every == 0 or evaluation in (best, evaluations[-1])
    ]
    names = list(dict.fromkeys(name for each in evaluations for name in each.metrics))
    heads = "".join(f"<th>{escape(name)}</th>" for name in ("step", *names, "took", ""))
    rows = "".join(_evaluation_row(each, names, is_best=each is best) for each in shown)
    left = len(evaluations) - len(shown)
    more = f'<p class="quiet">{left:,} more are in events.jsonl.</p>' if left else ""
    return (
        f'<h2>Evaluations</h2>\n<div class="sheet evaluations"><table><thead><tr>{heads}</tr>'
        f"</thead><tbody>{rows}</tbody></table></div>{more}"
    )


def _evaluation_row(evaluation: Evaluated, names: Sequence[str], *, is_best: bool) -> str:
    """A row of the table of evaluations, with an empty cell for a metric that it lacks."""
    metrics = evaluation.metrics
    values = [_format_metric(metrics[name]) if name in metrics else "" for name in names]
    step, took = format_value(evaluation.step), format_duration(evaluation.seconds)
    cells = (step, *values, took, "best" if is_best else "")
    row = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return f'<tr class="{"best" if is_best else "other"}">{row}</tr>'


def _format_metric(value: float) -> str:
    """A metric as text, with trailing zeros so that a column of metrics is even."""
    return f"{value:#.4g}" if 1e-3 <= abs(value) < 1000 else format_value(value)


def _calibration_html(result: Mapping[str, Any]) -> str:
    """The verdict on a reward model, with the figures that it is based on."""
    report = dict(result.get("calibration") or {})
    if not report:
        return ""
    problems = "".join(f"<li>{escape(each)}</li>" for each in report.pop("problems", ()))
    verdict = "may be used as a reward"
    if not report.pop("may_be_used_as_reward", False):
        verdict = "should not be used as a reward:"
    reasons = f'<ul class="warnings">{problems}</ul>' if problems else ""
    return f"<h2>Calibration</h2>\n<p>The model {verdict}</p>{reasons}{_table_html('', report)}"


def _samples_html(samples: Sequence[Mapping[str, Any]]) -> str:
    """Answers to the same prompts before and after training, side by side."""
    if not samples:
        return ""
    names = list(samples[0])
    rows = []
    for sample in samples:
        cells = "".join(f"<td>{escape(str(sample.get(name, '')))}</td>" for name in names)
        rows.append(f"<tr>{cells}</tr>")
    heads = "".join(f"<th>{escape(name)}</th>" for name in names)
    return (
        '<h2>Samples</h2>\n<div class="sheet samples"><table><thead><tr>'
        f"{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _recipe_html(run: _RunFiles) -> str:
    if run.recipe:
        return f'<h2>Recipe</h2>\n<div class="sheet"><pre>{escape(run.recipe.strip())}</pre></div>'
    return _table_html("Recipe", run.started.recipe if run.started else {})


def _table_html(title: str, values: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><th>{escape(name.replace('_', ' '))}</th><td>{escape(value)}</td></tr>"
        for name, value in flatten_values(values).items()
    )
    head = f"<h2>{title}</h2>\n" if title else ""
    return f'{head}<div class="sheet"><table>{rows}</table></div>' if rows else ""


def _columns_html(left: str, right: str) -> str:
    """Two parts side by side; one alone if the other is empty."""
    if not (left and right):
        return left + right
    return f'<div class="columns"><section>{left}</section><section>{right}</section></div>'
