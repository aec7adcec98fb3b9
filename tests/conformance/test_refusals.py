"""Mistakes that clients make, to a live server: the message names the field and what it may be."""

from __future__ import annotations

import gzip
import json
import re
from typing import Any

import httpx
import pytest
from conformance.served import BASE, TALK

ANSWER = {"model": BASE, "max_output_tokens": 1}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
CALL = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
LOOK = {"type": "function", "function": {"name": "look"}}


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": BASE, "messages": TALK, "max_tokens": 1, **fields}


def said(content: Any, **fields: Any) -> dict[str, Any]:
    return chat(messages=[{"role": "user", "content": content, **fields}])


def item(**fields: Any) -> dict[str, Any]:
    return {**ANSWER, "input": [fields]}


def prompt(value: Any) -> dict[str, Any]:
    return {"model": BASE, "prompt": value, "max_tokens": 1}


CHAT, TEXT, RESPONSES = "chat/completions", "completions", "responses"
MISTAKES: list[tuple[str, dict[str, Any], str]] = [
    # Values of another type are not guessed at.
    (CHAT, chat(max_tokens="5"), "max_tokens: must be a whole number"),
    (CHAT, chat(max_tokens=True), "max_tokens: must be a whole number"),
    (CHAT, chat(seed=7.5), "seed: must be a whole number"),
    (CHAT, chat(temperature="0.5"), "temperature: must be a number"),
    (CHAT, chat(temperature=True), "temperature: must be a number"),
    (CHAT, chat(stream="yes"), "stream: must be true or false"),
    (CHAT, chat(stream=1), "stream: must be true or false"),
    (CHAT, chat(stream_options={"include_usage": "no"}), "stream_options.include_usage: must be t"),
    ("feedback", {"id": "a", "comment": "a", "choice": "1"}, "choice: must be a whole number"),
    # Of a union, the branch counts that was meant.
    (CHAT, said([{"type": "text", "text": "a"}, IMAGE]),
     "messages[0].content[1].type: must be one of 'text', 'refusal', not 'image_url'"),
    (CHAT, said([{"type": "text", "text": 5}]), "messages[0].content[0].text: must be a text"),
    (CHAT, said(5), "messages[0].content: must be a text or a list"),
    (CHAT, chat(stop=["a"] * 9), "stop: may have at most 8 entries"),
    (CHAT, chat(tool_choice="any"),
     "tool_choice: must be one of 'none', 'auto', 'required', not 'any'"),
    (CHAT, chat(tool_choice={"type": "tool"}),
     "tool_choice.type: must be one of 'function', 'allowed_tools', not 'tool'"),
    (CHAT, chat(tool_choice={"type": "function"}), "tool_choice.function: is missing"),
    (TEXT, prompt([]), "prompt: must not be empty"),
    (TEXT, prompt(["a"] * 65), "prompt: may have at most 64 entries"),
    (TEXT, prompt([-1]), "prompt[0]: must be at least 0"),
    (TEXT, prompt([True]), "prompt[0]: must be a text or a whole number or a list"),
    (TEXT, prompt(["a", 5]), "prompt[1]: must be a text or a list"),
    (TEXT, prompt([["a"]]), "prompt[0][0]: must be a whole number"),
    (RESPONSES, {**ANSWER, "input": []}, "input: must not be empty"),
    (RESPONSES, {**ANSWER, "input": ["a"]}, "input[0]: must be an object"),
    (RESPONSES, item(type="computer_call"), "input[0].type: must be one of 'message', "),
    (RESPONSES, item(role="user", content=[{"type": "input_file", "file_id": "a"}]),
     "input[0].content[0].type: must be one of 'input_text', 'output_text', 'refusal', not "),
    (RESPONSES, item(role="tool", content="a"), "input[0].role: must be one of 'system', "),
    (RESPONSES, item(type="function_call", call_id=5, name="a", arguments="{}"),
     "input[0].call_id: must be a text"),
    (RESPONSES, item(type="item_reference"), "input[0].id: is missing"),
    (RESPONSES, {**ANSWER, "input": "a", "tools": [{"type": "web_search"}]},
     "tools[0].type: must be 'function', not 'web_search'"),
    (RESPONSES, {**ANSWER, "input": "a", "background": True}, "background: must be false, not tru"),
    ("search", {"query": "a" * 4001}, "query: may have at most 4000 characters"),
    ("embeddings", {"input": {"text": "a"}}, "input: must be a text or a list of texts"),
    ("rerank", {"query": "a", "documents": [5]}, "documents[0]: must be a text or an object with"),
    # What would be ignored without a word.
    (CHAT, said(None), "messages[0].content: is missing"),
    (CHAT, chat(messages=[{"role": "system"}]), "messages[0].content: is missing"),
    (CHAT, said("a", tool_calls=[CALL]), "messages[0].tool_calls: are for messages of the assist"),
    (CHAT, chat(top_logprobs=2), "top_logprobs: has no effect without logprobs"),
    (CHAT, chat(regex="a", response_format={"type": "json_object"}), "regex: the answer has to fo"),
    (CHAT, chat(regex="a", tools=[LOOK], tool_choice="required"), "regex: the answer has to follo"),
    (CHAT, chat(tools=[LOOK, LOOK]), "tools: two tools are called 'look'"),
    (CHAT, chat(tools=[{"type": "function", "function": {"name": "a", "parameters": {
        "type": "string"}}}]), "tools[0].function.parameters: must be the schema of an object"),
    # Ids of what is not there.
    (RESPONSES, item(type="item_reference", id="msg_1"), "input[0].id: no item 'msg_1'"),
    (RESPONSES, {**ANSWER, "input": "a", "previous_response_id": "resp_1"},
     "previous_response_id: no response 'resp_1'"),
    ("feedback", {"id": "chatcmpl-1", "rating": "up"}, "no answer 'chatcmpl-1'"),
]  # fmt: skip


