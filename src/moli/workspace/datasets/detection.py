"""Detection of the format that a row has, and checks of the columns that the user names."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from moli.records.errors import InputError
from moli.records.examples import Example, MalformedRow, Preference, RatedAnswer
from moli.workspace.datasets.columns import DatasetFormat, same_name
from moli.workspace.datasets.fields import Row
from moli.workspace.datasets.formats import FORMATS, LABELLED, LABELLED_PAIRS, MULTI_LABELLED, TEXT

# Names of formats, each with columns that a row may omit and their placeholder values.
QuestionFormats = Mapping[str, Mapping[str, Any]]
Kinds = tuple[type[Example], ...]


def format_of(
    row: Mapping[str, Any],
    mapping: Mapping[str, str],
    allowed: QuestionFormats | None = None,
    kinds: Kinds = (),
) -> DatasetFormat | None:
    """The format of a row; None if it has the columns of none.

    A format that knows all mapped columns comes before the others, and so does one of a kind of
    example that the task needs.

    Args:
        mapping: Moli's column names to the data set's, as the user gave them.
        allowed: the only formats to consider; None considers all, with all their columns.
        kinds: the kinds of example that the task needs; empty for any.
    """
    formats = [each for each in FORMATS if allowed is None or each.name in allowed]
    formats.sort(key=lambda each: not mapping.keys() <= each.known_names)
    fitting = [each for each in formats if fits(each, row, mapping, allowed)]
    suitable = [each for each in fitting if not kinds or issubclass(each.kind, kinds)]
    if not suitable:
        # Rows that rate answers are no pairs of a text and another for tasks that compare answers.
        compares = bool(kinds) and all(issubclass(each, Preference | RatedAnswer) for each in kinds)
        rated = [each for each in fitting if compares and each.kind is RatedAnswer]
        return next(iter([*rated, *fitting]), None)
    if suitable[0] is TEXT and len(kinds) > 1 and not mapping:
        # A text with a label, say, or a content with a summary is not meant to be continued, unless
        # the task reads nothing else.
        has_more = fitting[0] is not TEXT
        return fitting[0] if has_more or same_name(["text"], row) else None
    # Of two texts with a label, none is meant to be left out.
    is_half = suitable[0] in (LABELLED, MULTI_LABELLED) and fitting[0] in LABELLED_PAIRS
    return fitting[0] if is_half else suitable[0]


def fits(
    candidate: DatasetFormat,
    row: Mapping[str, Any],
    mapping: Mapping[str, str],
    allowed: QuestionFormats | None = None,
) -> bool:
    """Whether a row has all columns that a format demands of it."""
    missing = candidate.columns.keys() - candidate.names_in(row, mapping).keys()
    return missing <= (allowed or {}).get(candidate.name, {}).keys()


def mapping_in(rows: Sequence[Row | MalformedRow], mapping: Mapping[str, str]) -> dict[str, str]:
    """A mapping of columns without those that no row has."""
    in_data = {name: None for row in rows if isinstance(row, Row) for name in row.values}
    return {ours: theirs for ours, theirs in mapping.items() if same_name([theirs], in_data)}


def check_columns(
    mapping: Mapping[str, str], rows: Sequence[Row | MalformedRow], path: Path, kinds: Kinds = ()
) -> None:
    """Check that a mapping's keys are names that Moli knows and its values columns of the data.

    Args:
        path: the data set, for errors.
        kinds: the kinds of example that the task needs; empty for any.

    Raises:
        InputError: a key is no column of any format, or no row has the column that it maps to.
    """
    suitable = [each for each in FORMATS if not kinds or issubclass(each.kind, kinds)]
    names = {name for each in suitable for name in (*each.columns, *each.optional)}
    known = {name for each in FORMATS for name in each.known_names}
    in_data = {name: None for row in rows if isinstance(row, Row) for name in row.values}
    for ours, theirs in mapping.items():
        if ours not in known:
            near = difflib.get_close_matches(ours, known, n=1)
            hint = (
                f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(sorted(names))}."
            )
            raise InputError(f"'{ours}' is no column that is read", where="columns", fix=hint)
        if in_data and not same_name([theirs], in_data):
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
