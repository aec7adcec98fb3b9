"""Bodies that no honest client sends, to a live server: each is refused by its field's name."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import httpx
import pytest
from conformance.served import BASE, TALK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moli.serving import generation_service
from moli.serving.request_log import add_log_handler

Body = dict[str, Any] | bytes


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def raw(text: str, **fields: Any) -> bytes:
    """The JSON of an object with more of its text at the end."""
    return f"{json.dumps(fields)[:-1]}, {text}}}".encode()


LOOP = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}
SCHEMAS: dict[str, Any] = {
    "circular": LOOP,
    "refers to itself": {"$ref": "#"},
    "refers to nowhere": {"$ref": "#/nowhere"},
    "refers to the network": {"$ref": "http://127.0.0.1:9/schema"},
    "900 levels": nested(450),
    "60 levels": nested(60),
    "half a character as a name": {"type": "object", "properties": {"\ud800": {}}},
    "a null character as a name": {"type": "object", "properties": {"a\0": {}}},
    "a name with half a character": {"type": "object", "required": ["\udfff"]},
    "more entries than there are numbers": {"type": "array", "minItems": 10**20},
    "a negative length": {"type": "string", "maxLength": -1},
    "longer than it may be": {"type": "string", "minLength": 5, "maxLength": 1},
    "an expression that is none": {"type": "string", "pattern": "(("},
    "a kind that is none": {"type": "strng"},
    "a number that is none": {"type": "integer", "minimum": 10**400},
    "a text too long to write": {"enum": ["x" * 250_000]},
    "larger than a schema may be": {"enum": [f"value {n}" for n in range(30_000)]},
    "not to be met": {"allOf": [{"type": "string"}, {"type": "integer"}]},
    "properties that are no object": {"type": "object", "properties": "x"},
    "many combinations": {
        "allOf": [
            {"anyOf": [{"properties": {f"a{i}{j}": {"type": "string"}}} for i in range(5)]}
            for j in range(12)
        ]
    },
}


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": BASE, "messages": TALK, "max_tokens": 2, **fields}


def tool(schema: Any, name: str = "look") -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": schema}}


def carriers(schema: Any) -> dict[str, tuple[str, dict[str, Any], str]]:
    """Bodies that have a schema: the path, the body, and the field that has to be named."""
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    text = {"format": {"type": "json_schema", "name": "a", "schema": schema}}
    flat = {"type": "function", "name": "look", "parameters": schema}
    answer = {"model": BASE, "input": "a", "max_output_tokens": 2}
    called = {"tools": [tool(schema)], "tool_choice": "required"}
    return {
        "format": ("chat/completions", chat(response_format=form), "response_format"),
        "tools": ("chat/completions", chat(**called), "tools"),
        "text": ("responses", answer | {"text": text}, "text"),
        "flat": ("responses", answer | {"tools": [flat], "tool_choice": "required"}, "tools"),
    }


class Notes(logging.Handler):
    """The lines of the request log."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: SimpleQueue[dict[str, Any]] = SimpleQueue()

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.put(json.loads(record.getMessage()))

    def next_line(self) -> dict[str, Any]:
        """The next line, which is written when the response has been sent."""
        return self._lines.get(timeout=20)


@pytest.fixture
def notes() -> Iterator[Notes]:
    handler = Notes()
    add_log_handler(handler)
    yield handler
    logging.getLogger("moli.requests").removeHandler(handler)


