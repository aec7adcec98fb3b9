"""A run's curves as pictures: a PNG for use anywhere, and SVGs that take a page's colours."""

from __future__ import annotations

import io
import logging
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from moli.records.training import Evaluated, Event, RunStarted, StepTaken
from moli.training.listeners.figures import ExponentialMean, Pace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours by the names that they have in `report.css`; an SVG gets the names in their place.
COLOURS = {
    "ink": "#1d1c1a",
    "quiet": "#6a665f",
    "line": "#e5e1da",
    "sheet": "#ffffff",
    "series-1": "#1d5c55",
    "series-2": "#b4541b",
    "series-3": "#3a68a6",
    "series-4": "#85508e",
    "series-5": "#7b7422",
    "series-6": "#ad3f55",
}
_LINES = 6  # that are told apart in one panel
_PANELS = 9
_POINTS = 1200  # drawn of a line, more than a screen has room for
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.72, 0.22, 0.44, 0.36  # inches around a panel's axes
_CJK = ("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "PingFang SC",
        "Microsoft YaHei", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """Values at steps. One that is not finite leaves a gap."""

    name: str
    steps: Sequence[int]
    values: Sequence[float]
    style: str = "line"  # or `faint`, `points`


@dataclass(frozen=True, slots=True)
class Panel:
    """Lines that share their axes."""

    title: str
    lines: list[Line] = field(default_factory=list)


def panels_of(events: Sequence[Event]) -> list[Panel]:
    """What there is to draw: loss first, then evaluation metrics, then how the training went."""
    taken = list({each.step: each for each in events if isinstance(each, StepTaken)}.values())
    judged = list({each.step: each for each in events if isinstance(each, Evaluated)}.values())
    panels = [_loss(taken, judged), *_metrics(judged)]
    if taken:
        steps = [each.step for each in taken]
        panels += [
            Panel("Learning rate", [Line("", steps, [each.learning_rate for each in taken])]),
            Panel("Tokens per second", [Line("", steps, _rates(events))]),
            Panel("Gradient norm", _with_mean(steps, [each.gradient_norm for each in taken])),
        ]
    return [each for each in panels if each.lines][:_PANELS]


def _loss(taken: Sequence[StepTaken], judged: Sequence[Evaluated]) -> Panel:
    lines = _with_mean([each.step for each in taken], [each.loss for each in taken])
    held_out = [(each.step, each.metrics["loss"]) for each in judged if "loss" in each.metrics]
    if held_out:
        steps, values = zip(*held_out, strict=True)
        lines.append(Line("held out", steps, values, "points"))
    return Panel("Loss", lines)


def _with_mean(steps: Sequence[int], values: Sequence[float]) -> list[Line]:
    """A restless line, faint, and its exponential mean over a fortieth of the run."""
    if not steps:
        return []
    mean = ExponentialMean(max(5.0, len(steps) / 40))
    smooth = [mean.add(each) for each in values]
    return [Line("each step", steps, values, "faint"), Line("mean", steps, smooth)]


def _metrics(judged: Sequence[Evaluated]) -> list[Panel]:
    """Metrics between 0 and 1 share a panel; each other one has its own."""
    names = dict.fromkeys(name for each in judged for name in each.metrics if name != "loss")
    shares, others = Panel("Evaluation"), []
    for name in names:
        found = [(each.step, each.metrics[name]) for each in judged if name in each.metrics]
        steps, values = zip(*found, strict=True)
        within = all(0 <= each <= 1 for each in values if math.isfinite(each))
        line = Line(name if within else "", steps, values, "points")
        if not within:
            others.append(Panel(f"Evaluation: {name}", [line]))
        elif len(shares.lines) < _LINES:
            shares.lines.append(line)
    return [shares, *others[: _PANELS - 5]]


def _rates(events: Sequence[Event]) -> list[float]:
    """Tokens per second at each step, over the steps before it in the same session."""
    pace, rates = Pace(0), {}
    for event in events:
        if isinstance(event, RunStarted):
            pace = Pace(event.steps)
        elif isinstance(event, StepTaken):
            pace.add(event)
            rates[event.step] = pace.tokens_per_second
    return list(rates.values())


def png(panels: Sequence[Panel], title: str) -> bytes:
    """All panels in one picture, the first across its whole width."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = 1 + math.ceil((len(panels) - 1) / 2)
    width, height = 10.0, 0.5 + 2.7 * rows
    with _drawing():
        whole = Figure(figsize=(width, height), dpi=144)
        FigureCanvasAgg(whole)
        whole.text(_LEFT / width, 1 - 0.32 / height, title, fontsize=14, fontweight="bold")
        for number, panel in enumerate(panels):
            row, column = divmod(number + 1, 2)
            wide = number == 0 or (number == len(panels) - 1 and column == 0)
            left = 0.0 if wide else column * width / 2
            bottom = (rows - 1 - row) * 2.7
            _draw(whole, panel, (left, bottom, width if wide else width / 2, 2.7))
        out = io.BytesIO()
        whole.savefig(out, format="png")
    return out.getvalue()


def svg(panel: Panel, *, width: float, height: float = 2.5) -> str:
    """One panel as an `svg` element for a page that defines `COLOURS` as custom properties.

    `width` and `height` are in inches, of 72 units of the element each.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with _drawing(f"moli {panel.title}"):
        whole = Figure(figsize=(width, height))
        FigureCanvasSVG(whole)
        _draw(whole, panel, (0.0, 0.0, width, height))
        out = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        whole.savefig(out, format="svg", transparent=True, metadata=nothing)
    return _for_page(out.getvalue())


def _for_page(drawn: str) -> str:
    """An SVG file's element without what names another place, a size, a font or a colour."""
    drawn = drawn[drawn.index("<svg") :].strip()
    drawn = re.sub(r' width="[^"]*pt"| height="[^"]*pt"', "", drawn, count=2)
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r' id="[A-Za-z][\w.]*_\d+"', "", drawn)  # several SVGs share the page
    drawn = re.sub(
        r"font: (?:(\w+) )?([\d.]+px) [^;\"]*", r"font-weight: 0\1; font-size: \2", drawn
    )
    drawn = drawn.replace("font-weight: 0; ", "").replace("font-weight: 0", "font-weight: ")
    for name, colour in COLOURS.items():
        drawn = drawn.replace(colour, f"var(--{name})")
    return drawn


