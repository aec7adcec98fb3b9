"""Errors of pydantic with the field's place as the client wrote it.

pydantic names the branches of a union in the location of an error, and reports the errors of all
branches. Both are left out here: only the errors of the branch count that the client meant.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moli.records.validation import describe_value_errors, is_type_error
from moli.serving.json_body import Path, join_path

_NOTHING = object()
_MAX_SHOWN = 60  # characters of a wrong value


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

    @property
    def kind(self) -> str:
        """pydantic's name of the kind of error."""
        return str(self.error["type"])

    @property
    def is_wrong_type(self) -> bool:
        """Whether it says that a value is of the wrong type."""
        return is_type_error(self.error)

    def branch_at(self, place: Path) -> str:
        """The branch of the union at a place that it is in; "" if it is in none."""
        return next((name for where, name in self.branches if where == place), "")

    def has_other_kind(self, place: Path) -> bool:
        """Whether it says that the value at a place, or an element of it, is of another kind."""
        is_kind = self.is_wrong_type or (
            self.kind == "literal_error" and isinstance(self.error["input"], dict | list)
        )
        return is_kind and all(isinstance(step, int) for step in self.path[len(place) :])

    def has_other_type(self, place: Path) -> bool:
        """Whether it says that the object at a place has another `type`."""
        return self.path == (*place, "type") and self.kind in ("literal_error", "missing")


def describe_errors(errors: Sequence[Mapping[str, Any]], body: Any) -> FieldProblem:
    """The problem to tell the client about, of all that pydantic has reported.

    Args:
        errors: pydantic's errors, whose locations begin with "body", "query" or "path".
        body: the body as the client sent it; None where there is none.
    """
    located = _of_known_types(_of_meant_branches([_locate(each, body) for each in errors]))
    first = located[0]
    # The deepest place says most: that a list is no text is beside the point where its part is bad.
    deeper = [each for each in located if each.path[: len(first.path)] == first.path]
    chosen = max(deeper, key=lambda each: len(each.path))
    same = [each for each in located if each.path == chosen.path]
    param = join_path(chosen.path)
    message = describe_value_errors([each.error for each in same])
    if chosen.kind == "literal_error" and _is_short(chosen.error["input"]):
        message += f", not {_shown(chosen.error['input'])}"
    return FieldProblem(param, f"{param or 'the body'}: {message}", chosen.kind)


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


def _of_meant_branches(located: list[_Located]) -> list[_Located]:
    """The errors without those of union branches that the client did not mean."""
    unions = {place for each in located for place, _ in each.branches}
    for place in sorted(unions, key=len):
        for is_other in (_Located.has_other_kind, _Located.has_other_type):
            errors = [each for each in located if each.branch_at(place)]
            others = {each.branch_at(place) for each in errors if is_other(each, place)}
            if others != {each.branch_at(place) for each in errors}:
                located = [each for each in located if each.branch_at(place) not in others]
    return located


def _of_known_types(located: list[_Located]) -> list[_Located]:
    """The errors without those inside objects of an unknown `type`, which says enough."""
    types = [each for each in located if each.path[-1:] == ("type",)]
    unknown = {each.path for each in types if each.kind == "literal_error"}

    def is_beside(one: _Located) -> bool:
        """Whether an error is in such an object, and not its type."""
        beginnings = (one.path[:length] for length in range(len(one.path)))
        return one.path not in unknown and any((*each, "type") in unknown for each in beginnings)

    return [each for each in located if not is_beside(each)]


def _is_short(value: Any) -> bool:
    """Whether a value of a request is short enough to be shown."""
    return not isinstance(value, dict | list) and len(str(value)) <= _MAX_SHOWN


def _shown(value: Any) -> str:
    """A value of a request as a message shows it."""
    return f"'{value}'" if isinstance(value, str) else json.dumps(value)
