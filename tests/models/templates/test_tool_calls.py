"""Tool calls are read as they were written, and written where an answer must be some."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moli.models.engine.engine import Engine
from moli.models.engine.grammar import GrammarCompiler
from moli.models.engine.transformers_runner import load_transformers_runner
from moli.models.templates.tool_call_formats import (
    HERMES,
    LLAMA,
    MISTRAL,
    QWEN,
    ToolCallFormat,
    detect_format,
    tool_calls_grammar,
)
from moli.models.templates.tool_call_parser import (
    ParsedPart,
    ToolCallDelta,
    ToolCallParser,
    join_tool_calls,
)
from moli.models.tokenizers import load_tokenizer
from moli.records.errors import InputError
from moli.records.generation import OutputConstraint, Request, Sampling
from moli.records.messages import Tool

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
ELEMENTS = (
    "<function=look>\n<parameter=city>\nOslo\n</parameter>\n"
    "<parameter=days>\n[1,2]\n</parameter>\n</function>"
)
QWEN_CALL = f"<tool_call>\n{ELEMENTS}\n</tool_call>"
DEEP = '{"a":' * 50_000 + "1" + "}" * 50_000
KEYS = {"hermes": "arguments", "mistral": "arguments", "llama": "parameters"}
QWEN_READ = ("look", '{"city": "Oslo", "days": [1, 2]}')


def taken(pieces: Sequence[ParsedPart]) -> list[Any]:
    """Texts, joined where they follow each other, and calls without their ids."""
    told: list[Any] = []
    calls = join_tool_calls(pieces)
    for each in pieces:
        if isinstance(each, ToolCallDelta):
            call = calls[each.index].name, calls[each.index].arguments
            told += [] if each.index in [n for n, _ in numbered(told)] else [(each.index, call)]
        elif told and isinstance(told[-1], str):
            told[-1] += each
        else:
            told.append(each)
    return [each if isinstance(each, str) else each[1] for each in told]


def numbered(told: Sequence[Any]) -> list[Any]:
    return [each for each in told if not isinstance(each, str)]


def read(call_format: ToolCallFormat, parts: Sequence[str]) -> list[Any]:
    calls = ToolCallParser(call_format, TOOLS)
    return taken([piece for part in parts for piece in calls.feed(part)] + calls.close())


@pytest.mark.parametrize(
    ("call_format", "text", "expected"),
    [
        (HERMES, HERMES_CALL, [CALL]),
        (HERMES, f"Let me see.\n\n{HERMES_CALL}\n", ["Let me see.", CALL]),
        (HERMES, f"{HERMES_CALL}\n{HERMES_CALL}", [CALL, CALL]),
        (HERMES, f"{HERMES_CALL}\n Done.", [CALL, "\n Done."]),
        (HERMES, f"<tool_call>{PLAIN}", [CALL]),  # the end's mark is only for show
        (HERMES, PLAIN, [PLAIN]),
        (QWEN, QWEN_CALL, [QWEN_READ]),
        (QWEN, f"See.\n\n{QWEN_CALL}\n{QWEN_CALL}\n", ["See.", QWEN_READ, QWEN_READ]),
        (QWEN, f"<tool_call>{ELEMENTS} So.", [QWEN_READ, " So."]),
        (QWEN, "<tool_call>\n<function=now>\n</function>\n</tool_call>", [("now", "{}")]),
        (QWEN, "<tool_call><function=now></function>", [("now", "{}")]),
        (QWEN, ELEMENTS, [ELEMENTS]),
        (MISTRAL, f"[TOOL_CALLS] [{PLAIN}, {PLAIN}]", [CALL, CALL]),
        (MISTRAL, f"[TOOL_CALLS][{PLAIN}]", [CALL]),
        (MISTRAL, f"See: [TOOL_CALLS] [{PLAIN}]", ["See:", CALL]),
        (MISTRAL, f" [{PLAIN}]", [CALL]),  # as it looks when the mark is a special token
        (MISTRAL, f"See: [{PLAIN}]", [f"See: [{PLAIN}]"]),
        (MISTRAL, "[TOOL_CALLS] is a mark", ["[TOOL_CALLS] is a mark"]),
        (MISTRAL, f"[{PLAIN}, 1]", [CALL, ", 1]"]),
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
def test_each_dialect_is_read(call_format: ToolCallFormat, text: str, expected: list[Any]) -> None:
    assert read(call_format, [text]) == expected
    assert read(call_format, list(text)) == expected


@pytest.mark.parametrize(
    "body",
    [
        '{"name": "leave", "arguments": {}}',  # not offered
        '{"name": "look", "arguments": "Oslo"}',
        '{"name": ["look"], "arguments": {}}',
        '{"arguments": {"city": Oslo}, "name": "look"}',
        '{"name": "look", "ar',
        "look('Oslo')",
    ],
)
def test_what_is_no_call_is_text(body: str) -> None:
    text = f"So:\n<tool_call>\n{body}\n</tool_call>\n"
    assert read(HERMES, [text]) == [text]
    after = read(HERMES, [text + HERMES_CALL])
    assert after == [text.rstrip(), CALL]


@pytest.mark.parametrize(
    ("call_format", "text", "expected"),
    [
        # cut
        (
            HERMES,
            '<tool_call>\n{"name": "look", "arguments": {"city": "Os',
            [("look", '{"city": "Os')],
        ),
        (HERMES, f"So: {HERMES_CALL[:-3]}", ["So:", CALL]),
        (MISTRAL, f'[TOOL_CALLS] [{PLAIN}, {{"name": "now", "arguments": {{', [CALL, ("now", "{")]),
        (LLAMA, LLAMA_CALL[:-1], [CALL]),
        (QWEN, QWEN_CALL.partition("lo\n")[0], [("look", '{"city": "Os')]),
        (QWEN, QWEN_CALL.partition("eter=days")[0], [("look", '{"city": "Oslo')]),
        (QWEN, QWEN_CALL.partition("1,2")[0], [("look", '{"city": "Oslo"')]),
        # not JSON from somewhere on
        (
            HERMES,
            '<tool_call>{"name": "look", "arguments": {"city": Oslo}}</tool_call>',
            [("look", '{"city": '), "Oslo}}</tool_call>"],
        ),
        (
            HERMES,
            '<tool_call>{"name": "look", "arguments": {"city": "a",}}</tool_call>\n' + HERMES_CALL,
            [("look", '{"city": "a",}'), CALL],
        ),
        (
            HERMES,
            f'<tool_call>{{"name": "look", "arguments": {DEEP}}}</tool_call>',
            [("look", DEEP)],
        ),
    ],
)
def test_a_call_whose_arguments_break_off_is_an_incomplete_one(
    call_format: ToolCallFormat, text: str, expected: list[Any]
) -> None:
    assert read(call_format, [text]) == expected
    assert read(call_format, list(text)) == expected


@pytest.mark.parametrize("call_format", [HERMES, QWEN, MISTRAL, LLAMA], ids=lambda each: each.name)
def test_arguments_are_passed_on_as_they_arrive(call_format: ToolCallFormat) -> None:
    """Each letter of a value comes out before the next one goes in."""
    if call_format is QWEN:
        head, tail = (
            "<tool_call>\n<function=look>\n<parameter=city>\n",
            "\n</parameter>\n</function>",
        )
    else:
        key = KEYS[call_format.name]
        start = "[" if call_format is MISTRAL else ""
        head, tail = f'{call_format.begin}{start}{{"name": "look", "{key}": {{"city": "', '"}}'
    tool = Tool("look", "", {"properties": {"city": {"type": "string"}}})
    calls = ToolCallParser(call_format, [tool])
    [first] = join_tool_calls(calls.feed(head))
    assert first.arguments == '{"city": "'
    for letter in "Oslo, 挪威":
        [part] = calls.feed(letter)
        assert isinstance(part, ToolCallDelta) and part.arguments == letter
        assert (part.index, part.id, part.name) == (0, first.id, "look")
    [last] = join_tool_calls(calls.feed(tail) + calls.close())
    assert (last.arguments, last.id) == ('"}', first.id)


def required(text: str, *names: str) -> list[Any]:
    calls = ToolCallParser(HERMES, TOOLS, required=names)
    parts = [piece for letter in text for piece in calls.feed(letter)]
    return taken(parts + calls.close())


def test_a_required_call_is_not_repeated() -> None:
    other = HERMES_CALL.replace("Oslo", "Osaka")
    three = "\n".join([HERMES_CALL, HERMES_CALL, other, HERMES_CALL])
    osaka = ("look", ARGUMENTS.replace("Oslo", "Osaka"))
    assert required(three, "look", "now") == [CALL, osaka]
    assert required(f"{HERMES_CALL}\n{HERMES_CALL[:-30]}", "look") == [CALL]  # cut in a repeat
    assert read(HERMES, [three]) == [CALL, CALL, osaka, CALL]  # the model's own choice


@pytest.mark.parametrize("length", [0, 4, 12, 25, 40])
def test_a_required_call_that_is_cut_early_is_known_by_its_tool(length: int) -> None:
    text = HERMES_CALL[:length]
    assert required(text, "look") == [("look", "")]
    expected = [("look", "")] if length >= 25 else [text] if text else []
    assert required(text, "look", "now") == expected


@pytest.mark.parametrize(
    "body",
    [
        ELEMENTS.replace("look", "leave"),  # not offered
        ELEMENTS.replace("<parameter=city>", "city:"),
        ELEMENTS.replace("=look", "= look"),
        "<function=look",
        "<function>look</function>",
        PLAIN,
    ],
)
def test_elements_that_are_no_call_are_text(body: str) -> None:
    text = f"So:\n<tool_call>\n{body}\n</tool_call>\n"
    assert read(QWEN, [text]) == read(QWEN, list(text)) == [text]


def test_the_schema_says_what_is_a_text() -> None:
    kinds = {
        "text": {"type": "string"},
        "count": {"type": "integer"},
        "share": {"type": ["number", "null"]},
        "flag": {"type": "boolean"},
        "named": {"$ref": "#/$defs/Named"},
        "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        "any": {},
        "choice": {"enum": ["1", "2"]},
        "round": {"$ref": "#/$defs/Round"},
        "lost": {"$ref": "elsewhere"},
    }
    named = {"Named": {"type": "string"}, "Round": {"anyOf": [{"$ref": "#/$defs/Round"}]}}
    tool = Tool("put", "", {"type": "object", "properties": kinds, "$defs": named})

    def value(name: str, written: str) -> Any:
        text = f"<function=put>\n<parameter={name}>\n{written}\n</parameter>\n</function>"
        parts = ToolCallParser(QWEN, [tool]).feed(f"<tool_call>\n{text}\n</tool_call>")
        [call] = join_tool_calls(parts)
        return json.loads(call.arguments)[name]

    assert value("text", "5") == "5" and value("text", "true") == "true"
    assert value("text", ' a\n"b"\n</parameter> <x>') == ' a\n"b"\n</parameter> <x>'
    assert value("text", "") == "" and value("named", "[1]") == "[1]"
    assert value("count", "5") == 5 and value("count", "5.5") == "5.5"  # as it was written
    assert value("share", "5") == 5 and value("share", "None") is None
    assert value("flag", "True") is True and value("flag", "false") is False
    assert value("either", "5") == 5 and value("either", "five") == "five"
    assert value("any", '{"a": [1]}') == {"a": [1]} and value("any", "Oslo") == "Oslo"
    assert value("choice", "1") == "1" and value("round", "1") == 1 and value("lost", "x") == "x"
    assert value("unknown", "NaN") == "NaN"


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["string", "#/$defs/a", "a"]),
    lambda some: (
        st.lists(some, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                ["type", "enum", "anyOf", "$ref", "properties", "required", "$defs", "a"]
            ),
            some,
            max_size=3,
        )
    ),
)


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(["properties", "required", "$defs"]), ODD))
def test_a_schema_may_be_anything(parameters: dict[str, Any]) -> None:
    tool = Tool("put", "", parameters)
    text = "<tool_call><function=put><parameter=a>\n1\n</parameter></function>"
    [call] = join_tool_calls(ToolCallParser(QWEN, [tool]).feed(text))
    assert json.loads(call.arguments)["a"] in (1, "1")
    assert tool_calls_grammar(QWEN, [tool], several=True).lark


VALUES = st.one_of(st.text('ab<>/=\n "{é', max_size=8), st.integers(), st.booleans(), st.none())


@given(st.dictionaries(st.text("abc", min_size=1), VALUES, max_size=4))
def test_elements_are_read_as_templates_write_them(arguments: dict[str, Any]) -> None:
    kinds = {str: "string", int: "integer", bool: "boolean", type(None): "null"}
    properties = {name: {"type": kinds[type(value)]} for name, value in arguments.items()}
    tool = Tool("put", "", {"type": "object", "properties": properties})
    values = {k: v if isinstance(v, str) else json.dumps(v) for k, v in arguments.items()}
    inside = "".join(f"<parameter={k}>\n{v}\n</parameter>\n" for k, v in values.items())
    text = f"<tool_call>\n<function=put>\n{inside}</function>\n</tool_call>"
    calls = ToolCallParser(QWEN, [tool])
    parts = [piece for letter in text for piece in calls.feed(letter)] + calls.close()
    [call] = join_tool_calls(parts)
    assert json.loads(call.arguments) == arguments


def test_arguments_may_hold_marks_quotes_and_brackets() -> None:
    arguments = json.dumps({"city": '</tool_call>\n"}]{\\', "days": [{"<tool_call>": []}]})
    text = f'<tool_call>\n{{"arguments": {arguments}, "name": "look"}}\n</tool_call>'
    assert read(HERMES, list(text)) == [("look", arguments)]


def test_text_and_arguments_are_told_at_once() -> None:
    calls = ToolCallParser(HERMES, TOOLS)
    assert calls.feed("One ") == ["One"]
    assert calls.feed("< two <to") == [" < two"]
    assert calls.feed("p> <tool_") == [" <top>"]
    assert calls.feed('call> {"name": "now", "arguments": ') == []
    [call] = calls.feed("{}")
    assert isinstance(call, ToolCallDelta) and (call.name, call.arguments) == ("now", "{}")
    assert calls.feed("}") == []
    assert len(call.id) == 29 and int(call.id.removeprefix("call_"), 16) >= 0
    assert calls.feed(" </tool_call>\n") == calls.close() == []
    calls = ToolCallParser(LLAMA, TOOLS)
    assert calls.feed('{"a": ') == []
    assert calls.feed("b") == ['{"a": b']  # no JSON


PIECES = [
    "a", " ", "\n", "{", "}", "[", "]", '"', "\\", ";", ",", '{"', '[{"', "<tool_call>",
    "</tool_call>", "<tool_", "[TOOL_CALLS]", "[TOOL_", "<|python_tag|>", "<|", PLAIN, LLAMA_CALL,
    f"[{PLAIN}]", HERMES_CALL, QWEN_CALL, ELEMENTS, "<function=", "look>", "<parameter=a>",
    "</parameter>", "</function>", '{"name": "leave", "arguments": {}}',
]  # fmt: skip


@given(
    st.sampled_from([HERMES, QWEN, MISTRAL, LLAMA]),
    st.lists(st.sampled_from(PIECES), max_size=8).map("".join),
    st.data(),
)
def test_how_an_answer_comes_changes_nothing(
    call_format: ToolCallFormat, text: str, data: Any
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    edges = [0, *cuts, len(text)]
    parts = [text[a:b] for a, b in pairwise(edges)]
    whole = read(call_format, [text])
    assert read(call_format, parts) == read(call_format, list(text)) == whole
    if all(isinstance(each, str) for each in whole):
        assert "".join(whole) == text


def joined(told: Sequence[Any]) -> list[Any]:
    """Texts that follow each other as one."""
    groups = [(kind, list(each)) for kind, each in groupby(told, lambda e: isinstance(e, str))]
    return [part for is_text, each in groups for part in (["".join(each)] if is_text else each)]


WORDS = st.text('ab {["<;', min_size=1, max_size=6).filter(str.strip)


@pytest.mark.slow
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
            expected.append(("now", arguments))
    assert read(HERMES, [text]) == joined(expected)


def test_a_dialect_is_found_in_the_template() -> None:
    qwen = "{% if tools %}<tool_call>{% endif %}{{ message.tool_calls }}"
    assert detect_format(qwen) is HERMES
    assert detect_format(qwen + "{{ '<function=' + call.name }}") is QWEN
    assert detect_format("{%- if tools -%}{{ m.tool_calls }}{% endif %}[TOOL_CALLS] [") is MISTRAL
    assert detect_format("{{ tools }}{{ m['tool_calls'] }}<|python_tag|>") is LLAMA
    # What only speaks of tools, or shows none of the calls that were made, is told in words.
    assert detect_format("{# tools #}{{ 'Use tools: [TOOL_CALLS]' }}{{ m.tool_calls }}") is HERMES
    assert detect_format("{{ tools }}[TOOL_CALLS]") is HERMES
    assert detect_format("{{ 'unclosed") is detect_format("") is HERMES


# Answers that must be calls


@pytest.fixture(scope="module")
def starter() -> Engine:
    name = "builtin:starter"
    return Engine(load_transformers_runner(name), load_tokenizer(name), max_num_seqs=8)


def fits(tokenizer: Any, form: OutputConstraint, text: str) -> bool:
    """Whether a form lets this text be written, token by token, and end there."""
    import torch

    end = tokenizer.eos_token_id
    grammar = GrammarCompiler(tokenizer, [end]).start(form)
    for token in [*tokenizer(text, add_special_tokens=False)["input_ids"], end]:
        if grammar.mask(torch.zeros(len(tokenizer)))[token] != 0:
            return False
        grammar.accept(token)
    return True


@pytest.mark.slow
@pytest.mark.parametrize("call_format", [HERMES, MISTRAL, LLAMA], ids=lambda each: each.name)
def test_a_model_that_never_saw_tools_calls_one(
    starter: Engine, call_format: ToolCallFormat
) -> None:
    ids = load_tokenizer("builtin:starter")("The old man said:")["input_ids"]
    ways = []
    for tools in (TOOLS, [LOOK], [NOW]):
        form = tool_calls_grammar(call_format, tools, several=False)
        ways += [
            Sampling(120, constraint=form),
            Sampling(120, 1.0, seed=1, constraint=form),
        ]
    names = []
    for told in starter.complete([Request(ids, each) for each in ways]):
        assert told.reason == "stop"
        [(name, arguments)] = read(call_format, [told.text])
        value = json.loads(arguments)
        assert (
            f', "{KEYS[call_format.name]}": {json.dumps(value, ensure_ascii=False)}}}' in told.text
        )
        if name == "look":
            assert set(value) == {"city", "days"} and value["city"] in ("Oslo", "Århus")
            assert 1 <= len(value["days"]) <= 2 and set(value["days"]) <= {1, 2, 3}
        else:
            assert name == "now" and value == {}
        names.append(name)
    assert names[2:] == ["look", "look", "now", "now"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call_format", "one", "two"),
    [
        (HERMES, "<tool_call>\n{}\n</tool_call>", "<tool_call>\n{}\n</tool_call>\n" * 2),
        (MISTRAL, "[TOOL_CALLS] [{}]", "[TOOL_CALLS][{}, {}]"),
        (LLAMA, "{}", "{}; {}"),
    ],
    ids=["hermes", "mistral", "llama"],
)
def test_an_answer_holds_as_many_calls_as_it_may(
    call_format: ToolCallFormat, one: str, two: str
) -> None:
    tokenizer = load_tokenizer("builtin:starter")
    call = f'{{"name": "look", "{KEYS[call_format.name]}": {{"city": "Oslo", "days": [1, 2]}}}}'
    single, double = one.replace("{}", call), two.replace("{}", call).strip()
    alone, several = (tool_calls_grammar(call_format, [LOOK], each) for each in (False, True))
    assert fits(tokenizer, alone, single) and fits(tokenizer, several, single)
    assert not fits(tokenizer, alone, double)
    assert fits(tokenizer, several, double) is (call_format is not LLAMA)
    assert read(call_format, [double]) == [("look", '{"city": "Oslo", "days": [1, 2]}')] * 2
    for wrong in (single.replace("Oslo", "Rome"), single.replace("look", "now"), f"So {single}"):
        assert not fits(tokenizer, alone, wrong)
    more = single.replace("[1, 2]", '[1, 2], "hours": 1')
    assert not fits(tokenizer, alone, more)


@pytest.mark.slow
def test_elements_are_written_where_they_must_be(starter: Engine) -> None:
    tokenizer = load_tokenizer("builtin:starter")
    form = tool_calls_grammar(QWEN, [LOOK], several=False)
    assert fits(tokenizer, form, QWEN_CALL.replace("1,2", "1, 2"))
    for wrong in ("Rome", "Oslo\n</parameter>\n<parameter=more>\nx"):
        assert not fits(tokenizer, form, QWEN_CALL.replace("1,2", "1, 2").replace("Oslo", wrong))
    several = tool_calls_grammar(QWEN, [NOW], several=True)
    now = "<tool_call>\n<function=now>\n</function>\n</tool_call>"
    assert fits(tokenizer, several, f"{now}\n{now}")
    words = {"type": "object", "properties": {"say": {"type": "string"}, "n": {"type": "integer"}}}
    free = tool_calls_grammar(
        QWEN, [Tool("put", "", {**words, "required": ["say"]})], several=False
    )
    said = "<function=put>\n<parameter=say>\na </parameter> b\n\n</parameter>\n</function>"
    assert fits(tokenizer, free, f"<tool_call>\n{said}\n</tool_call>")
    assert not fits(tokenizer, free, "<tool_call>\n<function=put>\n</function>\n</tool_call>")
    # A model that never saw tools calls one, too.
    ids = tokenizer("The old man said:")["input_ids"]
    [told] = starter.complete([Request(ids, Sampling(120, constraint=form))])
    [(name, arguments)] = read(QWEN, [told.text])
    value = json.loads(arguments)
    assert name == "look" and value["city"] in ("Oslo", "Århus") and value["days"]


def test_a_mark_is_the_token_that_it_has() -> None:
    from tokenizers import AddedToken

    tokenizer = load_tokenizer("builtin:starter")
    marks = [AddedToken("<tool_call>"), AddedToken("</tool_call>")]
    tokenizer.add_tokens([*marks, AddedToken("[TOOL_CALLS]", special=True)])
    added = tokenizer.get_added_vocab()
    call = '{"name": "now", "arguments": {}}'
    for call_format, text in (
        (HERMES, f"<tool_call>\n{call}\n</tool_call>"),
        (MISTRAL, f"[TOOL_CALLS] [{call}]"),
    ):
        form = tool_calls_grammar(call_format, [NOW], False, added)
        ids = tokenizer(text)["input_ids"]
        assert ids[0] == added[call_format.begin] and fits(tokenizer, form, text)
        # The text of the answer, as the engine tells it, is still a call.
        assert read(call_format, [tokenizer.decode(ids, skip_special_tokens=True)]) == [
            ("now", "{}")
        ]


def test_a_form_needs_a_tool() -> None:
    with pytest.raises(InputError, match="no tool"):
        tool_calls_grammar(HERMES, [], several=True)
