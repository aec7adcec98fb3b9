"""Rows to examples: which format a data set has, and what is wrong with a row that lacks it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from moli.records.errors import InputError
from moli.records.examples import Example, Malformed
from moli.workspace.datasets import readers
from moli.workspace.datasets.conversations import MESSAGES, SHAREGPT, ended, messages, sharegpt
from moli.workspace.datasets.fields import Row, Unfit, Values


@dataclass(frozen=True, slots=True)
class Format:
    """A way that data sets are written.

    Attributes:
        columns: what a row must have, each with other names that it goes by.
        read: an example from a row whose columns have Moli's names; raises Unfit.
        optional: what a row may have besides.
        answered: makes of a row's columns that are only a question some that `read` can read.
    """

    name: str
    columns: Mapping[str, tuple[str, ...]]
    read: Callable[[Values], Example]
    optional: tuple[str, ...] = ()
    answered: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict

    def names(self, row: Mapping[str, Any], said: Mapping[str, str]) -> dict[str, str]:
        """For each column, the name it goes by in this row; without those that are missing.

        Args:
            said: names that the data set is said to have for Moli's.
        """
        found = {}
        for column in self.columns:
            name = next((each for each in self._names(column, said) if each in row), None)
            if name is not None:
                found[column] = name
        return found

    def example(
        self,
        row: Row,
        said: Mapping[str, str],
        usual: Mapping[str, str],
        blanks: Mapping[str, Any] | None = None,
    ) -> Example | Malformed:
        """The example that a row makes, or what keeps it from making one.

        Args:
            said: names that the data set is said to have for Moli's.
            usual: names that its columns have in other rows.
            blanks: of a row that is a question, the columns that it may lack or have empty, with
                what then stands there.
        """
        names = {**said, **self.names(row.values, said)}
        taken = {*names, *names.values(), *self.columns}
        own: Mapping[str, Any] = {
            **{name: value for name, value in row.values.items() if name not in taken},
            **{ours: row.values[name] for ours, name in names.items() if name in row.values},
        }
        if blanks is not None:
            lacking = {name: each for name, each in blanks.items() if own.get(name) in (None, "")}
            own = self.answered({**own, **lacking})
        try:
            for column in self.columns:
                if column not in own:
                    wanted = usual.get(column) or next(iter(self._names(column, said)), column)
                    raise _missing(wanted, row.values)
            return self.read(Values(own, names))
        except Unfit as unfit:
            return Malformed(row.where, unfit.what, unfit.fix)

    def _names(self, column: str, said: Mapping[str, str]) -> list[str]:
        """What a column may go by: what is said of it, or else any name that nothing else has."""
        known = (column, *self.columns[column])
        return [said[name] for name in known if name in said] or [
            name for name in known if name not in said.values()
        ]


# The most particular first: a row is read as the first format whose columns it has.
FORMATS = (
    Format("messages", {"messages": ()}, messages, ("system", "tools"), partial(ended, *MESSAGES)),
    Format(
        "sharegpt",
        {"conversations": ("conversation",)},
        sharegpt,
        ("system", "tools"),
        partial(ended, *SHAREGPT),
    ),
    Format(
        "alpaca",
        {"instruction": (), "output": ("response",)},
        readers.alpaca,
        ("system", "input", "history"),
    ),
    Format(
        "span", {"question": (), "context": (), "answers": ()}, readers.span, ("answer_starts",)
    ),
    Format(
        "scored",
        {"text1": ("sentence1", "first"), "text2": ("sentence2", "second"), "score": ()},
        readers.scored,
    ),
    Format(
        "match", {"query": ("anchor",), "positive": ()}, readers.match, ("negative", "negatives")
    ),
    Format(
        "pair",
        {
            "source": ("prompt", "question", "input"),
            "target": ("completion", "response", "answer", "output"),
        },
        readers.pair,
    ),
    Format("image", {"image": (), "label": ("class",)}, readers.image),
    Format(
        "labelled",
        {
            "text": ("sentence", "review", "content"),
            "label": ("labels", "category", "intent", "sentiment", "class"),
        },
        readers.labelled,
    ),
    Format("text", {"text": ("content",)}, readers.text),
)


def format_of(
    row: Mapping[str, Any],
    said: Mapping[str, str],
    asked: Mapping[str, Mapping[str, Any]] | None = None,
) -> Format | None:
    """The first format whose columns a row has.

    Args:
        said: names that the data set is said to have for Moli's.
        asked: the only formats there may be, each with columns that it may lack.
    """
    for each in FORMATS:
        if asked is None or each.name in asked:
            missing = each.columns.keys() - each.names(row, said).keys()
            if missing <= (asked or {}).get(each.name, {}).keys():
                return each
    return None


def check_columns(said: Mapping[str, str], rows: Sequence[Row | Malformed], path: Path) -> None:
    """See that names which a data set is said to have for Moli's are names of both.

    Raises:
        InputError: one is of no column that is read, or of none that any row has.
    """
    ours = {name for each in FORMATS for name in (*each.columns, *each.optional)}
    others = {name for each in FORMATS for names in each.columns.values() for name in names}
    theirs = {name for row in rows if isinstance(row, Row) for name in row.values}
    for our, their in said.items():
        if our not in ours | others:
            near = difflib.get_close_matches(our, ours | others, n=1)
            hint = (
                f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(sorted(ours))}."
            )
            raise InputError(f"'{our}' is no column that is read", where="columns", fix=hint)
        if theirs and their not in theirs:
            nearest = sorted(theirs, key=lambda name: _unlike(name, their))
            raise InputError(
                f"no row has the column '{their}', which 'columns' names for '{our}'",
                where=str(path),
                fix=f"There are: {', '.join(nearest)}.",
            )


def _unlike(name: str, other: str) -> tuple[float, str]:
    return -difflib.SequenceMatcher(None, name, other).ratio(), name


def _missing(column: str, row: Mapping[str, Any]) -> Unfit:
    near = difflib.get_close_matches(column, [key for key in row if isinstance(key, str)], n=1)
    hint = f"Rename '{near[0]}'." if near else f"The row has: {', '.join(map(str, row)) or '-'}."
    return Unfit(f"'{column}' is missing", hint)
