"""Requests in the shapes that client libraries send, recorded from them, without the libraries.

`make conformance` runs the libraries themselves.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from conformance.served import BASE

from moli.models.tokenizers import load_tokenizer

WORDS = "[a-z]{3,6} [a-z]{3,6}"
CALL: Any = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city":"Torino"}'},
}
SCHEMA: Any = {
    "type": "object",
    "properties": {"city": {"enum": ["Torino", "上海"]}},
    "required": ["city"],
}
TOOL: Any = {
    "type": "function",
    "function": {"name": "weather", "description": "", "parameters": SCHEMA, "strict": True},
}
USER: Any = {"role": "user", "content": "How is it?"}
SAID: Any = {"role": "assistant", "content": "It is calm."}
RESULT: Any = {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}

SECOND_TURNS: dict[str, list[Any]] = {
    "openai, a message dumped": [
        USER,
        {
            "content": None,
            "refusal": None,
            "role": "assistant",
            "annotations": None,
            "audio": None,
            "function_call": None,
            "tool_calls": [CALL],
        },
        RESULT,
    ],
    "openai, parsed": [
        USER,
        {
            "role": "assistant",
            "content": None,
            "parsed": None,
            "tool_calls": [
                {
                    **CALL,
                    "index": 0,
                    "function": {**CALL["function"], "parsed_arguments": {"city": "Torino"}},
                }
            ],
        },
        {**RESULT, "content": [{"type": "text", "text": "sunny"}]},
    ],
    "openai-agents": [
        {"role": "developer", "content": "Be brief."},
        USER,
        {"role": "assistant", "tool_calls": [CALL]},
        RESULT,
    ],
    "ai": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "How is it?"}]},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": '{"sky":"sunny"}'},
        USER,
    ],
    "langchain": [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {**RESULT, "name": "weather"},
    ],
    "arguments that were cut": [
        USER,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{**CALL, "function": {**CALL["function"], "arguments": '{"city": "上'}}],
        },
        {**RESULT, "content": "These arguments are no JSON."},
    ],
    "a refusal": [USER, {"role": "assistant", "content": None, "refusal": "No."}, USER],
    "parts of an answer": [
        USER,
        {"role": "assistant", "content": [{"type": "text", "text": "It"}], "name": "bear"},
        USER,
    ],
}


@pytest.mark.parametrize("messages", SECOND_TURNS.values(), ids=SECOND_TURNS)
def test_second_turns_are_read(address: str, messages: list[Any]) -> None:
    body = {"model": BASE, "messages": messages, "tools": [TOOL], "max_tokens": 2}
    answer = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=60)
    assert answer.status_code == 200, answer.text


def test_hints_are_accepted_and_change_nothing(address: str) -> None:
    body = {"model": BASE, "messages": [USER], "temperature": 0, "max_tokens": 6}
    hints = {
        "reasoning_effort": "low",
        "service_tier": "auto",
        "prompt_cache_key": "sea",
        "prompt_cache_retention": "24h",
        "safety_identifier": "anna",
        "verbosity": "low",
        "store": True,
        "metadata": {"run": "1"},
        "user": "anna",
        "parallel_tool_calls": True,
        "prediction": {"type": "content", "content": "It is calm."},
        "modalities": ["text"],
        "stream_options": {"include_obfuscation": False, "include_usage": True},
    }
    plain, hinted = (
        httpx.post(f"{address}/v1/chat/completions", json=each, timeout=60).json()
        for each in (body, body | hints)
    )
    assert hinted["choices"] == plain["choices"]


def test_a_bias_makes_a_token_certain_or_impossible(address: str) -> None:
    def first_token(**change: Any) -> str:
        body = {"model": BASE, "prompt": "It was a", "temperature": 0, "max_tokens": 1}
        answer = httpx.post(f"{address}/v1/completions", json=body | change, timeout=60)
        return str(answer.json()["choices"][0]["text"])

    likeliest = first_token()
    assert first_token(logit_bias={"300": 100}) != likeliest
    assert first_token(logit_bias={"300": 100}) == first_token(logit_bias={"300": 99}, seed=1)


# Tools and formats


def chat(address: str, **change: Any) -> Any:
    body = {"model": BASE, "messages": [USER], "tools": [TOOL], **change}
    answer = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=120)
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]


@pytest.mark.slow
def test_an_answer_with_a_format_is_a_call_or_follows_it(address: str) -> None:
    """The model is made to begin with the one or the other."""
    form = {"type": "json_schema", "json_schema": {"name": "sea", "schema": SCHEMA}}
    tokenizer = load_tokenizer(BASE)
    answers = {}
    for letter in "{<":
        [token] = tokenizer(letter, add_special_tokens=False)["input_ids"]
        bias = {str(token): 50}
        answers[letter] = chat(
            address, response_format=form, max_tokens=300, temperature=0, logit_bias=bias
        )
    assert answers["{"]["finish_reason"] == "stop"
    assert json.loads(answers["{"]["message"]["content"])["city"] in ("Torino", "上海")
    calls = answers["<"]["message"]["tool_calls"]
    assert json.loads(calls[0]["function"]["arguments"])["city"] in ("Torino", "上海")


@pytest.mark.slow
def test_a_named_tool_is_called_once_and_calls_do_not_repeat(address: str) -> None:
    named = {"type": "function", "function": {"name": "weather"}}
    for seed in range(3):
        one = chat(address, tool_choice=named, seed=seed, max_tokens=200)
        assert len(one["message"]["tool_calls"]) == 1 and one["finish_reason"] == "tool_calls"
        several = chat(address, tool_choice="required", seed=seed, max_tokens=400)
        written = [each["function"]["arguments"] for each in several["message"]["tool_calls"]]
        assert len(written) == len(set(written)) <= 2


@pytest.mark.slow
@pytest.mark.parametrize("max_tokens", [1, 10, 30])
def test_a_required_call_that_is_cut_is_a_call(address: str, max_tokens: int) -> None:
    free = {"type": "object", "properties": {"say": {"type": "string", "minLength": 200}}}
    tool = {"type": "function", "function": {"name": "put", "parameters": free}}
    choice = chat(
        address, tools=[tool], tool_choice="required", max_tokens=max_tokens, temperature=0
    )
    assert choice["finish_reason"] == "length" and choice["message"]["content"] is None
    [call] = choice["message"]["tool_calls"]
    assert call["function"]["name"] == "put"
    assert '{"say": "'.startswith(call["function"]["arguments"][:9])


@pytest.mark.slow
def test_a_stop_sequence_does_not_cut_a_required_call(address: str) -> None:
    choice = chat(address, tool_choice="required", stop=["o", "上", "}"], max_tokens=400)
    assert choice["finish_reason"] == "tool_calls"
    for call in choice["message"]["tool_calls"]:
        assert json.loads(call["function"]["arguments"])["city"] in ("Torino", "上海")


@pytest.mark.slow
def test_a_response_whose_call_was_cut_can_be_continued(address: str) -> None:
    free = {"type": "object", "properties": {"say": {"type": "string", "minLength": 200}}}
    function = {"type": "function", "name": "put", "parameters": {**free, "required": ["say"]}}
    body = {"model": BASE, "input": "Rain?", "tools": [function], "tool_choice": "required"}
    cut = httpx.post(
        f"{address}/v1/responses", json={**body, "max_output_tokens": 45}, timeout=60
    ).json()
    [call] = cut["output"]
    assert (call["type"], call["status"]) == ("function_call", "incomplete")
    more = {"previous_response_id": cut["id"], "max_output_tokens": 2, "tool_choice": "auto"}
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "no JSON"}
    answer = httpx.post(
        f"{address}/v1/responses", json={**body, **more, "input": [output]}, timeout=60
    )
    assert answer.status_code == 200, answer.text


@pytest.mark.slow
def test_arguments_are_sent_as_they_are_written(address: str) -> None:
    named = {"type": "function", "function": {"name": "weather"}}
    body = {"model": BASE, "messages": [USER], "tools": [TOOL], "tool_choice": named}
    with httpx.stream(
        "POST", f"{address}/v1/chat/completions", json={**body, "stream": True}, timeout=60
    ) as answer:
        lines = [line for line in answer.iter_lines() if line.startswith("data: {")]
    deltas = [json.loads(line[6:])["choices"][0]["delta"] for line in lines]
    parts = [part for each in deltas for part in each.get("tool_calls", ())]
    assert [each["index"] for each in parts] == [0] * len(parts) and len(parts) > 3
    assert parts[0]["id"] and all("id" not in each for each in parts[1:])
    written = "".join(each["function"]["arguments"] for each in parts)
    assert json.loads(written)["city"] in ("Torino", "上海")


# Log probabilities


def complete(address: str, **change: Any) -> Any:
    body = {"model": BASE, "temperature": 0, **change}
    answer = httpx.post(f"{address}/v1/completions", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"]


def test_likelihoods_are_measured_as_harnesses_do(address: str) -> None:
    """A text's tokens have the same log probabilities whether they are echoed or generated."""
    ids = [300, 400, 500]
    [generated] = complete(address, prompt=ids, max_tokens=4, logprobs=1)
    [echoed, other] = complete(address, prompt=[ids, [7, 8]], max_tokens=1, logprobs=1, echo=True)
    assert len(echoed["logprobs"]["tokens"]) == 4 and len(other["logprobs"]["tokens"]) == 3
    assert echoed["logprobs"]["token_logprobs"][0] is None
    assert echoed["logprobs"]["token_logprobs"][3:] == pytest.approx(
        generated["logprobs"]["token_logprobs"][:1], abs=1e-3
    )
    whole = "It was a dark and stormy night"
    [scored] = complete(address, prompt=whole, max_tokens=0, logprobs=1, echo=True)
    assert scored["text"] == whole and scored["finish_reason"] == "length"
    logprobs = scored["logprobs"]
    for token, offset in zip(logprobs["tokens"], logprobs["text_offset"], strict=True):
        assert whole.startswith(token, offset)
    for value, likeliest in zip(
        logprobs["token_logprobs"][1:], logprobs["top_logprobs"][1:], strict=True
    ):
        assert value in likeliest.values() and len(likeliest) <= 2


