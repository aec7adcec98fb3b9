"""The formats in which models write tool calls, by the chat templates they were trained with.

A model whose template has no tools is given the format of Hermes in plain text, by
`moli.models.templates.template_inputs`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType

from moli.models.templates.call_syntax import CallSyntax
from moli.models.templates.json_schema import lark_json
from moli.models.templates.json_syntax import JsonSyntax
from moli.models.templates.xml_syntax import XmlSyntax
from moli.records.errors import InputError
from moli.records.generation import OutputConstraint
from moli.records.messages import Tool, ToolCall

_MAX_CALLS = 8  # in one answer that must call tools; a weak model does not stop by itself


@dataclass(frozen=True, slots=True)
class ToolCallFormat:
    """A format of answers that call tools: text that announces calls, then calls in a syntax.

    Attributes:
        begin: text that announces calls.
        end: text that may stand after a call; "" for none.
        begin_optional: whether an answer may begin with a call that is not announced. That is also
            so if `begin` is a special token, which is not part of the answer's text.
        answer_rule: Lark expression of an answer that only calls tools, of `item` and `others`.
        item_rule: Lark expression of one call, of `begin`, `body` and `end`.
        separator: text between two calls.
    """

    name: str
    begin: str
    end: str
    syntax: CallSyntax
    begin_optional: bool
    answer_rule: str
    item_rule: str
    separator: str


HERMES = ToolCallFormat(
    name="hermes",
    begin="<tool_call>",
    end="</tool_call>",
    syntax=JsonSyntax('{"', "arguments"),
    begin_optional=False,
    answer_rule="item others",
    item_rule=r'begin "\n" body "\n" end',
    separator="\n",
)
QWEN = replace(HERMES, name="qwen", syntax=XmlSyntax())
MISTRAL = ToolCallFormat(
    name="mistral",
    begin="[TOOL_CALLS]",
    end="",
    syntax=JsonSyntax('[{"', "arguments"),
    begin_optional=True,
    answer_rule='begin " "? "[" item others "]"',
    item_rule="body",
    separator=", ",
)
LLAMA = ToolCallFormat(
    name="llama",
    begin="<|python_tag|>",
    end=";",
    syntax=JsonSyntax('{"', "parameters"),
    begin_optional=True,
    answer_rule="item",  # its templates refuse a turn of several calls, so there are no others
    item_rule="body",
    separator="; ",
)


@lru_cache(maxsize=64)
def supports_tools(template: str) -> bool:
    """Whether a chat template can write both tools and calls."""
    from jinja2 import Environment, TemplateSyntaxError

    if "tool_calls" not in template:
        return False
    try:  # its code only: its text may mention tools as well
        tokens = list(Environment(autoescape=True).lex(template))
    except TemplateSyntaxError:  # reported when the template is rendered
        return False
    return any(kind == "name" and value == "tools" for _, kind, value in tokens)


def detect_format(template: str) -> ToolCallFormat:
    """The format in which a model with this chat template writes calls."""
    if not supports_tools(template):
        return HERMES
    if MISTRAL.begin in template:
        return MISTRAL
    if HERMES.begin in template:
        return QWEN if QWEN.syntax.opening in template else HERMES
    return LLAMA if LLAMA.begin in template or '"parameters": ' in template else HERMES


def write_hermes_call(call: ToolCall) -> str:
    """The text of a call in the format of Hermes."""
    name = json.dumps(call.name, ensure_ascii=False)
    body = f'{{"name": {name}, "arguments": {call.arguments or "{}"}}}'
    return f"{HERMES.begin}\n{body}\n{HERMES.end}"


def tool_calls_grammar(
    call_format: ToolCallFormat,
    tools: Sequence[Tool],
    several: bool,
    added_tokens: Mapping[str, int] = MappingProxyType({}),
    otherwise: OutputConstraint | None = None,
) -> OutputConstraint:
    """A grammar of answers that call some of the tools and contain nothing else.

    Args:
        several: whether an answer may make more than one call, if its format can.
        added_tokens: ids of the tokenizer's added tokens (`get_added_vocab`). Where the text that
            announces or ends a call is one of them, it is written as that token, since the model
            was trained with it.
        otherwise: the format of answers that call no tool; None if every answer has to call one.

    Raises:
        InputError: there is no tool.
    """
    if not tools:
        raise InputError("there is no tool to call", fix="Offer one.")

    def fixed_text_rule(name: str, text: str) -> str:
        """A Lark rule that matches a text, as a token if it is an added one."""
        token = added_tokens.get(text)
        return f"{name}: " + (json.dumps(text) if token is None else f"<[{token}]>")

    syntax = call_format.syntax
    separator = json.dumps(call_format.separator)
    rules = [
        f"start: calls | {_lark_expression(otherwise)}" if otherwise else "start: calls",
        f"calls: {call_format.answer_rule}",
        f"item: {call_format.item_rule}",
        "others: " + (f"({separator} item){{0,{_MAX_CALLS - 1}}}" if several else '""'),
        fixed_text_rule("begin", call_format.begin),
        fixed_text_rule("end", call_format.end),
        "body: " + " | ".join(syntax.call_rule(each) for each in tools),
        *syntax.extra_rules,
    ]
    where = otherwise.where if otherwise else "tools"
    return OutputConstraint(lark="\n".join(rules), where=where)


def _lark_expression(constraint: OutputConstraint) -> str:
    """A constraint by a schema or an expression as a part of a grammar."""
    if constraint.schema:
        return lark_json(json.loads(constraint.schema))
    return "/" + constraint.regex.replace("/", r"\/").replace("\n", r"\n") + "/"
