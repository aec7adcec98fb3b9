"""A run's curves as pictures: a PNG for use anywhere, and SVGs that take a page's colors."""

from __future__ import annotations

import io
import logging
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from moli.records.training import Evaluated, Event, RunStarted, StepTaken
from moli.training.listeners.statistics import ExponentialMean, RecentRates

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colors by their names in `report.css`; an SVG gets the names in their place.
COLORS = {
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
# Figures of steps that learn from rewards, by the panel that they are drawn in.
_STEP_PANELS = {
    "Reward": ("reward", "score"),
    "Divergence from the reference (nats per answer)": ("kl",),
    "Entropy (nats per token)": ("entropy",),
    "Shares": ("clip_share", "gated_share", "uniform_share", "ended_share", "repetition"),
    "Length (tokens)": ("length",),
    "Explained variance of the value function": ("explained_variance",),
    "Gate inversions": ("gate_inversions",),
    "Largest gap between rollouts and training": ("rollout_gap_max",),
}
_MAX_LINES = 6  # in one panel, so that they can be told apart
_MAX_PANELS = 10
_MAX_POINTS = 1200  # of a line, more than a screen has room for
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.72, 0.22, 0.44, 0.36  # inches around a panel's axes
_CJK = ("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "PingFang SC",
        "Microsoft YaHei", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """Values at steps. A value that is not finite leaves a gap.

    Attributes:
        name: the label in the legend; empty for a line without one.
        style: "line", "faint" or "points".
    """

    name: str
    steps: Sequence[int]
    values: Sequence[float]
    style: str = "line"


@dataclass(frozen=True, slots=True)
class Panel:
    """A chart: lines that share their axes."""

    title: str
    lines: list[Line] = field(default_factory=list)


def make_panels(events: Sequence[Event]) -> list[Panel]:
    """The panels to draw: loss first, then evaluation metrics, then rates and the gradient norm."""
    taken = list({each.step: each for each in events if isinstance(each, StepTaken)}.values())
    evaluations = list({each.step: each for each in events if isinstance(each, Evaluated)}.values())
    panels = [_loss_panel(taken, evaluations), *_metric_panels(evaluations)]
    if any(each.metrics for each in taken):
        panels = [*_step_panels(taken), *panels]
    elif taken:
        steps = [each.step for each in taken]
        norms = [each.gradient_norm for each in taken]
        panels += [
            Panel("Learning rate", [Line("", steps, [each.learning_rate for each in taken])]),
            Panel("Tokens per second", [Line("", steps, _tokens_per_second(events))]),
            Panel("Gradient norm", _lines_with_mean(steps, norms)),
        ]
    return [panel for panel in panels if panel.lines][:_MAX_PANELS]


def _step_panels(taken: Sequence[StepTaken]) -> list[Panel]:
    """The panels of a run that learns from rewards, the reward first."""
    panels = []
    for title, names in _STEP_PANELS.items():
        lines = []
        for name in names:
            points = [(each.step, each.metrics[name]) for each in taken if name in each.metrics]
            if points:
                steps, values = zip(*points, strict=True)
                label = name.replace("_", " ") if len(names) > 1 else ""
                lines.append(Line(label, steps, values))
        panels.append(Panel(title, lines))
    return panels


def _loss_panel(taken: Sequence[StepTaken], evaluations: Sequence[Evaluated]) -> Panel:
    """The loss of each step with its running mean, and the loss on held-out examples."""
    lines = _lines_with_mean([each.step for each in taken], [each.loss for each in taken])
    held_out = [(each.step, each.metrics["loss"]) for each in evaluations if "loss" in each.metrics]
    if held_out:
        steps, values = zip(*held_out, strict=True)
        lines.append(Line("held out", steps, values, "points"))
    return Panel("Loss", lines)


def _lines_with_mean(steps: Sequence[int], values: Sequence[float]) -> list[Line]:
    """A faint line of the values, and their exponential mean over a fortieth of the run."""
    if not steps:
        return []
    mean = ExponentialMean(max(5.0, len(steps) / 40))
    smooth = [mean.add(value) for value in values]
    return [Line("each step", steps, values, "faint"), Line("mean", steps, smooth)]


def _metric_panels(evaluations: Sequence[Evaluated]) -> list[Panel]:
    """A panel of all metrics between 0 and 1, and a panel for each other metric."""
    names = dict.fromkeys(name for each in evaluations for name in each.metrics if name != "loss")
    shares, others = Panel("Evaluation"), []
    for name in names:
        points = [(each.step, each.metrics[name]) for each in evaluations if name in each.metrics]
        steps, values = zip(*points, strict=True)
        is_share = all(0 <= value <= 1 for value in values if math.isfinite(value))
        line = Line(name if is_share else "", steps, values, "points")
        if not is_share:
            others.append(Panel(f"Evaluation: {name}", [line]))
        elif len(shares.lines) < _MAX_LINES:
            shares.lines.append(line)
    return [shares, *others[: _MAX_PANELS - 5]]


def _tokens_per_second(events: Sequence[Event]) -> list[float]:
    """The rate at each step, over recent steps since the run began or was resumed."""
    rates, by_step = RecentRates(0), {}
    for event in events:
        if isinstance(event, RunStarted):
            rates = RecentRates(event.steps)
        elif isinstance(event, StepTaken):
            rates.add(event)
            by_step[event.step] = rates.tokens_per_second
    return list(by_step.values())


def render_png(panels: Sequence[Panel], title: str) -> bytes:
    """All panels in one PNG image, the first across its whole width."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = 1 + math.ceil((len(panels) - 1) / 2)
    width, height = 10.0, 0.5 + 2.7 * rows
    with chart_style():
        figure = Figure(figsize=(width, height), dpi=144)
        FigureCanvasAgg(figure)
        figure.text(_LEFT / width, 1 - 0.32 / height, title, fontsize=14, fontweight="bold")
        for number, panel in enumerate(panels):
            row, column = divmod(number + 1, 2)
            is_wide = number == 0 or (number == len(panels) - 1 and column == 0)
            left = 0.0 if is_wide else column * width / 2
            bottom = (rows - 1 - row) * 2.7
            _draw_panel(figure, panel, (left, bottom, width if is_wide else width / 2, 2.7))
        out = io.BytesIO()
        figure.savefig(out, format="png")
    return out.getvalue()


def render_svg(panel: Panel, *, width: float, height: float = 2.5) -> str:
    """One panel as an `svg` element for a page that defines `COLORS` as custom properties.

    Args:
        width, height: size in inches; an inch is 72 units of the element.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with chart_style(f"moli {panel.title}"):
        figure = Figure(figsize=(width, height))
        FigureCanvasSVG(figure)
        _draw_panel(figure, panel, (0.0, 0.0, width, height))
        out = io.StringIO()
        no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(out, format="svg", transparent=True, metadata=no_metadata)
    return _adapt_svg_to_page(out.getvalue())


def _adapt_svg_to_page(text: str) -> str:
    """An SVG file's element without metadata, ids, size and fonts, with colors by name."""
    text = text[text.index("<svg") :].strip()
    text = re.sub(r' width="[^"]*pt"| height="[^"]*pt"', "", text, count=2)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' id="[A-Za-z][\w.]*_\d+"', "", text)  # several SVGs share the page
    text = re.sub(r"font: (?:(\w+) )?([\d.]+px) [^;\"]*", r"font-weight: 0\1; font-size: \2", text)
    text = text.replace("font-weight: 0; ", "").replace("font-weight: 0", "font-weight: ")
    for name, color in COLORS.items():
        text = text.replace(color, f"var(--{name})")
    return text


@contextmanager
def chart_style(salt: str = "moli") -> Iterator[None]:
    """Use the style of these charts inside, whatever style a person has set.

    Args:
        salt: makes the ids in an SVG differ from those of other SVGs.
    """
    import matplotlib as mpl
    from matplotlib import font_manager

    # A font without a weight, or a name in a script that no font has, is no one's concern here.
    fonts = logging.getLogger("matplotlib.font_manager")
    level = fonts.level
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        fonts.setLevel(logging.ERROR)
        mpl.rcdefaults()
        mpl.rcParams.update(_style_settings(salt, set(font_manager.get_font_names())))
        try:
            yield
        finally:
            fonts.setLevel(level)


def _style_settings(salt: str, installed_fonts: set[str]) -> Any:
    """Matplotlib's settings for these charts: fonts, colors, grid lines and ids in SVGs."""
    quiet, line = COLORS["quiet"], COLORS["line"]
    return {
        "font.family": ["DejaVu Sans", *(each for each in _CJK if each in installed_fonts)],
        "font.size": 9,
        "text.color": COLORS["ink"],
        "text.parse_math": False,  # a metric's name may have a dollar sign
        "axes.facecolor": COLORS["sheet"],
        "figure.facecolor": COLORS["sheet"],
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


def _draw_panel(figure: Figure, panel: Panel, box: tuple[float, float, float, float]) -> None:
    """Draw a panel into the box (left, bottom, width, height), all in inches."""
    width, height = figure.get_size_inches()
    left, bottom = box[0] + _LEFT, box[1] + _BOTTOM
    inner = (box[2] - _LEFT - _RIGHT, box[3] - _BOTTOM - _TOP)
    axes = figure.add_axes((left / width, bottom / height, inner[0] / width, inner[1] / height))
    color = 0
    for line in panel.lines:
        line = _downsample(line)
        is_faint = line.style == "faint"
        has_markers = line.style == "points" and len(line.steps) <= 60
        color += 0 if is_faint else 1
        axes.plot(
            line.steps,
            line.values,
            color=COLORS[f"series-{max(color, 1)}"],
            alpha=0.25 if is_faint else 1.0,
            linewidth=0.8 if is_faint else 1.7,
            marker="o" if has_markers or len(line.steps) == 1 else "",
            markersize=3.6,
            solid_joinstyle="round",
            label=line.name or "_",
        )
    axes.set_title(panel.title, loc="left", fontsize=10, fontweight="bold", pad=10)
    _set_ticks(axes, panel)
    if any(line.name for line in panel.lines):
        axes.legend(
            loc="lower right", bbox_to_anchor=(1.0, 1.02), ncols=3, frameon=False, fontsize=8,
            labelcolor=COLORS["quiet"], handlelength=1.4, columnspacing=1.4, borderaxespad=0.2,
        )  # fmt: skip


def _set_ticks(axes: Axes, panel: Panel) -> None:
    """Set the limits, ticks and tick labels of both axes."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    round_steps = [1, 2, 2.5, 5, 10]
    last = max(max(line.steps) for line in panel.lines)
    axes.set_xlim(0, 1.01 * max(last, 1))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=round_steps))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=round_steps))
    limits = _y_limits(panel)
    if limits:
        axes.set_ylim(*limits)
    scientific = max(map(abs, axes.get_ylim())) < 0.01
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda y, _: _tick_label(y, scientific=scientific))
    )


def _tick_label(value: float, *, scientific: bool) -> str:
    """A number on the y axis, such as "0.25", "−1,000" or, if scientific, "2e−4"."""
    if scientific and value:
        text = re.sub(r"e-0*", "e-", f"{value:.6e}").replace(".000000", "")
        digits, _, power = text.partition("e")
        text = f"{digits.rstrip('0') if '.' in digits else digits}e{power}"
    else:
        text = f"{value:,.6f}".rstrip("0").rstrip(".")
    return text.replace("-", "−")


def _y_limits(panel: Panel) -> tuple[float, float] | None:
    """The range of all values without the odd spikes of a faint line; None without values."""
    ends: list[float] = []
    for line in panel.lines:
        finite = sorted(value for value in line.values if math.isfinite(value))
        cut = len(finite) // 100 if line.style == "faint" else 0
        ends += finite[cut : len(finite) - cut][:: max(len(finite) - 2 * cut - 1, 1)]
    if not ends:
        return None
    low, high = min(ends), max(ends)
    if panel.title in ("Learning rate", "Tokens per second"):
        low = min(low, 0.0)
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return (low if low == 0 else low - margin), high + margin


def _downsample(line: Line) -> Line:
    """The lowest and the highest value of each interval of a long line, with NaN for its gaps."""
    values = [value if math.isfinite(value) else math.nan for value in line.values]
    if len(values) <= _MAX_POINTS:
        return replace(line, values=values)
    size = math.ceil(len(values) / (_MAX_POINTS / 2))
    kept: list[int] = []
    for begin in range(0, len(values), size):
        interval = range(begin, min(begin + size, len(values)))
        gaps = [row for row in interval if math.isnan(values[row])]
        finite = [row for row in interval if not math.isnan(values[row])]
        ends = (
            {min(finite, key=values.__getitem__), max(finite, key=values.__getitem__)}
            if finite
            else set()
        )
        kept += sorted({*ends, *gaps[:1]})
    return replace(
        line, steps=[line.steps[row] for row in kept], values=[values[row] for row in kept]
    )