def test_offsets_run_on_over_the_parts_of_a_stream(address: str) -> None:
    body = {"model": BASE, "prompt": "It was", "temperature": 0, "max_tokens": 6, "logprobs": 0}
    for echo in (False, True):
        request = {**body, "echo": echo, "stream": True}
        answer = httpx.post(f"{address}/v1/completions", json=request, timeout=60)
        lines = [each for each in answer.text.splitlines() if each.startswith("data: {")]
        choices = [json.loads(line[6:])["choices"][0] for line in lines]
        text = "".join(each["text"] for each in choices)
        assert text.startswith("It was") == echo
        for choice in choices:
            logprobs = choice["logprobs"] or {"tokens": [], "text_offset": []}
            for token, offset in zip(logprobs["tokens"], logprobs["text_offset"], strict=True):
                assert text.startswith(token, offset)


@pytest.mark.parametrize("text", ["你好，世界", "👋🏽 a é"])
def test_bytes_join_to_the_text(address: str, text: str) -> None:
    choice = chat(address, regex=text, tools=[], logprobs=True, top_logprobs=1, max_tokens=60)
    assert choice["message"]["content"] == text
    tokens = choice["logprobs"]["content"]
    assert bytes(byte for each in tokens for byte in each["bytes"]).decode() == text
