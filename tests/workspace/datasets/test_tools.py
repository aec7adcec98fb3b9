"""Conversations that call tools: read alike however they are written, and told where they err."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from docs.pages import ROOT, blocks

from moli.records.examples import Conversation
from moli.records.messages import Message, Tool, ToolCall
from moli.workspace.datasets import Dataset, read_dataset

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
    "required": ["city"],
}
LOOK = {"name": "look", "description": "Look up the weather.", "parameters": SCHEMA}
NOW = {"name": "now", "description": "Tell the time."}
TOOLS = [{"type": "function", "function": each} for each in (LOOK, NOW)]
OSLO, TURIN = {"city": "Oslo", "days": 2}, {"city": "Turin"}
READ = (Tool("look", "Look up the weather.", SCHEMA), Tool("now", "Tell the time."))


def call(name: str, arguments: Any, number: int = 0) -> dict[str, Any]:
    """A call in the format of OpenAI's API."""
    function = {"name": name, "arguments": arguments}
    return {"id": f"c{number}", "type": "function", "function": function}


def calling(*calls: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"role": "user", "content": "Rain?"},
        {"role": "assistant", "content": None, "tool_calls": list(calls)},
    ]


def result(text: str, number: int = 0) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": f"c{number}", "content": text}


SAID = {"role": "assistant", "content": "Dry."}
TWO = [
    *calling(call("look", json.dumps(OSLO)), call("look", json.dumps(TURIN), 1)),
    result("wet", 1),
    result("dry"),
    SAID,
]


def dataset(folder: Path, *rows: dict[str, Any]) -> Dataset:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    return read_dataset(path)


def only(read: Dataset) -> Conversation:
    assert read.malformed == ()
    (located,) = read.examples
    assert isinstance(located.example, Conversation)
    return located.example


def turns_of(read: Conversation) -> list[Any]:
    """Turns with calls by name and arguments, and answers by the number of the call."""
    calls = [each for message in read.messages for each in message.calls]
    assert len({each.id for each in calls}) == len(calls)
    ids = [each.id for each in calls]
    turns: list[Any] = []
    for message in read.messages:
        if message.role == "tool":
            turns.append((ids.index(message.call_id), message.content))
        elif message.calls:
            turns.append([(each.name, json.loads(each.arguments)) for each in message.calls])
        else:
            turns.append(message.content)
    return turns


TOLD = ["Rain?", [("look", OSLO), ("look", TURIN)], (1, "wet"), (0, "dry"), "Dry."]


def test_openais_shape_is_read_to_the_records_that_requests_are(tmp_path: Path) -> None:
    first, second = ToolCall("c0", "look", json.dumps(OSLO)), ToolCall("c1", "look", '{"city":"x"}')
    turns = [
        *calling(call("look", json.dumps(OSLO)), call("look", '{"city":"x"}', 1)),
        result("wet", 1),
        result("dry"),
        SAID,
    ]
    read = only(dataset(tmp_path, {"messages": turns, "tools": TOOLS}))
    assert read.tools == READ
    assert read.messages == (
        Message("user", "Rain?"),
        Message("assistant", "", (first, second)),
        Message("tool", "wet", call_id="c1"),
        Message("tool", "dry", call_id="c0"),
        Message("assistant", "Dry."),
    )
    assert hash(read) == hash(only(dataset(tmp_path, {"messages": turns, "tools": TOOLS})))


def without(turns: list[dict[str, Any]], *keys: str) -> list[dict[str, Any]]:
    return [{name: value for name, value in each.items() if name not in keys} for each in turns]


def in_order(change: Callable[[dict[str, Any]], dict[str, Any]]) -> list[dict[str, Any]]:
    """The two answers in the order of their calls, each call changed."""
    question, calls, wet, dry, answer = TWO
    return [question, calls | {"tool_calls": [change(each) for each in calls["tool_calls"]]},
            dry | {"content": "wet"}, wet | {"content": "dry"}, answer]  # fmt: skip


