"""OpenAI's Responses through its own client."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest
from conformance.served import BASE, serving
from conformance.test_tools import check
from openai import OpenAI

from moli.serving.app import create_app
from moli.workspace import Workspace

ASKED: Any = {"model": BASE, "input": "Tell me of the sea.", "temperature": 0}
FUNCTION: Any = {
    "type": "function",
    "name": "weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"enum": ["Torino", "上海"]}, "days": {"enum": [1, 2, 3]}},
        "required": ["city", "days"],
        "additionalProperties": False,
    },
    "strict": True,
}
SEA = {
    "type": "object",
    "properties": {"sea": {"enum": ["calm", "wild"]}},
    "required": ["sea"],
    "additionalProperties": False,
}
FORM: Any = {"format": {"type": "json_schema", "name": "sea", "schema": SEA, "strict": True}}


@pytest.mark.slow
def test_it_says_what_a_chat_completion_says(client: OpenAI) -> None:
    made = client.responses.create(**ASKED, instructions="Be brief.", max_output_tokens=12)
    talk: Any = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Tell me of the sea."},
    ]
    chat = client.chat.completions.create(model=BASE, messages=talk, temperature=0, max_tokens=12)
    assert made.output_text == chat.choices[0].message.content
    assert made.instructions == "Be brief."
    cut = chat.choices[0].finish_reason == "length"
    assert made.status == ("incomplete" if cut else "completed")
    assert bool(made.incomplete_details) == cut
    assert made.usage and chat.usage
    assert made.usage.input_tokens == chat.usage.prompt_tokens
    assert made.usage.output_tokens == chat.usage.completion_tokens


def test_a_conversation_goes_on_from_what_is_remembered(client: OpenAI) -> None:
    first = client.responses.create(**ASKED, instructions="Be brief.", max_output_tokens=8)
    second = client.responses.create(
        model=BASE,
        input="And then?",
        previous_response_id=first.id,
        temperature=0,
        max_output_tokens=8,
    )
    written: Any = [
        {"role": "user", "content": "Tell me of the sea."},
        {"role": "assistant", "content": first.output_text},
        {"role": "user", "content": "And then?"},
    ]
    whole = client.responses.create(model=BASE, input=written, temperature=0, max_output_tokens=8)
    assert second.output_text == whole.output_text
    assert second.previous_response_id == first.id
    items = client.responses.input_items.list(second.id).data
    assert [each.role for each in items] == ["user", "assistant", "user"]  # type: ignore[union-attr]


def test_a_response_is_fetched_and_removed(client: OpenAI) -> None:
    made = client.responses.create(**ASKED, max_output_tokens=6, metadata={"why": "test"})
    retrieved = client.responses.retrieve(made.id)
    assert retrieved.output_text == made.output_text
    assert retrieved == made
    client.responses.delete(made.id)
    for name in (made.id, "resp_0", made.id.removeprefix("resp_"), "chatcmpl-0"):
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(name)
    unkept = client.responses.create(**ASKED, max_output_tokens=6, store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(unkept.id)


def test_events_tell_the_whole_story_in_order(client: OpenAI) -> None:
    whole = client.responses.create(**ASKED, max_output_tokens=12)
    events = list(client.responses.create(**ASKED, max_output_tokens=12, stream=True))
    assert [each.sequence_number for each in events] == list(range(len(events)))
    kinds = [each.type for each in events]
    deltas = kinds.count("response.output_text.delta")
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * deltas,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        f"response.{whole.status}",
    ]
    text = "".join(each.delta for each in events if each.type == "response.output_text.delta")
    assert text == whole.output_text
    last: Any = events[-1]
    assert last.response.output_text == whole.output_text
    assert client.responses.retrieve(last.response.id).output_text == text


@pytest.mark.slow
def test_a_response_that_fails_under_way_says_so(served: Workspace) -> None:
    app = create_app(served)
    events: list[Any] = []
    with serving(served, app) as address:
        client = OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        for event in client.responses.create(**ASKED, max_output_tokens=1000, stream=True):
            events.append(event)
            if event.type == "response.content_part.added":
                backend = app.state.generation_service.models.get("").backend
                backend.run_between_steps(lambda engine: engine.abort("failed"))
    assert events[-1].type == "response.failed"
    assert events[-1].sequence_number == len(events) - 1
    assert events[-1].response.status == "failed"
    assert events[-1].response.error.code == "server_error"


def test_the_clients_own_stream_helper_reads_them(client: OpenAI) -> None:
    with client.responses.stream(**ASKED, text=FORM, max_output_tokens=40) as stream:
        final = stream.get_final_response()
    assert json.loads(final.output_text)["sea"] in ("calm", "wild")


@pytest.mark.slow
def test_a_tool_is_called_and_its_result_is_read(client: OpenAI) -> None:
    options: Any = ASKED | {"tools": [FUNCTION], "tool_choice": "required", "max_output_tokens": 90}
    made = client.responses.create(**options, parallel_tool_calls=False)
    [call] = made.output
    assert call.type == "function_call"
    check(call.name, call.arguments)
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    after = client.responses.create(
        model=BASE, input=[result], previous_response_id=made.id, max_output_tokens=4
    )
    kinds = [each.type for each in client.responses.input_items.list(after.id, order="asc")]
    assert kinds == ["message", "function_call", "function_call_output"]
    events = list(client.responses.create(**options, parallel_tool_calls=False, stream=True))
    kinds = [each.type for each in events]
    deltas = kinds.count("response.function_call_arguments.delta")
    assert deltas > 1
    assert kinds[2:-1] == [
        "response.output_item.added",
        *["response.function_call_arguments.delta"] * deltas,
        "response.function_call_arguments.done",
        "response.output_item.done",
    ]


def test_an_answer_has_the_form_that_was_asked_for(client: OpenAI) -> None:
    made = client.responses.create(**ASKED, text=FORM, max_output_tokens=40)
    assert set(json.loads(made.output_text)) == {"sea"}
    assert client.responses.retrieve(made.id).text == made.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input": []}, "input"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"text": {"format": {"type": "json_schema"}}}, "schema"),
        ({"conversation": "conv_1"}, "conversation"),
    ],
)
def test_what_is_not_done_is_refused(client: OpenAI, change: Any, message: str) -> None:
    with pytest.raises(openai.BadRequestError, match=message):
        client.responses.create(**ASKED | change)


def test_each_event_is_framed_with_its_name(address: str) -> None:
    body = {**ASKED, "stream": True, "max_output_tokens": 3}
    answer = httpx.post(f"{address}/v1/responses", json=body, timeout=60)
    assert answer.headers["content-type"].startswith("text/event-stream")
    frames = answer.text.split("\n\n")
    assert frames[-1] == ""
    for frame in frames[:-1]:
        name, data = frame.split("\n")
        assert name == f"event: {json.loads(data.removeprefix('data: '))['type']}"


# The fields that Open Responses requires

REQUIRED = {
    "id", "object", "created_at", "completed_at", "status", "incomplete_details", "model",
    "previous_response_id", "instructions", "output", "error", "tools", "tool_choice", "truncation",
    "parallel_tool_calls", "text", "top_p", "presence_penalty", "frequency_penalty", "top_logprobs",
    "temperature", "reasoning", "user", "usage", "max_output_tokens", "max_tool_calls", "store",
    "background", "service_tier", "metadata", "safety_identifier", "prompt_cache_key",
}  # fmt: skip


def test_a_response_has_all_fields_whether_new_or_fetched(address: str, client: OpenAI) -> None:
    hints: Any = {
        "include": [],
        "reasoning": {"effort": "low"},
        "service_tier": "auto",
        "safety_identifier": "anna",
        "prompt_cache_key": "sea",
        "text": {"verbosity": "low"},
        "stream_options": {"include_obfuscation": False},
        "truncation": "disabled",
    }
    body = {**ASKED, **hints, "max_output_tokens": 4}
    made = httpx.post(f"{address}/v1/responses", json=body, timeout=60).json()
    assert not REQUIRED - made.keys()
    assert made["text"] == {"verbosity": "low", "format": {"type": "text"}}
    assert made["reasoning"]["effort"] == "low" and made["safety_identifier"] == "anna"
    assert made["output"][0]["status"] == made["status"] == "incomplete"
    assert made["completed_at"] is None
    assert httpx.get(f"{address}/v1/responses/{made['id']}").json() == made
    whole = client.responses.create(**ASKED, text=FORM)
    assert whole.completed_at and whole.completed_at >= whole.created_at
    assert whole.output[0].status == "completed"


def test_a_text_has_its_logprobs_if_they_are_included(client: OpenAI) -> None:
    options: Any = ASKED | {"max_output_tokens": 6, "top_logprobs": 2}
    included: Any = options | {"include": ["message.output_text.logprobs"]}
    made = client.responses.create(**included)
    part: Any = made.output[0].content[0]  # type: ignore[union-attr]
    assert bytes(b for each in part.logprobs for b in each.bytes).decode() == part.text
    assert all(len(each.top_logprobs) == 2 for each in part.logprobs)
    events: list[Any] = list(client.responses.create(**included, stream=True))
    deltas = [each for each in events if each.type == "response.output_text.delta"]
    sent = [token.token for each in deltas for token in each.logprobs]
    assert sent == [each.token for each in part.logprobs][: len(sent)] and len(sent) >= 5
    plain: Any = client.responses.create(**options).output[0]
    assert plain.content[0].logprobs == []


def test_items_are_referred_to_by_their_ids(client: OpenAI) -> None:
    first = client.responses.create(**ASKED, max_output_tokens=6)
    asked = client.responses.input_items.list(first.id).data[0]
    reference: Any = [
        {"type": "item_reference", "id": asked.id},
        {"type": "item_reference", "id": first.output[0].id},
        {"role": "user", "content": "And then?"},
    ]
    second = client.responses.create(model=BASE, input=reference, max_output_tokens=2)
    items: Any = client.responses.input_items.list(second.id, order="asc").data
    assert [each.content[0].text for each in items] == [
        "Tell me of the sea.", first.output_text, "And then?",
    ]  # fmt: skip
    for name in ("msg_1", f"msg_{'0' * 32}_0", first.output[0].id + "9"):
        unknown: Any = [{"type": "item_reference", "id": name}]
        with pytest.raises(openai.NotFoundError):
            client.responses.create(model=BASE, input=unknown)


def test_the_input_is_listed_in_pages(client: OpenAI) -> None:
    talk: Any = [{"role": "user", "content": str(number)} for number in range(5)]
    made = client.responses.create(model=BASE, input=talk, max_output_tokens=1)

    def texts(items: Any) -> list[str]:
        return [each.content[0].text for each in items]

    page = client.responses.input_items.list(made.id, limit=2)
    assert texts(page.data) == ["4", "3"] and page.has_more
    assert texts(client.responses.input_items.list(made.id, limit=2)) == ["4", "3", "2", "1", "0"]
    last = client.responses.input_items.list(made.id, order="asc", after=page.data[0].id)
    assert last.data == [] and not last.has_more
    everything = client.responses.input_items.list(made.id, order="asc").data
    assert len({each.id for each in everything}) == 5
    assert all(each.status == "completed" for each in everything)  # type: ignore[union-attr]


def test_a_chat_completion_is_no_response(client: OpenAI) -> None:
    talk: Any = [{"role": "user", "content": "Tell me."}]
    made = client.chat.completions.create(model=BASE, messages=talk, max_tokens=1)
    name = made.id.replace("chatcmpl-", "resp_")
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(name)
    with pytest.raises(openai.NotFoundError):
        client.responses.create(**ASKED, previous_response_id=name)


def test_thoughts_of_other_models_are_not_read(client: OpenAI) -> None:
    thought: Any = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}
    said: Any = {"role": "user", "content": "Tell me."}
    assert client.responses.create(model=BASE, input=[thought, said], max_output_tokens=1)
    with pytest.raises(openai.BadRequestError, match="input"):
        client.responses.create(model=BASE, input=[thought])