def post(address: str, path: str, body: Any, **headers: str) -> httpx.Response:
    return httpx.post(f"{address}/v1/{path}", json=body, headers=headers, timeout=60)


@pytest.mark.parametrize(("path", "body", "message"), MISTAKES, ids=range(len(MISTAKES)))
def test_a_mistake_is_named(address: str, path: str, body: Any, message: str) -> None:
    answer = post(address, path, body)
    assert answer.status_code in (400, 404), answer.text
    assert answer.json()["error"]["message"].startswith(message)


@pytest.mark.parametrize(("path", "body", "_"), MISTAKES, ids=range(len(MISTAKES)))
def test_a_mistake_is_named_in_chinese(address: str, path: str, body: Any, _: str) -> None:
    answer = post(address, path, body, **{"accept-language": "zh-CN"})
    message = re.sub(r"^[\w.\[\]]+: |'[^']*'", "", answer.json()["error"]["message"])
    assert re.search(r"[一-鿿]", message)
    assert not re.search(r"\b(the|is|are|must|may|has|have|no|not|of|or|with)\b", message)


@pytest.mark.parametrize(
    ("method", "path", "english", "chinese"),
    [
        (
            "POST",
            "/chat/completions",
            "there is no /chat/completions. ",
            "没有 /chat/completions。",
        ),
        ("GET", "/v1/ask", "/v1/ask has no GET. It has POST.", "/v1/ask 不支持 GET，只支持 POST。"),
        ("PUT", "/v1/models", "/v1/models has no PUT. It has GET, HEAD.", "只支持 GET, HEAD。"),
    ],
)
def test_a_path_or_method_that_is_not_there_is_named(
    address: str, method: str, path: str, english: str, chinese: str
) -> None:
    for language, words in (("en", english), ("zh", chinese)):
        answer = httpx.request(method, f"{address}{path}", headers={"accept-language": language})
        assert words in answer.json()["error"]["message"]


def test_a_body_may_begin_with_a_byte_order_mark_and_not_be_compressed(address: str) -> None:
    body, url = json.dumps(chat()).encode(), f"{address}/v1/chat/completions"
    kind = {"content-type": "application/json"}
    assert httpx.post(url, content=b"\xef\xbb\xbf" + body, headers=kind).status_code == 200
    headers = {**kind, "content-encoding": "gzip"}
    answer = httpx.post(url, content=gzip.compress(body), headers=headers)
    assert answer.status_code == 400
    assert "the body is compressed (gzip)" in answer.json()["error"]["message"]


def test_a_whole_number_may_be_written_with_a_point(address: str) -> None:
    answer = post(address, "chat/completions", chat(max_tokens=2.0, temperature=0))
    assert answer.json()["usage"]["completion_tokens"] == 2
