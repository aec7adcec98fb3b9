"""Calls of tools are read as they were written, and written where an answer must be some."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moli.models.engine.engine import Engine
from moli.models.engine.grammar import Grammars
from moli.models.engine.network import load_network
from moli.models.text import load_tokenizer
from moli.models.tools import HERMES, LLAMA, MISTRAL, Calls, Dialect, Piece, call_form, dialect_of
from moli.records.errors import InputError
from moli.records.generation import Form, Request, Sampling
from moli.records.messages import Tool, ToolCall

CITY: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"$ref": "#/$defs/City"},
        "days": {"type": "array", "items": {"enum": [1, 2, 3]}, "minItems": 1, "maxItems": 2},
    },
    "required": ["city", "days"],
    "$defs": {"City": {"enum": ["Oslo", "Århus"]}},
}
LOOK = Tool("look", "Look up the weather.", CITY)
NOW = Tool("now", "Tell the time.")
TOOLS = (LOOK, NOW)

ARGUMENTS = '{"city":  "Oslo", "days": [1,2]}'
CALL = ("look", ARGUMENTS)
PLAIN = f'{{"name": "look", "arguments": {ARGUMENTS}}}'
HERMES_CALL = f"<tool_call>\n{PLAIN}\n</tool_call>"
LLAMA_CALL = f'{{"name": "look", "parameters": {ARGUMENTS}}}'


def taken(pieces: Sequence[Piece]) -> list[Any]:
    """Texts, joined where they follow each other, and calls without their ids."""
    told: list[Any] = []
    for each in pieces:
        if isinstance(each, ToolCall):
            told.append((each.name, each.arguments))
        elif told and isinstance(told[-1], str):
            told[-1] += each
        else:
            told.append(each)
    return told


def read(dialect: Dialect, parts: Sequence[str]) -> list[Any]:
    calls = Calls(dialect, TOOLS)
    return taken([piece for part in parts for piece in calls.push(part)] + calls.close())


@pytest.mark.parametrize(
    ("dialect", "text", "expected"),
    [
        (HERMES, HERMES_CALL, [CALL]),
        (HERMES, f"Let me see.\n\n{HERMES_CALL}\n", ["Let me see.", CALL]),
        (HERMES, f"{HERMES_CALL}\n{HERMES_CALL}", [CALL, CALL]),
        (HERMES, f"{HERMES_CALL}\n Done.", [CALL, "\n Done."]),
        (HERMES, f"<tool_call>{PLAIN}", [CALL]),  # the end's mark is only for show
        (HERMES, PLAIN, [PLAIN]),
        (MISTRAL, f"[TOOL_CALLS] [{PLAIN}, {PLAIN}]", [CALL, CALL]),
        (MISTRAL, f"[TOOL_CALLS][{PLAIN}]", [CALL]),
        (MISTRAL, f"See: [TOOL_CALLS] [{PLAIN}]", ["See:", CALL]),
        (MISTRAL, f" [{PLAIN}]", [CALL]),  # as it looks when the mark is a special token
        (MISTRAL, f"See: [{PLAIN}]", [f"See: [{PLAIN}]"]),
        (MISTRAL, "[TOOL_CALLS] is a mark", ["[TOOL_CALLS] is a mark"]),
        (MISTRAL, f"[{PLAIN}, 1]", [f"[{PLAIN}, 1]"]),
        (LLAMA, LLAMA_CALL, [CALL]),
        (LLAMA, f"\n{PLAIN}", [CALL]),
        (LLAMA, f"<|python_tag|>{LLAMA_CALL}", [CALL]),
        (LLAMA, f"{LLAMA_CALL}; {LLAMA_CALL}", [CALL, CALL]),
        (LLAMA, f"So: {LLAMA_CALL}", [f"So: {LLAMA_CALL}"]),
        (LLAMA, "<|python_tag|>print(1)", ["<|python_tag|>print(1)"]),
        (LLAMA, '{"name": "look"}', ['{"name": "look"}']),
        (LLAMA, '{"a": {"b": 1}} is JSON', ['{"a": {"b": 1}} is JSON']),
    ],
)
def test_each_dialect_is_read(dialect: Dialect, text: str, expected: list[Any]) -> None:
    assert read(dialect, [text]) == expected
    assert read(dialect, list(text)) == expected


@pytest.mark.parametrize(
    "body",
    [
        '{"name": "leave", "arguments": {}}',  # not offered
        '{"name": "look", "arguments": "Oslo"}',
        '{"name": "look", "arguments": {"city": Oslo}}',
        '{"name": "look", "arguments": {"days": [NaN]}}',
        '{"name": ["look"], "arguments": {}}',
        '{"name": "look", "arguments": {"city": "Os',
        '{"name": "look", "arguments": ' + '{"a":' * 50_000 + "1" + "}" * 50_000 + "}",
        "look('Oslo')",
    ],
)
def test_what_is_no_call_is_text(body: str) -> None:
    text = f"So:\n<tool_call>\n{body}\n</tool_call>\n"
    assert read(HERMES, [text]) == [text]
    after = read(HERMES, [text + HERMES_CALL])
    assert after == [text.rstrip(), CALL]


def test_arguments_may_hold_marks_quotes_and_brackets() -> None:
    arguments = json.dumps({"city": '</tool_call>\n"}]{\\', "days": [{"<tool_call>": []}]})
    text = f'<tool_call>\n{{"arguments": {arguments}, "name": "look"}}\n</tool_call>'
    assert read(HERMES, list(text)) == [("look", arguments)]


def test_text_is_told_at_once_and_a_call_when_it_is_complete() -> None:
    calls = Calls(HERMES, TOOLS)
    assert calls.push("One ") == ["One"]
    assert calls.push("< two <to") == [" < two"]
    assert calls.push("p> <tool_") == [" <top>"]
    assert calls.push('call> {"name": "now", "arguments": {}') == []
    [call] = calls.push("}")
    assert isinstance(call, ToolCall) and (call.name, call.arguments) == ("now", "{}")
    assert len(call.id) == 29 and int(call.id.removeprefix("call_"), 16) >= 0
    assert calls.push(" </tool_call>\n") == calls.close() == []
    calls = Calls(LLAMA, TOOLS)
    assert calls.push('{"a": ') == []
    assert calls.push("b") == ['{"a": b']  # no JSON


PIECES = [
    "a", " ", "\n", "{", "}", "[", "]", '"', "\\", ";", ",", '{"', '[{"', "<tool_call>",
    "</tool_call>", "<tool_", "[TOOL_CALLS]", "[TOOL_", "<|python_tag|>", "<|", PLAIN, LLAMA_CALL,
    f"[{PLAIN}]", HERMES_CALL, '{"name": "leave", "arguments": {}}',
]  # fmt: skip


@given(
    st.sampled_from([HERMES, MISTRAL, LLAMA]),
    st.lists(st.sampled_from(PIECES), max_size=8).map("".join),
    st.data(),
)
def test_how_an_answer_comes_changes_nothing(dialect: Dialect, text: str, data: Any) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    edges = [0, *cuts, len(text)]
    parts = [text[a:b] for a, b in pairwise(edges)]
    whole = read(dialect, [text])
    assert read(dialect, parts) == read(dialect, list(text)) == whole
    if all(isinstance(each, str) for each in whole):
        assert "".join(whole) == text


WORDS = st.text('ab {["<;', min_size=1, max_size=6).filter(str.strip)


@given(st.lists(st.one_of(WORDS, st.dictionaries(st.text(max_size=4), st.integers()))))
def test_what_is_put_together_is_taken_apart(parts: list[Any]) -> None:
    """Text comes back with the space around it, but for that before a call."""
    text, expected = "", []
    for each in parts:
        if isinstance(each, str):
            text += each
            expected.append(each)
        else:
            arguments = json.dumps(each)
            text += f' <tool_call>{{"name": "now", "arguments": {arguments}}}</tool_call>'
            if expected and isinstance(expected[-1], str):
                expected[-1] = expected[-1].rstrip()
            expected.append(ToolCall("", "now", arguments))
    assert read(HERMES, [text]) == taken(expected)


def test_a_dialect_is_found_in_the_template() -> None:
    qwen = "{% if tools %}<tool_call>{% endif %}{{ message.tool_calls }}"
    assert dialect_of(qwen) is HERMES
    assert dialect_of("{%- if tools -%}{{ m.tool_calls }}{% endif %}[TOOL_CALLS] [") is MISTRAL
    assert dialect_of("{{ tools }}{{ m['tool_calls'] }}<|python_tag|>") is LLAMA
    # What only speaks of tools, or shows none of the calls that were made, is told in words.
    assert dialect_of("{# tools #}{{ 'Use tools: [TOOL_CALLS]' }}{{ m.tool_calls }}") is HERMES
    assert dialect_of("{{ tools }}[TOOL_CALLS]") is HERMES
    assert dialect_of("{{ 'unclosed") is dialect_of("") is HERMES


# Answers that must be calls


@pytest.fixture(scope="module")
def starter() -> Engine:
    name = "builtin:starter"
    return Engine(load_network(name), load_tokenizer(name), rows=8)


def fits(tokenizer: Any, form: Form, text: str) -> bool:
    """Whether a form lets this text be written, token by token, and end there."""
    import torch

    end = tokenizer.eos_token_id
    grammar = Grammars(tokenizer, [end]).begin(form)
    for token in [*tokenizer(text, add_special_tokens=False)["input_ids"], end]:
        if grammar.allowed(torch.zeros(len(tokenizer)))[token] != 0:
            return False
        grammar.accept(token)
    return True


@pytest.mark.parametrize("dialect", [HERMES, MISTRAL, LLAMA], ids=lambda each: each.name)
def test_a_model_that_never_saw_tools_calls_one(starter: Engine, dialect: Dialect) -> None:
    ids = load_tokenizer("builtin:starter")("The old man said:")["input_ids"]
    ways = []
    for tools in (TOOLS, [LOOK], [NOW]):
        form = call_form(dialect, tools, several=False)
        ways += [Sampling(120, form=form), Sampling(120, 1.0, seed=1, form=form)]
    names = []
    for told in starter.complete([Request(ids, each) for each in ways]):
        assert told.reason == "stop"
        [(name, arguments)] = read(dialect, [told.text])
        value = json.loads(arguments)
        assert f', "{dialect.key}": {json.dumps(value, ensure_ascii=False)}}}' in told.text
        if name == "look":
            assert set(value) == {"city", "days"} and value["city"] in ("Oslo", "Århus")
            assert 1 <= len(value["days"]) <= 2 and set(value["days"]) <= {1, 2, 3}
        else:
            assert name == "now" and value == {}
        names.append(name)
    assert names[2:] == ["look", "look", "now", "now"]


@pytest.mark.parametrize(
    ("dialect", "one", "two"),
    [
        (HERMES, "<tool_call>\n{}\n</tool_call>", "<tool_call>\n{}\n</tool_call>\n" * 2),
        (MISTRAL, "[TOOL_CALLS] [{}]", "[TOOL_CALLS][{}, {}]"),
        (LLAMA, "{}", "{}; {}"),
    ],
    ids=["hermes", "mistral", "llama"],
)
def test_an_answer_holds_as_many_calls_as_it_may(dialect: Dialect, one: str, two: str) -> None:
    tokenizer = load_tokenizer("builtin:starter")
    call = f'{{"name": "look", "{dialect.key}": {{"city": "Oslo", "days": [1, 2]}}}}'
    single, double = one.replace("{}", call), two.replace("{}", call).strip()
    alone, several = (call_form(dialect, [LOOK], each) for each in (False, True))
    assert fits(tokenizer, alone, single) and fits(tokenizer, several, single)
    assert not fits(tokenizer, alone, double)
    assert fits(tokenizer, several, double) is (dialect is not LLAMA)
    assert read(dialect, [double]) == [("look", '{"city": "Oslo", "days": [1, 2]}')] * 2
    for wrong in (single.replace("Oslo", "Rome"), single.replace("look", "now"), f"So {single}"):
        assert not fits(tokenizer, alone, wrong)
    more = single.replace("[1, 2]", '[1, 2], "hours": 1')
    assert not fits(tokenizer, alone, more)


def test_a_mark_is_the_token_that_it_has() -> None:
    from tokenizers import AddedToken

    tokenizer = load_tokenizer("builtin:starter")
    marks = [AddedToken("<tool_call>"), AddedToken("</tool_call>")]
    tokenizer.add_tokens([*marks, AddedToken("[TOOL_CALLS]", special=True)])
    added = tokenizer.get_added_vocab()
    call = '{"name": "now", "arguments": {}}'
    for dialect, text in (
        (HERMES, f"<tool_call>\n{call}\n</tool_call>"),
        (MISTRAL, f"[TOOL_CALLS] [{call}]"),
    ):
        form = call_form(dialect, [NOW], False, added)
        ids = tokenizer(text)["input_ids"]
        assert ids[0] == added[dialect.mark] and fits(tokenizer, form, text)
        # The text of the answer, as the engine tells it, is still a call.
        assert read(dialect, [tokenizer.decode(ids, skip_special_tokens=True)]) == [("now", "{}")]


def test_a_form_needs_a_tool() -> None:
    with pytest.raises(InputError, match="no tool"):
        call_form(HERMES, [], several=True)
