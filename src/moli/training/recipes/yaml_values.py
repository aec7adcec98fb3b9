"""YAML as people mean it: the values of YAML 1.2, and no key twice.

PyYAML reads YAML 1.1, in which `no` is false, `1e-4` is a text, `010` is 8 and `1:30` is 90, and in
which the last of two equal keys is taken.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from typing import Any

import yaml

from moli.records.errors import InputError

_TAGS = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf)|\.(nan|NaN)",
}
# What PyYAML says of a fault, and what to do about it.
_FIXES = {
    "alias": "Put a text that begins with * in quotes.",
    "anchor": "Put a text that begins with & in quotes.",
    "mapping values": "Put a text with a colon and a space in quotes.",
    "'\\t'": "Indent with spaces, not with tabs.",
    "escape character": "Write paths with backslashes in single quotes, or without quotes.",
    "'%'": "Put a text that begins with % in quotes.",
    "stands twice": "Keep one of the two.",
}


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """A loader for the core schema of YAML 1.2."""

    # PyYAML's table: patterns by the first character; None stands for all.
    yaml_implicit_resolvers = {  # noqa: RUF012
        None: [
            (f"tag:yaml.org,2002:{name}", re.compile(rf"(?:{pattern})\Z"))
            for name, pattern in _TAGS.items()
        ]
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        """The mapping of a node, in which no key may stand twice."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for number, key in enumerate(keys):
            if key in keys[:number]:
                mark = node.value[number][0].start_mark
                problem = f"the key '{key}' stands twice"
                raise yaml.constructor.ConstructorError(None, None, problem, mark)
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return mapping


def _read_integer(loader: _Loader, node: Any) -> int:
    """A whole number, decimal even with a zero before it."""
    return int(loader.construct_scalar(node))


def _read_mapping(loader: _Loader, node: Any) -> Iterator[dict[Hashable, Any]]:
    """A mapping, first empty, as PyYAML makes those that contain themselves."""
    mapping: dict[Hashable, Any] = {}
    yield mapping
    mapping.update(loader.construct_mapping(node))


_Loader.add_constructor("tag:yaml.org,2002:int", _read_integer)
_Loader.add_constructor("tag:yaml.org,2002:map", _read_mapping)


def load_yaml(text: str, where: str) -> Any:
    """The value of a YAML text.

    Args:
        where: the file or option that errors name.

    Raises:
        InputError: it is not YAML, or has a key twice.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = str(getattr(error, "problem", None) or error)
        context = f"{getattr(error, 'context', '')} {problem}"
        fix = next((fix for sign, fix in _FIXES.items() if sign in context), "Correct that line.")
        fix = colon_advice(text) or fix
        raise InputError(
            f"not YAML ({problem})", f"{where}:{mark.line + 1}" if mark else where, fix
        ) from error


def colon_advice(text: str) -> str:
    """Advice on the first line whose key is followed by a colon of Chinese text; "" without one."""
    for number, line in enumerate(text.splitlines(), 1):
        if match := re.match(r"\s*(\w+)\s*：", line):
            return f"Line {number}: write '{match[1]}: ' with a colon of ASCII and a space."
    return ""