IN_ORDER = [TOLD[0], TOLD[1], (0, "wet"), (1, "dry"), TOLD[4]]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"messages": TWO, "tools": TOOLS}, TOLD),
        ({"messages": TWO, "tools": json.dumps(TOOLS)}, TOLD),
        ({"messages": TWO, "tools": [LOOK, NOW]}, TOLD),
        ({"messages": without(TWO, "content") and [
            {key: value for key, value in each.items() if value is not None} for each in TWO
        ], "tools": TOOLS}, TOLD),
        # Arguments as values, calls without ids or wrapping: then the order says which is answered.
        ({"messages": in_order(lambda old: call("look", json.loads(old["function"]["arguments"]),
                                                int(old["id"][1:]))), "tools": TOOLS}, IN_ORDER),
        ({"messages": without(in_order(lambda each: each["function"]), "tool_call_id"),
          "tools": TOOLS}, IN_ORDER),
        ({"messages": [
            {"role": "developer", "content": "Be brief."}, TWO[0],
            {"role": "assistant", "function_call": LOOK | {"arguments": json.dumps(TURIN)}},
            {"role": "function", "name": "look", "content": "wet"}, SAID,
        ], "tools": TOOLS}, ["Be brief.", "Rain?", [("look", TURIN)], (0, "wet"), "Dry."]),
        # By the tools' names, where ids are missing.
        ({"messages": [
            TWO[0], {"role": "assistant", "content": "", "tool_calls": [
                {"name": "look", "arguments": OSLO}, {"name": "now", "arguments": {}}]},
            {"role": "tool", "name": "now", "content": "9:00"},
            {"role": "tool", "name": "look", "content": "dry"},
        ], "tools": TOOLS}, ["Rain?", [("look", OSLO), ("now", {})], (1, "9:00"), (0, "dry")]),
        # A conversation may end with calls, and ids may be used again.
        ({"messages": [*calling(call("now", "{}")), result("9:00"), *calling(call("look", OSLO))],
          "tools": TOOLS}, None),
    ],
)  # fmt: skip
def test_calls_are_read_however_they_are_written(
    tmp_path: Path, row: dict[str, Any], expected: list[Any] | None
) -> None:
    read = only(dataset(tmp_path, row))
    assert read.tools == READ
    if expected is not None:
        assert turns_of(read) == expected


def test_what_is_said_beside_a_call_is_kept(tmp_path: Path) -> None:
    turns = calling(call("now", "{}"))
    turns[1]["content"] = "Let me see."
    read = only(dataset(tmp_path, {"messages": turns, "tools": TOOLS}))
    assert read.messages[1] == Message("assistant", "Let me see.", (ToolCall("c0", "now", "{}"),))


@pytest.mark.parametrize("as_json", [True, False])
def test_parquet_has_the_keys_of_all_structs_in_each(tmp_path: Path, as_json: bool) -> None:
    """Tools and arguments that are structs have null for keys that only others have."""
    rows: list[dict[str, Any]] = [
        {"messages": [*calling(call("look", OSLO)), result("dry"), SAID], "tools": TOOLS},
        {"messages": calling(call("look", TURIN)), "tools": TOOLS},
    ]
    if as_json:
        rows = json.loads(json.dumps(rows))
        for row in rows:
            row["tools"] = json.dumps(row["tools"])
            for tool_call in row["messages"][1]["tool_calls"]:
                function = tool_call["function"]
                function["arguments"] = json.dumps(function["arguments"])
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path)
    read = read_dataset(path)
    assert read.malformed == ()
    first, second = (each.example for each in read.examples)
    assert isinstance(first, Conversation) and isinstance(second, Conversation)
    assert first.tools == second.tools == READ
    assert turns_of(first) == ["Rain?", [("look", OSLO)], (0, "dry"), "Dry."]
    assert turns_of(second) == ["Rain?", [("look", TURIN)]]


def shared(*turns: tuple[str, str]) -> dict[str, Any]:
    """A row in the format of LLaMA-Factory's data sets."""
    values = [{"from": role, "value": text} for role, text in turns]
    return {"conversations": values, "tools": json.dumps([LOOK, NOW])}


