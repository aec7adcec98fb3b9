"""The date of a document: the one that it states, that of its name, or when it was last changed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from pathlib import PurePath

import sqlalchemy as sa

from moli.workspace import schema

_YEAR = r"(?<!\d)((?:19|20)\d\d)"
_DATE = re.compile(
    rf"{_YEAR}[-_./年](1[0-2]|0?[1-9])(?!\d)(?:[-_./月](3[01]|[12]\d|0?[1-9])(?!\d))?"
    rf"|{_YEAR}(1[0-2]|0[1-9])(3[01]|[12]\d|0[1-9])?(?!\d)"
)
_YEAR_ALONE = re.compile(rf"{_YEAR}(?!\d)")
_KEYS = ("date", "modified", "created")  # attributes that files state


def stated_dates(
    connection: sa.Connection, condition: sa.ColumnElement[bool]
) -> dict[int, dict[str, str]]:
    """The attributes that hold dates of the documents which match a condition, by their ids."""
    table = schema.attributes
    query = sa.select(table).join(schema.documents).where(condition, table.c.key.in_(_KEYS))
    dates: dict[int, dict[str, str]] = {}
    for row in connection.execute(query):
        dates.setdefault(row.document_id, {})[row.key] = row.value
    return dates


def document_date(source: str, title: str, attributes: Mapping[str, str]) -> str:
    """The date of a document as 2024-03-01, 2024-03 or 2024; "" if nothing tells it.

    Args:
        attributes: the document's that hold dates.
    """
    names = " ".join((title, *reversed(PurePath(source).parts[-2:])))
    stated = [attributes.get(key, "") for key in _KEYS]
    texts = (stated[0], names, *stated[1:])
    return next(filter(None, map(_first_date, texts)), "")


def _first_date(text: str) -> str:
    """The first date in a text, in digits or in the form of mails; "" if there is none."""
    if match := _DATE.search(text):
        year, *rest = filter(None, match.groups())
        return "-".join([year, *(f"{int(part):02}" for part in rest)])
    try:
        return parsedate_to_datetime(text).date().isoformat()
    except ValueError:
        year_alone = _YEAR_ALONE.search(text)
        return year_alone[1] if year_alone else ""