@contextmanager
def _drawing(salt: str = "moli") -> Iterator[None]:
    """matplotlib with the settings of these pictures, whatever a person has set."""
    import matplotlib as mpl
    from matplotlib import font_manager

    # A font without a weight, or a name in a script that no font has, is no one's concern here.
    fonts = logging.getLogger("matplotlib.font_manager")
    level = fonts.level
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        fonts.setLevel(logging.ERROR)
        mpl.rcdefaults()
        mpl.rcParams.update(_settings(salt, set(font_manager.get_font_names())))
        try:
            yield
        finally:
            fonts.setLevel(level)


def _settings(salt: str, installed: set[str]) -> Any:
    quiet, line = COLOURS["quiet"], COLOURS["line"]
    return {
        "font.family": ["DejaVu Sans", *(each for each in _CJK if each in installed)],
        "font.size": 9,
        "text.color": COLOURS["ink"],
        "text.parse_math": False,  # a metric's name may have a dollar sign
        "axes.facecolor": COLOURS["sheet"],
        "figure.facecolor": COLOURS["sheet"],
        "axes.edgecolor": line,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "axes.unicode_minus": True,
        "axes.formatter.use_mathtext": False,
        "grid.color": line,
        "grid.linewidth": 0.8,
        "xtick.color": line,
        "ytick.color": line,
        "xtick.labelcolor": quiet,
        "ytick.labelcolor": quiet,
        "ytick.major.size": 0,
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
    }