ONE_CALL = json.dumps({"name": "look", "arguments": OSLO})
TWO_CALLS = json.dumps([{"name": "look", "arguments": each} for each in (OSLO, TURIN)])


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            shared(("human", "Rain?"), ("function_call", ONE_CALL), ("observation", "dry"),
                   ("gpt", "Dry.")),
            ["Rain?", [("look", OSLO)], (0, "dry"), "Dry."],
        ),
        (
            shared(("human", "Rain?"), ("function_call", TWO_CALLS), ("observation", "wet"),
                   ("observation", '["a", "b"]'), ("gpt", "Dry.")),
            ["Rain?", TOLD[1], (0, "wet"), (1, '["a", "b"]'), "Dry."],
        ),
        (  # turns alternate there, so two answers are one turn
            shared(("human", "Rain?"), ("function_call", TWO_CALLS),
                   ("observation", '[{"rain": "nein, für Øst"}, "dry"]'), ("gpt", "Dry.")),
            ["Rain?", TOLD[1], (0, '{"rain": "nein, für Øst"}'), (1, "dry"), "Dry."],
        ),
        (  # a list that one call gave is one answer
            shared(("human", "Rain?"), ("function_call", ONE_CALL), ("observation", "[4]"),
                   ("function_call", ONE_CALL), ("observation", "[5]"), ("gpt", "Dry.")),
            ["Rain?", [("look", OSLO)], (0, "[4]"), [("look", OSLO)], (1, "[5]"), "Dry."],
        ),
    ],
)  # fmt: skip
def test_llama_factorys_shape(tmp_path: Path, row: dict[str, Any], expected: list[Any]) -> None:
    read = only(dataset(tmp_path, row))
    assert read.tools == READ
    assert turns_of(read) == expected


def test_calls_in_the_assistants_words_are_words(tmp_path: Path) -> None:
    """Hermes's data have it so, and the system message describes the tools as well."""
    row = shared(
        ("system", f"<tools>{json.dumps(LOOK)}</tools>"), ("human", "Rain?"),
        ("gpt", "<tool_call>\n{'name': 'look'}\n</tool_call>"), ("tool", "dry"), ("gpt", "Dry."),
    )  # fmt: skip
    read = only(dataset(tmp_path, row))
    assert [each.role for each in read.messages] == [
        "system", "user", "assistant", "tool", "assistant"
    ]  # fmt: skip
    assert not any(each.calls for each in read.messages)
    assert read.tools == (READ[1],)


def row_of(*turns: dict[str, Any], tools: Any = TOOLS) -> dict[str, Any]:
    return {"messages": list(turns), "tools": tools}


def arguments(values: Any) -> dict[str, Any]:
    return row_of(*calling(call("look", values)))


def offering(**function: Any) -> dict[str, Any]:
    return row_of(TWO[0], SAID, tools=[{"type": "function", "function": function}])


