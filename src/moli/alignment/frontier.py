"""The frontier of runs: the reward that each has reached at each divergence from its reference."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from moli.records.errors import InputError
from moli.records.files import whole_file
from moli.records.training import StepTaken
from moli.training.listeners.charts import COLORS, chart_style
from moli.training.listeners.event_log import read_events

Point = tuple[float, float]  # divergence in nats per answer, reward

_MAX_RUNS = 6  # in one plot, so that they can be told apart


def frontier_of(folder: Path) -> list[Point]:
    """The divergence and the reward of each step of a run.

    Raises:
        InputError: the run has taken no step that learned from rewards.
    """
    points = [
        (event.metrics["kl"], event.metrics["reward"])
        for event in read_events(folder)
        if isinstance(event, StepTaken) and {"kl", "reward"} <= event.metrics.keys()
    ]
    if not points:
        raise InputError(
            "the run has learned from no reward",
            where=folder.name,
            fix="Name runs of 'moli align'; 'moli runs' lists them.",
        )
    return points


def write_frontier(runs: Mapping[str, Sequence[Point]], path: Path) -> None:
    """Draw rewards over divergences as a PNG or SVG file, by its suffix.

    Args:
        runs: points of each run, by the name that it has in the legend.

    Raises:
        InputError: there are too many runs, or the file has another suffix.
    """
    if not 1 <= len(runs) <= _MAX_RUNS or path.suffix not in (".png", ".svg"):
        raise InputError(
            f"{len(runs)} runs for {path.name}",
            where="frontier",
            fix=f"Give 1 to {_MAX_RUNS} runs, and a file that ends with .png or .svg.",
        )
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with chart_style():
        figure = Figure(figsize=(7, 4.5), dpi=144, layout="tight")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        for number, (name, points) in enumerate(runs.items(), 1):
            divergences, rewards = zip(*points, strict=True)
            color = COLORS[f"series-{number}"]
            axes.plot(divergences, rewards, "o", color=color, alpha=0.3, markersize=3)
            axes.plot(*zip(*_hull(points), strict=True), color=color, linewidth=1.7, label=name)
        axes.set_xlabel("divergence from the reference (nats per answer)")
        axes.set_ylabel("reward")
        axes.legend(loc="lower right", frameon=False)
        out = io.BytesIO()
        figure.savefig(out, format=path.suffix[1:])
    with whole_file(path) as draft:
        draft.write_bytes(out.getvalue())


def _hull(points: Sequence[Point]) -> list[Point]:
    """The points with more reward than all of less divergence, in order of divergence."""
    frontier: list[Point] = []
    for point in sorted(points, key=lambda point: (point[0], -point[1])):
        if not frontier or point[1] > frontier[-1][1]:
            frontier.append(point)
    return frontier