def refused(address: str, path: str, body: Body, status: int = 400) -> dict[str, Any]:
    """The error of a request that has to be refused."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    answer = httpx.post(f"{address}/v1/{path}", content=content, headers=headers, timeout=60)
    assert answer.status_code == status, answer.text[:500]
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    for part in (error["message"], error["param"] or ""):
        assert "function-" not in part and "[_" not in part and "pydantic" not in part
    return error


@pytest.mark.slow
@pytest.mark.parametrize("carrier", carriers({}))
@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_that_cannot_be_followed_is_refused_by_its_field(
    address: str, notes: Notes, name: str, carrier: str
) -> None:
    path, body, field = carriers(SCHEMAS[name])[carrier]
    named = re.split(r"[.\[]", refused(address, path, body)["param"])[0]
    # A tool is part of the prompt, which can be too long before its schema is looked at.
    assert named in (field, "messages", "input")
    line = notes.next_line()
    assert (line["status"], line["field"]) == (400, named)


@pytest.mark.slow
@pytest.mark.parametrize(
    "regex",
    ["a{1000000000}", "(a{1000}){1000}", "((", "(?=a)b", r"(a)\1", "(" * 50_000, "a\0b", "a\ud800",
     "|".join(f"word{number}" for number in range(90_000)), "x" * 300_000, r"\p{Nonsense}",
     "[z-a]"],
    ids=range(12),
)  # fmt: skip
@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_an_expression_that_cannot_be_followed_is_refused(
    address: str, path: str, regex: str
) -> None:
    asked = {"prompt": "a"} if path == "completions" else {"messages": TALK}
    body = {"model": BASE, "max_tokens": 4, "regex": regex, **asked}
    assert refused(address, path, body)["param"] == "regex"


@pytest.mark.slow
def test_a_format_that_becomes_too_complex_is_the_requests_fault(address: str) -> None:
    """Its beginning can be written, and only then is there no way on."""
    body = {"model": BASE, "prompt": "a", "max_tokens": 20, "regex": "[bc](a{1000000000})"}
    assert refused(address, "completions", body)["param"] == "regex"
    streamed = httpx.post(f"{address}/v1/completions", json=body | {"stream": True}, timeout=60)
    assert '"code": "input"' in streamed.text.split("data: ")[-1]


HOSTILE: list[tuple[str, Body, str | None]] = [
    ("chat/completions", chat(messages=7), "messages"),
    ("chat/completions", chat(messages=[]), "messages"),
    ("chat/completions", chat(messages=["a"]), "messages[0]"),
    ("chat/completions", chat(messages=[{"role": "user", "content": 7}]), "messages[0].content"),
    ("chat/completions", chat(messages=[{"role": "king", "content": "a"}]), "messages[0].role"),
    ("chat/completions", chat(messages=[{"content": "a"}]), "messages[0].role"),
    ("chat/completions", chat(messages=[{"role": "user", "content": "a\ud800"}]),
     "messages[0].content"),
    ("chat/completions", chat(messages=[{"role": "user", "content": "a\0"}]),
     "messages[0].content"),
    ("chat/completions", chat(messages=[{"role": "user", "content": [{"type": "text"}]}]),
     "messages[0].content[0].text"),
    ("chat/completions",
     chat(messages=[{"role": "user", "content": [{"type": "text", "text": 5}]}]),
     "messages[0].content[0].text"),
    ("chat/completions", chat(temperature="warm"), "temperature"),
    ("chat/completions", chat(temperature=1e308), "temperature"),
    ("chat/completions", chat(n=1.5), "n"),
    ("chat/completions", chat(n=10**30), "n"),
    ("chat/completions", chat(max_tokens=-1), "max_tokens"),
    ("chat/completions", chat(stop=[[]]), "stop[0]"),
    ("chat/completions", chat(stop={"a": 1}), "stop"),
    ("chat/completions", chat(stream="perhaps"), "stream"),
    ("chat/completions", chat(tools=[{"type": "function"}]), "tools[0].function"),
    ("chat/completions", chat(tools=[tool({}, "no name\n")]), "tools[0].function.name"),
    ("chat/completions", chat(tools=[tool("x")]), "tools[0].function.parameters"),
    ("chat/completions", chat(tool_choice="required"), "tool_choice"),
    ("chat/completions", chat(response_format={"type": "json_schema"}),
     "response_format.json_schema.schema"),
    ("chat/completions", chat(response_format="json"), "response_format"),
    ("chat/completions", chat(unheard_of=1), "unheard_of"),
    ("chat/completions", raw('"seed": 1e400', **chat()), "seed"),
    ("chat/completions", raw('"seed": NaN', **chat()), "seed"),
    ("chat/completions", raw('"seed": -Infinity', **chat()), "seed"),
    ("chat/completions", raw(f'"seed": {"9" * 5000}', **chat()), "seed"),
    ("chat/completions", raw('"seed": 1, "seed": 2', **chat()), "seed"),
    ("chat/completions", raw('"metadata": {"a": "b", "a": "c"}', **chat()), "metadata.a"),
    ("completions", {"model": BASE}, "prompt"),
    ("completions", {"model": BASE, "prompt": []}, "prompt"),
    ("completions", {"model": BASE, "prompt": {"a": "b"}}, "prompt"),
    ("completions", {"model": BASE, "prompt": "a", "logprobs": "many"}, "logprobs"),
    ("responses", {"model": BASE, "input": 7}, "input"),
    ("responses", {"model": BASE, "input": [7]}, "input[0]"),
    ("responses", {"model": BASE, "input": [{"role": "user", "content": 7}]}, "input[0].content"),
    ("responses",
     {"model": BASE, "input": [{"type": "function_call", "call_id": 7, "name": "a",
                                "arguments": "{}"}]}, "input[0].call_id"),
    ("responses", {"model": BASE, "input": "a", "text": {"format": {"type": "poem"}}},
     "text.format.type"),
    ("embeddings", {"input": ""}, "input"),
    ("embeddings", {"input": ["a", 7]}, "input[1]"),
    ("embeddings", {"input": "a", "dimensions": 10**6}, "dimensions"),
    ("embeddings", {"input": ["a"] * 2049}, "input"),
    ("rerank", {"query": "a", "documents": ["a", ""]}, "documents[1]"),
    ("rerank", {"query": "a", "documents": [{"title": "a"}]}, "documents[0].text"),
    ("rerank", {"query": ["a"], "documents": ["a"]}, "query"),
    ("ask", {"question": {"a": 1}}, "question"),
    ("ask", {"question": "why", "where": {"team": 1}}, "where.team"),
    ("search", {"query": "a", "limit": "all"}, "limit"),
    ("feedback", {"id": "a", "rating": "sideways"}, "rating"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "param"), HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_body_is_refused_by_its_field(
    address: str, path: str, body: Body, param: str | None
) -> None:
    error = refused(address, path, body)
    assert error["param"] == param
    assert error["message"].startswith(f"{param}: ")


def test_a_prompt_that_no_tokens_could_hold_is_refused_unread(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: Any) -> None:
        raise AssertionError("it was tokenized")

    monkeypatch.setattr(generation_service, "prompt_ids", read)
    long = [{"role": "user", "content": "the sea " * 100_000}]
    error = refused(address, "chat/completions", chat(messages=long))
    assert error["param"] == "messages"
    assert "room for 2,048 tokens" in error["message"]


NO_OBJECTS = [b"", b" ", b"{", b"[]", b"null", b'"x"', b"7", b"\xff\xfe", b"{}{}", b'{"a": }',
              b"\xef\xbb\xbf{}", b"[" * 100_000, b'{"a":' * 100_000, b'{"a": "\xc3\x28"}', b"\0",
              b"{'a': 1}"]  # fmt: skip
PATHS = ["chat/completions", "completions", "responses", "embeddings", "rerank", "ask", "search",
         "feedback"]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS)
def test_what_is_no_object_is_told_so(address: str, path: str) -> None:
    for body in NO_OBJECTS:
        refused(address, path, body)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "kind",
    ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "nonsense"],
)
def test_another_content_type_is_told(address: str, path: str, kind: str) -> None:
    headers = {"content-type": kind} if kind else {}
    answer = httpx.post(f"{address}/v1/{path}", content=b"{}", headers=headers)
    assert answer.status_code == 400
    assert "Content-Type: application/json" in answer.json()["error"]["message"]


# Bodies that are answered, of which the fuzz test changes a part.
GOOD: dict[str, dict[str, Any]] = {
    "chat/completions": chat(
        tools=[tool({"type": "object", "properties": {}})], tool_choice="none", seed=1, stop=["a"],
        stream_options={"include_usage": True}, response_format={"type": "text"}, regex=None,
    ),
    "completions": {"model": BASE, "prompt": "a", "max_tokens": 1, "logprobs": 1, "n": 1},
    "responses": {
        "model": BASE, "max_output_tokens": 1, "text": {"format": {"type": "text"}},
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "a"}]}],
        "metadata": {"a": "b"},
    },
    "embeddings": {"input": ["a"], "encoding_format": "float", "dimensions": 4},
    "rerank": {"query": "a", "documents": ["a", {"text": "b"}], "top_n": 1},
    "ask": {"question": "why", "groups": ["everyone"], "where": {"a": "b"}},
    "search": {"query": "a", "limit": 1, "where": {}},
    "feedback": {"id": "a", "rating": "up", "comment": "a", "choice": 0},
}  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
    | st.sampled_from(["\ud800", "\0", "a" * 5000, "$ref", "{}", "function", "text"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=9) | st.sampled_from(["type", "\udfff", "$ref"]), inner,
                      max_size=3),
    max_leaves=8,
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to all parts of a value."""
    yield path
    parts: Any = ()
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, list):
        parts = enumerate(value)
    for name, part in parts:
        yield from places(part, (*path, name))


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy of a value with another part at a place."""
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = changed(value[path[0]], path[1:], new)
    return copy


@pytest.mark.slow
@settings(
    max_examples=150, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(data=st.data())
def test_no_body_is_the_servers_fault(address: str, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(GOOD)))
    place = data.draw(st.sampled_from(list(places(GOOD[path]))))
    body = json.dumps(changed(GOOD[path], place, data.draw(JSON)))
    headers = {"content-type": "application/json"}
    answer = httpx.post(f"{address}/v1/{path}", content=body, headers=headers, timeout=60)
    assert answer.status_code < 500, body
    if answer.status_code >= 400:
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
