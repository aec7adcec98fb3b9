"""Numbers and durations as text for people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def format_duration(seconds: float) -> str:
    """Seconds in words: '42 s', '3 min 10 s', '2 h 5 min', '1 d 4 h'; '?' if not known."""
    if not math.isfinite(seconds):
        return "?"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for large, small, size, part in (
        ("d", "h", 86_400, 3_600),
        ("h", "min", 3_600, 60),
        ("min", "s", 60, 1),
    ):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {large} {rest} {small}" if rest else f"{whole // size} {large}"
    return f"{whole} s"


def format_value(value: Any) -> str:
    """A value as text: whole numbers in groups of three, fractions to four digits."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float):
        return str(value)
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else f"{value:g}"
    if value and not 1e-4 <= abs(value) < 1e15:
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def flatten_values(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Values of nested mappings by dotted names, formatted; empty ones are left out."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= flatten_values(value, f"{name}.")
        elif isinstance(value, list | tuple):
            flat[name] = ", ".join(format_value(item) for item in value)
        elif value is not None and value != "":
            flat[name] = format_value(value)
    return flat
