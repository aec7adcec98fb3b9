"""Rows to examples: which format a data set has, and what is wrong with a row that lacks it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from moli.records.examples import Example, Malformed
from moli.workspace.datasets import readers
from moli.workspace.datasets.conversations import MESSAGES, SHAREGPT, ended, messages, sharegpt
from moli.workspace.datasets.fields import Row, Unfit, Values


@dataclass(frozen=True, slots=True)
class Format:
    """A way that data sets are written.

    Attributes:
        columns: what a row must have, each with other names that it goes by.
        read: an example from a row whose columns have their own names; raises Unfit.
        answered: makes of a row's columns that are only a question some that `read` can read.
    """

    name: str
    columns: Mapping[str, tuple[str, ...]]
    read: Callable[[Values], Example]
    answered: Callable[[Values], Values] = dict

    def names(self, row: Values) -> dict[str, str]:
        """For each column, the name it goes by in this row; without those that are missing."""
        found = {}
        for column, others in self.columns.items():
            name = next((each for each in (column, *others) if each in row), None)
            if name is not None:
                found[column] = name
        return found

    def example(self, row: Row, blanks: Values | None = None) -> Example | Malformed:
        """The example that a row makes, or what keeps it from making one.

        Args:
            blanks: of a row that is a question, the columns that it may lack or have empty, with
                what then stands there.
        """
        names = self.names(row.values)
        own: Values = {**row.values, **{column: row.values[name] for column, name in names.items()}}
        if blanks is not None:
            lacking = {name: each for name, each in blanks.items() if own.get(name) in (None, "")}
            own = self.answered({**own, **lacking})
        try:
            for column in self.columns:
                if column not in own:
                    raise _missing(column, row.values)
            return self.read(own)
        except Unfit as unfit:
            return Malformed(row.where, unfit.what, unfit.fix)


# The most particular first: a row is read as the first format whose columns it has.
FORMATS = (
    Format("messages", {"messages": ()}, messages, partial(ended, *MESSAGES)),
    Format("sharegpt", {"conversations": ("conversation",)}, sharegpt, partial(ended, *SHAREGPT)),
    Format("alpaca", {"instruction": (), "output": ("response",)}, readers.alpaca),
    Format("span", {"question": (), "context": (), "answers": ()}, readers.span),
    Format(
        "scored",
        {"text1": ("sentence1", "first"), "text2": ("sentence2", "second"), "score": ()},
        readers.scored,
    ),
    Format("match", {"query": ("anchor",), "positive": ()}, readers.match),
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


def format_of(row: Values, blanks: Mapping[str, Values] | None = None) -> Format | None:
    """The first format whose columns a row has.

    Args:
        blanks: the only formats there may be, each with columns that it may lack.
    """
    for each in FORMATS:
        if blanks is None or each.name in blanks:
            missing = each.columns.keys() - each.names(row).keys()
            if missing <= (blanks or {}).get(each.name, {}).keys():
                return each
    return None


def _missing(column: str, row: Values) -> Unfit:
    near = difflib.get_close_matches(column, [key for key in row if isinstance(key, str)], n=1)
    hint = f"Rename '{near[0]}'." if near else f"The row has: {', '.join(map(str, row)) or '-'}."
    return Unfit(f"'{column}' is missing", hint)
