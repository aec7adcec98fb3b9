"""A picture of a risk-coverage curve, as an SVG element that a page styles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise

from moli.metrics.selective import CoveragePoint

_WIDTH, _HEIGHT = 960, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 20, 20, 50  # around the axes
_TOPS = (0.1, 0.2, 0.3, 0.5, 1.0)  # of the vertical axis


class Picture:
    """The axes of a curve, and the elements to put between them.

    Args:
        risk: the highest share of wrong answers that has to have room.
    """

    def __init__(self, risk: float) -> None:
        self._top = next(top for top in _TOPS if top >= min(risk, 1.0))

    def grid(self) -> Iterator[str]:
        """Lines and numbers at every fifth of both axes."""
        for fifths in range(6):
            risk, coverage = self._top * fifths / 5, fifths / 5
            y = self._y(risk)
            yield f'<line class="grid" {self._across(y)}/>'
            yield _text(_LEFT - 8, y + 4, "end", f"{risk:.0%}")
            yield _text(self._x(coverage), _HEIGHT - _BOTTOM + 18, "middle", f"{coverage:.0%}")

    def level(self, risk: float, label: str) -> str:
        """A line at a share of wrong answers, with its label."""
        y = self._y(risk)
        return f'<line class="target" {self._across(y)}/>{_text(_LEFT + 4, y - 5, "start", label)}'

    def curve(self, points: Sequence[CoveragePoint]) -> str:
        """A line that goes to each point level first, and then up or down."""
        positions = [(self._x(point.coverage), self._y(point.risk)) for point in points]
        corners = [f"{positions[0][0]},{positions[0][1]}"]
        for (_, level), (x, y) in pairwise(positions):
            corners += [f"{x},{level}", f"{x},{y}"]
        return f'<polyline class="curve" points="{" ".join(corners)}"/>'

    def dot(self, point: CoveragePoint, style: str, label: str) -> str:
        """A point with its label, on the side that has room."""
        x, y = self._x(point.coverage), self._y(point.risk)
        offset, anchor = (-12, "end") if point.coverage > 0.5 else (12, "start")
        text = _text(x + offset, max(y - 8, 12), anchor, label)
        return f'<circle class="{style}" cx="{x}" cy="{y}" r="6"/>{text}'

    def svg(self, parts: Sequence[str], caption: str) -> str:
        """The picture with these elements, and a caption below."""
        below = _text(self._x(0.5), _HEIGHT - 8, "middle", caption)
        name = f'role="img" aria-label="{escape(caption)}"'
        return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" {name}>{"".join(parts)}{below}</svg>'

    def _x(self, coverage: float) -> float:
        """The horizontal position of a share of the questions."""
        return round(_LEFT + coverage * (_WIDTH - _LEFT - _RIGHT), 1)

    def _y(self, risk: float) -> float:
        """The vertical position of a share of wrong answers."""
        return round(_HEIGHT - _BOTTOM - risk / self._top * (_HEIGHT - _TOP - _BOTTOM), 1)

    def _across(self, y: float) -> str:
        """The ends of a level line."""
        return f'x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"'


def _text(x: float, y: float, anchor: str, text: str) -> str:
    """A text whose start, middle or end, as the anchor says, is at a position."""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'
