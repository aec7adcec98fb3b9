"""The rows of a data set counted in a line, by what became of them."""

from __future__ import annotations

from collections.abc import Mapping

from moli.translations.catalogue import translate

UNREAD = 3  # exit code if lines of a file could not be read as rows


def format_rows(counts: Mapping[str, int]) -> str:
    """Every row of the data accounted for, in the reader's language.

    For example "80 rows = 79 answered + 1 unread".

    Args:
        counts: numbers of rows by what became of them, and their sum as `total`.
    """
    parts = [
        f"{number:,} {name.replace('_', ' ')}"
        for name, number in counts.items()
        if number and name != "total"
    ]
    total = translate(f"{counts['total']:,} rows")
    return f"{total} = {' + '.join(map(translate, parts)) or 0}"
