"""Tool calls written as XML-like elements, as Qwen3-Coder and Qwen3.5 write them.

<function=look>
<parameter=city>
Oslo
</parameter>
</function>

A value that the tool's schema calls a string is written without quotes, any other value as JSON.
Nothing in a string is escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moli.models.templates.call_syntax import INCOMPLETE, NOT_A_CALL, BegunCalls, ParsedCall
from moli.models.templates.json_schema import followable_schema, lark_json
from moli.models.templates.partial_match import partial_match_length
from moli.records.messages import STRICT_JSON, Tool

_FUNCTION = "<function="
_FUNCTION_END = "</function>"
_PARAMETER = "<parameter="
_PARAMETER_TAG_END = "</parameter>"
_FUNCTION_TAG = re.compile(r"<function=([^<>\s]+)>\s*")
_PARAMETER_TAG = re.compile(r"<parameter=([^<>\s]+)>")
# A value may contain this very tag: it ends where something follows that can follow a value.
_PARAMETER_END = re.compile(rf"{_PARAMETER_TAG_END}\s*(?={_PARAMETER}|{_FUNCTION_END})")
_PYTHON_LITERALS = {"True": "true", "False": "false", "None": "null"}  # which models write as well
_MAX_DEPTH = 8  # references to definitions that are followed; they may go in circles
_VALUE_END = "\n</parameter>\n"
_STRING_RULE = r"""text[suffix="\n</parameter>\n"]: /(?s:.*)/"""


@dataclass(frozen=True, slots=True)
class XmlSyntax:
    """The syntax of one call as an element with an element for each argument."""

    opening: str = _FUNCTION
    extra_rules: tuple[str, ...] = (_STRING_RULE,)

    def scanner(self) -> XmlScanner:
        """A scanner for the next call."""
        return XmlScanner()

    def parse(self, text: str, tools: Sequence[Tool]) -> list[ParsedCall]:
        """The call that a text consists of, in a list; empty if any part is something else."""
        element = _parse_element(text)
        tool = next((each for each in tools if element and each.name == element.name), None)
        if not element or not tool:
            return []
        return [ParsedCall(tool.name, _arguments_so_far(element, tool) + "}")]

    def call_head(self, tool: Tool) -> str:
        """The text before the arguments in calls that are required of a model."""
        return f"{_FUNCTION}{tool.name}>\n"

    def call_rule(self, tool: Tool) -> str:
        """A Lark expression of the parameters that the schema names, in its order."""
        required = _as_list(tool.parameters.get("required"))
        parts = [json.dumps(self.call_head(tool), ensure_ascii=False)]
        for name, schema in _properties(tool).items():
            head = json.dumps(f"{_PARAMETER}{name}>\n", ensure_ascii=False)
            part = f"{head} {_value_rule(schema, tool)}"
            parts.append(part if name in required else f"({part})?")
        return " ".join([*parts, json.dumps(_FUNCTION_END)])


class XmlScanner:
    """Looks for the end of a function element in a growing text."""

    def __init__(self) -> None:
        self._at = 0

    def find_end(self, text: str) -> int:
        """The length of the call that the text begins with, INCOMPLETE or NOT_A_CALL."""
        function = _FUNCTION_TAG.match(text)
        if not function:
            return NOT_A_CALL if re.search(r">|\s", text) else INCOMPLETE
        at = function.end()
        if not any(e.startswith(text[at : at + len(e)]) for e in (_PARAMETER, _FUNCTION_END)):
            return NOT_A_CALL
        while (at := text.find(_FUNCTION_END, self._at)) >= 0:
            self._at = at + len(_FUNCTION_END)
            if _parse_element(text[: self._at]):
                return self._at
        self._at = max(self._at, len(text) - len(_FUNCTION_END))
        return INCOMPLETE

    def begun_calls(self, text: str, tools: Sequence[Tool]) -> BegunCalls:
        """The call of an offered tool whose parameters have begun."""
        element = _parse_beginning(text)
        tool = next((each for each in tools if element and each.name == element.name), None)
        if not element or not tool or not text.startswith((_PARAMETER, _FUNCTION_END), element.at):
            return BegunCalls()
        return BegunCalls([ParsedCall(tool.name, _arguments_so_far(element, tool))], len(text))


@dataclass(frozen=True, slots=True)
class _FunctionElement:
    """The beginning of a function element.

    Attributes:
        values: the names of its parameters that are complete, and their texts.
        at: where the first tag begins that is not complete, or that ends the element.
        open_name: the parameter that has begun but is not complete; "" if there is none.
        open_value: the text of that parameter as far as it is certain.
    """

    name: str
    values: Sequence[tuple[str, str]]
    at: int
    open_name: str = ""
    open_value: str = ""


def _parse_element(text: str) -> _FunctionElement | None:
    """The function element that a text consists of; None if it is something else."""
    element = _parse_beginning(text)
    return element if element and text[element.at :] == _FUNCTION_END else None


def _parse_beginning(text: str) -> _FunctionElement | None:
    """The function element that a text begins with; None if it begins with something else."""
    function = _FUNCTION_TAG.match(text)
    if not function:
        return None
    at, values = function.end(), list[tuple[str, str]]()
    while parameter := _PARAMETER_TAG.match(text, at):
        end = _PARAMETER_END.search(text, parameter.end())
        if not end:
            value = _certain_value(text[parameter.end() :])
            return _FunctionElement(function[1], values, at, parameter[1], value)
        value = text[parameter.end() : end.start()]
        values.append((parameter[1], value.removeprefix("\n").removesuffix("\n")))
        at = end.end()
    return _FunctionElement(function[1], values, at)


def _certain_value(text: str) -> str:
    """The text of an incomplete value, without what may be the tag that ends it."""
    value = text.removeprefix("\n")
    if (at := value.find(_PARAMETER_TAG_END)) >= 0:
        return value[:at].removesuffix("\n")
    ends = (_PARAMETER_TAG_END, f"\n{_PARAMETER_TAG_END}")
    return value[: len(value) - max(partial_match_length(value, each) for each in ends)]


def _arguments_so_far(element: _FunctionElement, tool: Tool) -> str:
    """The arguments as JSON, without what ends them; of an open value only that of a string."""
    schemas = _properties(tool)

    def pair(name: str, value: str) -> str:
        """A key with its value."""
        return f"{json.dumps(name, ensure_ascii=False)}: {value}"

    pairs = [
        pair(name, _value_as_json(value, schemas.get(name, {}), tool))
        for name, value in element.values
    ]
    is_string = _allowed_types(schemas.get(element.open_name, {}), tool) == {"string"}
    if element.open_name and is_string:
        value = json.dumps(element.open_value, ensure_ascii=False)[:-1]
        pairs.append(pair(element.open_name, value))
    return "{" + ", ".join(pairs)


def _value_rule(schema: Any, tool: Tool) -> str:
    """A Lark expression that matches the value of a parameter and the tag that ends it."""
    resolved = _resolve_reference(schema, tool)
    end = json.dumps(_VALUE_END)
    choices = _as_list(resolved.get("enum"))
    if choices and all(isinstance(each, str) for each in choices):
        return f"({' | '.join(json.dumps(each, ensure_ascii=False) for each in choices)}) {end}"
    types = _allowed_types(schema, tool)
    if types and "string" not in types:
        value_schema = {**_definitions(tool), **resolved}
        return f"{lark_json(followable_schema(value_schema, strict=tool.strict))} {end}"
    return "text"


def _value_as_json(text: str, schema: Any, tool: Tool) -> str:
    """The value of a parameter as JSON.

    It is a string, unless the text is JSON of a type that the schema allows.
    """
    types = _allowed_types(schema, tool)
    if types != {"string"}:
        stripped = text.strip()
        try:
            value = STRICT_JSON.decode(_PYTHON_LITERALS.get(stripped, stripped))
            if not types or _types_of(value) & types:
                return json.dumps(value, ensure_ascii=False)
        except (ValueError, RecursionError):
            pass
    return json.dumps(text, ensure_ascii=False)


def _allowed_types(schema: Any, tool: Tool, depth: int = 0) -> set[str]:
    """The JSON types that a schema allows; an empty set if it does not restrict them."""
    resolved = _resolve_reference(schema, tool)
    declared = resolved.get("type")
    if types := {each for each in [declared, *_as_list(declared)] if isinstance(each, str)}:
        return types
    if (values := _as_list(resolved.get("enum"))) or "const" in resolved:
        return set().union(*map(_types_of, values or [resolved["const"]]))
    options = _as_list(resolved.get("anyOf")) or _as_list(resolved.get("oneOf"))
    if depth >= _MAX_DEPTH:
        return set()
    allowed = [_allowed_types(option, tool, depth + 1) for option in options]
    return set().union(*allowed) if all(allowed) else set()


def _types_of(value: Any) -> set[str]:
    """The types of JSON Schema that a value has."""
    match value:
        case None:
            return {"null"}
        case bool():
            return {"boolean"}
        case int():
            return {"integer", "number"}
        case float():
            return {"number"}
        case str():
            return {"string"}
        case list():
            return {"array"}
    return {"object"}


def _resolve_reference(schema: Any, tool: Tool) -> Mapping[str, Any]:
    """Replace a schema that is a reference by its definition; an empty schema if there is none."""
    for _ in range(_MAX_DEPTH):
        reference = schema.get("$ref") if isinstance(schema, Mapping) else None
        if not isinstance(reference, str):
            break
        _, _, path = reference.partition("#/")
        group, _, name = path.partition("/")
        definitions = _definitions(tool).get(group)
        schema = definitions.get(name) if isinstance(definitions, Mapping) else None
    return schema if isinstance(schema, Mapping) else {}


def _as_list(value: Any) -> list[Any]:
    """The value if it is a list, else an empty list: a schema may contain anything."""
    return value if isinstance(value, list) else []


def _properties(tool: Tool) -> Mapping[str, Any]:
    """The schemas of a tool's parameters, by name."""
    properties = tool.parameters.get("properties")
    return properties if isinstance(properties, Mapping) else {}


def _definitions(tool: Tool) -> dict[str, Any]:
    """The groups of definitions that a tool's schema may refer to."""
    return {
        name: tool.parameters[name] for name in ("$defs", "definitions") if name in tool.parameters
    }
