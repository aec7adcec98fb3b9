"""Errors of pydantic with the field's place as the client wrote it.

pydantic names the branches of a union in the location of an error, and reports the errors of all
branches. Both are left out here: only the errors of the branch count that the client meant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moli.records.validation import describe_value_errors
from moli.serving.json_body import Path, join_path

_NOTHING = object()


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """A field and the problem with it.

    Attributes:
        param: the field's place, such as `messages[0].content`; "" for the whole body.
        code: pydantic's name of the kind of error.
    """

    param: str
    message: str
    code: str


@dataclass(frozen=True, slots=True)
class _Located:
    """An error of pydantic with its place in the body.

    Attributes:
        path: names and indices as the client wrote them.
        branches: union branches on the way, each with the place where the union is.
    """

    error: Mapping[str, Any]
    path: Path
    branches: frozenset[tuple[Path, str]]


def describe_errors(errors: Sequence[Mapping[str, Any]], body: Any) -> FieldProblem:
    """The problem to tell the client about, of all that pydantic has reported.

    Args:
        errors: pydantic's errors, whose locations begin with "body", "query" or "path".
        body: the body as the client sent it; None where there is none.
    """
    located = _meant_branches([_locate(each, body) for each in errors])
    first = located[0]
    # The deepest place says most: that a list is no text is beside the point where its part is bad.
    deeper = [each for each in located if each.path[: len(first.path)] == first.path]
    chosen = max(deeper, key=lambda each: len(each.path))
    same = [each for each in located if each.path == chosen.path]
    param = join_path(chosen.path)
    message = describe_value_errors([each.error for each in same])
    code = str(chosen.error["type"])
    return FieldProblem(param, f"{param or 'the body'}: {message}", code)


def _locate(error: Mapping[str, Any], body: Any) -> _Located:
    """An error with its place in the body, without the names of union branches."""
    source, *location = error["loc"] or ("body",)
    if source != "body":
        return _Located(error, tuple(location), frozenset())
    path: list[str | int] = []
    branches: set[tuple[Path, str]] = set()
    value = body
    for index, part in enumerate(location):
        inner = _part_of(value, part)
        is_missing = error["type"] == "missing" and index == len(location) - 1
        if inner is not _NOTHING or is_missing or index == 0:  # a body is no union
            path.append(part)
            value = inner
        elif isinstance(part, str):
            branches.add((tuple(path), part))
    return _Located(error, tuple(path), frozenset(branches))


def _part_of(value: Any, part: str | int) -> Any:
    """The part of an object or a list with a name or an index; `_NOTHING` if it has none."""
    if isinstance(value, Mapping):
        return value.get(part, _NOTHING)
    is_index = isinstance(value, list) and isinstance(part, int) and part < len(value)
    return value[part] if is_index else _NOTHING


def _meant_branches(located: list[_Located]) -> list[_Located]:
    """The errors without those of union branches for objects of another `type`."""
    others: set[tuple[Path, str]] = set()
    for one in located:
        *parent, name = one.path or ("",)
        if name == "type" and one.error["type"] in ("literal_error", "missing"):
            others |= {branch for branch in one.branches if branch[0] == tuple(parent)}
    return [each for each in located if not each.branches & others] or located
