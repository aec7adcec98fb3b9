"""Rows of JSON files: an object a line, objects one after another, or one value with all rows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moli.records.errors import InputError
from moli.records.examples import MalformedRow, UnreadLines
from moli.workspace.datasets.fields import Row, kind_of
from moli.workspace.datasets.folders import Part
from moli.workspace.datasets.json_shapes import rows_in

_DECODER = json.JSONDecoder()


def read_json(path: Path, text: str, part: Part | None = None) -> Iterator[Row | MalformedRow]:
    """Rows of a text that is one JSON value, or one object after another.

    Args:
        part: the part of the data to read if the value holds splits; None reads all.

    Raises:
        InputError: the text is one value, and is not JSON or has no rows in it.
    """
    if not text.strip():
        return
    value, problem = _parse(text)
    if problem is None:
        yield from rows_of(path, value, part)
    elif _is_sequence(text):
        yield from _read_objects(path, text)
    else:
        raise InputError(
            f"not JSON ({problem.what}), so none of its rows is read",
            where=f"{path}:{problem.line}",
            fix="Correct it, or copy the file again if it is cut off.",
        )


def rows_of(path: Path, value: Any, part: Part | None = None) -> Iterator[Row | MalformedRow]:
    """Rows of a JSON value; the arguments are those of `read_json`.

    Raises:
        InputError: the value has no rows in it.
    """
    rows = rows_in(value, part)
    if rows is None:
        raise InputError(
            "not a list of objects",
            where=str(path),
            fix='Write [{"name": value, ...}, ...], or one object a line.',
        )
    for place, row in rows:
        yield _to_row(f"{path} {place}", row)


def read_json_lines(path: Path, text: str) -> Iterator[Row | MalformedRow]:
    """Rows of a text with one JSON object a line, or with objects that are spread over lines.

    Raises:
        InputError: the text is one JSON value instead, and has no rows in it.
    """
    first = text.strip().partition("\n")[0]
    value, problem = _parse(first)
    is_whole = isinstance(value, list) and first == text.strip()
    begins_again = "\n{" in text and not first.startswith("[")
    if (problem is None and not is_whole) or begins_again or _is_sequence(text):
        yield from _read_objects(path, text)
    else:
        yield from read_json(path, text)


class _Problem:
    """A fault in a JSON text.

    Attributes:
        line: number of the line, from 1.
        position: index in the text.
    """

    def __init__(self, what: str, line: int = 1, position: int = 0) -> None:
        self.what, self.line, self.position = what, line, position


def _parse(text: str) -> tuple[Any, _Problem | None]:
    """The value of a JSON text, and the problem with the text; None if there is none."""
    try:
        return json.loads(text), None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column" if error.lineno > 1 else "column"
        what = f"{error.msg.removesuffix(' at')} at {place} {error.colno}"
        return None, _Problem(what, error.lineno, error.pos)
    except ValueError:  # of Python, which takes no number of more than 4,300 digits
        return None, _Problem("a number has too many digits")
    except RecursionError:
        return None, _Problem("nested too deeply")


def _is_sequence(text: str) -> bool:
    """Whether a text is several objects, one after another, the first of which is whole."""
    start = len(text) - len(text.lstrip())
    if not text.startswith("{", start):
        return False
    try:
        end = _DECODER.raw_decode(text, start)[1]
    except (ValueError, RecursionError):
        return False
    return bool(text[end:].strip())


def _read_objects(path: Path, text: str) -> Iterator[Row | MalformedRow]:
    """Rows of objects that stand one after another; a broken one does not end the reading."""
    start, number = 0, 1
    while start < len(text):
        end = text.find("\n", start)  # not splitlines(): JSON lets U+2028 stand in a text
        end = len(text) if end < 0 else end
        where, line = f"{path}:{number}", text[start:end]
        if line.strip():
            value, problem = _parse(line)
            if problem and problem.position >= len(line.rstrip()) and end < len(text):
                value, problem, end = _parse_spread(text, start, end, problem)
            lines = text.count("\n", start, end) + 1
            if problem is None:
                yield _to_row(where, value)
            elif lines > 1 or _is_cut_off(problem, line, end == len(text)):
                what = "not JSON" if lines > 1 else "the file is cut off here: not JSON"
                yield UnreadLines(where, f"{what} ({problem.what})", "Correct it.", lines)
            else:
                yield MalformedRow(where, f"not JSON ({problem.what})", "Correct it.")
        number += text.count("\n", start, end) + 1
        start = end + 1


def _parse_spread(
    text: str, start: int, line_end: int, problem: _Problem
) -> tuple[Any, _Problem | None, int]:
    """The value of an object that begins in a line and ends in another.

    Args:
        problem: the problem with the line alone.

    Returns:
        The value, the problem if it is none, and the end of the object's last line. An object
        that is broken ends before the next line that begins like its first one.
    """
    opening = re.match(r"[ \t]*", text[start:line_end])
    indent = opening[0] if opening else ""
    try:
        value, stop = _DECODER.raw_decode(text, start + len(indent))
    except json.JSONDecodeError as error:
        problem = _Problem(f"{error.msg} at line {error.lineno - text.count(chr(10), 0, start)}")
    except (ValueError, RecursionError):
        pass
    else:
        end = text.find("\n", stop)
        end = len(text) if end < 0 else end
        if not text[stop:end].strip():
            return value, None, end
        problem = _Problem("more follows the object in its last line")
    following = re.compile(rf"^{re.escape(indent)}\{{", re.MULTILINE).search(text, line_end + 1)
    return None, problem, following.start() - 1 if following else len(text.rstrip("\n"))


def _is_cut_off(problem: _Problem, line: str, is_last: bool) -> bool:
    """Whether the text ends within this line, as the file of a download that stopped does."""
    is_open = problem.position >= len(line.rstrip()) or "Unterminated" in problem.what
    return is_last and is_open and line.lstrip().startswith("{")


def _to_row(where: str, value: Any) -> Row | MalformedRow:
    """A row from a JSON value; malformed if that is no object."""
    if not isinstance(value, dict):
        what = f"{kind_of(value)}, not an object"
        return MalformedRow(where, what, 'Write {"name": value, ...}.')
    return Row(where, value)
