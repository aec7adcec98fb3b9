"""Rows whose texts have the control tokens of a chat template, with which they were rendered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from moli.records.examples import LocatedExample
from moli.training.tasks.base.task import Task

_SHOWN = 5  # tokens
RENDERED_ADVICE = (
    "Write each turn as role and content, without them, as the model's own chat template is added; "
    "where one could pass for a turn, it is read as letters."
)


def find_rendered(task: Task, examples: Iterable[LocatedExample]) -> dict[str, list[str]]:
    """Locations of the rows that have each control token in a text, the most frequent first."""
    rows: dict[str, list[str]] = defaultdict(list)
    for located in examples:
        for token in sorted(task.control_tokens(located.example)):
            rows[token].append(located.where)
    return dict(sorted(rows.items(), key=lambda item: -len(item[1])))


def describe_rendered(rows: Mapping[str, Sequence[str]]) -> str:
    """The number of rows with control tokens, and the tokens; "" without any.

    Args:
        rows: locations of the rows that have each token.
    """
    if not rows:
        return ""
    count = len({where for locations in rows.values() for where in locations})
    counted = [f"{token} ({len(locations):,})" for token, locations in rows.items()]
    tokens = ", ".join(counted[:_SHOWN] + ["..."] * (len(counted) > _SHOWN))
    return f"rows with control tokens of a chat template in a text: {count:,} ({tokens})"