def _draw(whole: Figure, panel: Panel, place: tuple[float, float, float, float]) -> None:
    """Draw a panel at (left, bottom, width, height), all in inches."""
    width, height = whole.get_size_inches()
    left, bottom = place[0] + _LEFT, place[1] + _BOTTOM
    inner = (place[2] - _LEFT - _RIGHT, place[3] - _BOTTOM - _TOP)
    axes = whole.add_axes((left / width, bottom / height, inner[0] / width, inner[1] / height))
    colour = 0
    for line in panel.lines:
        steps, values = _thinned(line.steps, line.values)
        faint = line.style == "faint"
        points = line.style == "points" and len(steps) <= 60
        colour += 0 if faint else 1
        axes.plot(
            steps,
            values,
            color=COLOURS[f"series-{max(colour, 1)}"],
            alpha=0.25 if faint else 1.0,
            linewidth=0.8 if faint else 1.7,
            marker="o" if points or len(steps) == 1 else "",
            markersize=3.6,
            solid_joinstyle="round",
            label=line.name or "_",
        )
    axes.set_title(panel.title, loc="left", fontsize=10, fontweight="bold", pad=10)
    _set_ticks(axes, panel)
    if any(line.name for line in panel.lines):
        axes.legend(
            loc="lower right", bbox_to_anchor=(1.0, 1.02), ncols=3, frameon=False, fontsize=8,
            labelcolor=COLOURS["quiet"], handlelength=1.4, columnspacing=1.4, borderaxespad=0.2,
        )  # fmt: skip


def _set_ticks(axes: Axes, panel: Panel) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    round_steps = [1, 2, 2.5, 5, 10]
    last = max(max(line.steps) for line in panel.lines)
    axes.set_xlim(0, 1.01 * max(last, 1))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=round_steps))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=round_steps))
    limits = _limits(panel)
    if limits:
        axes.set_ylim(*limits)
    small = max(map(abs, axes.get_ylim())) < 0.01
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: _tick(y, small=small)))


def _tick(value: float, *, small: bool) -> str:
    if small and value:
        text = re.sub(r"e-0*", "e-", f"{value:.6e}").replace(".000000", "")
        digits, _, power = text.partition("e")
        text = f"{digits.rstrip('0') if '.' in digits else digits}e{power}"
    else:
        text = f"{value:,.6f}".rstrip("0").rstrip(".")
    return text.replace("-", "−")


def _limits(panel: Panel) -> tuple[float, float] | None:
    """From the lowest to the highest, but for the odd spikes of a faint line."""
    ends: list[float] = []
    for line in panel.lines:
        finite = sorted(each for each in line.values if math.isfinite(each))
        cut = len(finite) // 100 if line.style == "faint" else 0
        ends += finite[cut : len(finite) - cut][:: max(len(finite) - 2 * cut - 1, 1)]
    if not ends:
        return None
    low, high = min(ends), max(ends)
    if panel.title in ("Learning rate", "Tokens per second"):
        low = min(low, 0.0)
    room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return (low if low == 0 else low - room), high + room


def _thinned(
    steps: Sequence[int], values: Sequence[float]
) -> tuple[Sequence[int], Sequence[float]]:
    """Of a long line, the lowest and the highest of each stretch, in their order."""
    values = [each if math.isfinite(each) else math.nan for each in values]
    if len(values) <= _POINTS:
        return steps, values
    size = math.ceil(len(values) / (_POINTS / 2))
    kept: list[int] = []
    for begin in range(0, len(values), size):
        stretch = range(begin, min(begin + size, len(values)))
        broken = [row for row in stretch if math.isnan(values[row])]
        finite = [row for row in stretch if not math.isnan(values[row])]
        ends = (
            {min(finite, key=values.__getitem__), max(finite, key=values.__getitem__)}
            if finite
            else set()
        )
        kept += sorted({*ends, *broken[:1]})
    return [steps[row] for row in kept], [values[row] for row in kept]