NO_JSON = "'messages[1]' calls \"look\" with arguments that are not a JSON object. Write {"
# The second row, which is wrong, and a part of the message about it.
WRONG = {
    "unknown": (
        row_of(*calling(call("loook", OSLO))),
        "'messages[1]' calls \"loook\", which is not offered. Call it \"look\", or add it",
    ),
    "foreign": (
        row_of(*calling(call("send", OSLO))),
        "'messages[1]' calls \"send\", which is not offered. The row offers: look, now. Add it.",
    ),
    "nothing offered": (row_of(*calling(call("look", OSLO)), tools=None),
                        "The row offers no tools."),
    "empty offer": (row_of(*calling(call("look", OSLO)), tools="[]"), "The row offers no tools."),
    "no object": (arguments("[]"), NO_JSON),
    "no json": (arguments("{city: Oslo}"), NO_JSON),
    "no arguments": (arguments(None), NO_JSON),
    "empty arguments": (arguments(""), NO_JSON),
    "a number": (arguments(5), NO_JSON),
    "not a number": (arguments('{"city": NaN}'), NO_JSON),
    "infinite": (arguments({"city": float("inf")}), NO_JSON),
    "deep": (arguments('{"a":' * 100_000), NO_JSON),
    "half": (arguments('{"city": "\\ud83d"}'), "'messages[1]' contains half a character"),
    "required": (
        arguments({"days": 1}),
        "'messages[1]' calls \"look\" without \"city\", which is required. Add it to the arguments",
    ),
    "second call": (
        row_of(*calling(call("look", OSLO), call("look", {}, 1))),
        'calls "look" without "city"',
    ),
    "same ids": (row_of(*calling(call("now", {}), call("now", {}))), "two calls with the same id"),
    "no name": (row_of(*calling({"id": "c0", "function": {}})), "does not name a function"),
    "a text": (row_of(*calling() [:1], {"role": "assistant", "tool_calls": "look()"}),
               "has calls that are not JSON objects"),
    "no call": (row_of(TWO[0], SAID, result("dry"), SAID),
                "'messages[2]' answers \"c0\", which is not a pending call"),
    "no call in words": (row_of(TWO[0], result("dry") | {"tool_call_id": None}, SAID),
                         "'messages[1]' answers no call. Add the call"),
    "other call": (row_of(*calling(call("now", {})), result("dry", 1), SAID),
                   "'messages[2]' answers \"c1\""),
    "other name": (row_of(*calling(call("now", {})), {"role": "tool", "name": "look",
                                                    "content": "dry"}, SAID),
                   "'messages[2]' answers \"look\""),
    "twice": (row_of(*calling(call("now", {})), result("a"), result("b"), SAID),
              "'messages[3]' answers \"c0\", which is not a pending call"),
    "no answer": (
        row_of(*calling(call("now", {})), *calling(call("now", {}))),
        "the call to \"now\" has no result before 'messages[2]'. Add the tool's result",
    ),
    "one answer": (row_of(*TWO[:3], SAID), "the call to \"look\" has no result"),
    "said instead": (row_of(*calling(call("now", {})), SAID),
                     "the call to \"now\" has no result"),
    "user": (row_of(calling(call("now", {}))[1] | {"role": "user"}, SAID),
             "'messages[0]' has tool calls, but the role user"),
    "null": (row_of(TWO[0], {"role": "assistant", "content": None, "tool_calls": []}),
             "'messages[1]' has no text in 'content'"),
    "missing": (row_of(TWO[0], {"role": "assistant", "tool_calls": None}),
                "'messages[1]' lacks 'role' or 'content'"),
    "tool's object": (row_of(*calling(call("now", {})),
                             result("") | {"content": {"hour": 9}}, SAID),
                      "'messages[2]' has no text in 'content'"),
    "role": (row_of(*calling(call("now", {})), result("9") | {"role": "tools"}, SAID),
             "'messages[2]' has the role \"tools\"; expected one of system, user, assistant"),
    "tools as text": (row_of(TWO[0], SAID, tools="look, now"), "'tools' is not a list of tools"),
    "one tool": (row_of(TWO[0], SAID, tools=LOOK), "'tools' is not a list of tools"),
    "unnamed": (offering(description="x"), "'tools[0]' does not name a function. Write {\"type\""),
    "schema": (offering(name="look", parameters="none"), "parameters that are not a JSON schema"),
    "list": (offering(name="look", parameters=[1]), "parameters that are not a JSON schema"),
    "description": (offering(name="look", description=5), "a description that is not text"),
    "half a tool": (offering(name="look", description="\udc00"), "'tools[0]' contains half"),
    "shared text": (shared(("human", "a"), ("function_call", "look(1)")),
                    "'conversations[1]' has calls that are not JSON objects"),
    "shared nothing": (shared(("human", "a"), ("function_call", "")),
                       "'conversations[1]' has no call"),
    "shared list": (shared(("human", "a"), ("function_call", TWO_CALLS), ("observation", "[1]"),
                           ("gpt", "b")), "has no result before 'conversations[3]'"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_row_that_errs_is_told_and_the_rest_is_read(tmp_path: Path, name: str) -> None:
    row, message = WRONG[name]
    good = {"messages": TWO, "tools": TOOLS} if "messages" in row else shared(
        ("human", "Rain?"), ("gpt", "Dry.")
    )  # fmt: skip
    read = dataset(tmp_path, good, row)
    (malformed,) = read.malformed
    assert malformed.where == f"{tmp_path / 'rows.jsonl'}:2"
    assert message in str(malformed)
    assert malformed.fix.endswith(".")
    assert len(read.examples) == 1


def test_the_column_of_tools_may_have_another_name(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"messages": TWO, "functions": [LOOK, NOW]}))
    assert only(read_dataset(path, columns={"tools": "functions"})).tools == READ


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_row_of_the_documentation_is_read(tmp_path: Path, language: str) -> None:
    page = (ROOT / "docs" / language / "training.md").read_text(encoding="utf-8")
    [row] = [json.loads(body) for kind, body in blocks(page) if kind == "json"]
    read = only(dataset(tmp_path, row))
    assert [each.name for each in read.tools] == ["weather"]
    assert [each.role for each in read.messages] == ["user", "assistant", "tool", "assistant"]
    assert [len(each.calls) for each in read.messages] == [0, 1, 0, 0]
