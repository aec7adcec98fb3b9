"""Detection of the format that a row has, and checks of the columns that the user names."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from moli.records.errors import InputError
from moli.records.examples import MalformedRow
from moli.workspace.datasets.columns import DatasetFormat
from moli.workspace.datasets.fields import Row
from moli.workspace.datasets.formats import FORMATS

# Names of formats, each with columns that a row may omit and their placeholder values.
QuestionFormats = Mapping[str, Mapping[str, Any]]


def format_of(
    row: Mapping[str, Any], mapping: Mapping[str, str], allowed: QuestionFormats | None = None
) -> DatasetFormat | None:
    """The first format whose columns a row has; None if there is none.

    Args:
        mapping: Moli's column names to the data set's, as the user gave them.
        allowed: the only formats to consider; None considers all, with all their columns.
    """
    for candidate in FORMATS:
        if allowed is None or candidate.name in allowed:
            missing = candidate.columns.keys() - candidate.names_in(row, mapping).keys()
            if missing <= (allowed or {}).get(candidate.name, {}).keys():
                return candidate
    return None


def check_columns(
    mapping: Mapping[str, str], rows: Sequence[Row | MalformedRow], path: Path
) -> None:
    """Check that a mapping's keys are names that Moli knows and its values columns of the data.

    Args:
        path: the data set, for errors.

    Raises:
        InputError: a key is no column of any format, or no row has the column that it maps to.
    """
    names = {name for each in FORMATS for name in (*each.columns, *each.optional)}
    alternatives = {name for each in FORMATS for names in each.columns.values() for name in names}
    in_data = {name for row in rows if isinstance(row, Row) for name in row.values}
    for ours, theirs in mapping.items():
        if ours not in names | alternatives:
            near = difflib.get_close_matches(ours, names | alternatives, n=1)
            hint = (
                f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(sorted(names))}."
            )
            raise InputError(f"'{ours}' is no column that is read", where="columns", fix=hint)
        if in_data and theirs not in in_data:
            nearest = ", ".join(_by_similarity(in_data, theirs))
            raise InputError(
                f"no row has the column '{theirs}', which 'columns' names for '{ours}'",
                where=str(path),
                fix=f"There are: {nearest}.",
            )


def _by_similarity(names: Collection[str], name: str) -> list[str]:
    """Names in order of their similarity to one name, the most similar first."""

    def key(other: str) -> tuple[float, str]:
        """Sort key of a name: the most similar first, then in alphabetical order."""
        return -difflib.SequenceMatcher(None, other, name).ratio(), other

    return sorted(names, key=key)
