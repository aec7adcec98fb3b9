"""OpenAI's own client against a live server."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from conformance.served import BASE, TALK, add_adapter
from openai import OpenAI

from moli.workspace import Workspace

TOO_LONG: Any = [{"role": "user", "content": "sea " * 3000}]
NO_FORM: Any = {
    "type": "json_schema",
    "json_schema": {"name": "none", "schema": {"type": "thing"}},
}


def test_models_are_listed_with_their_parents(client: OpenAI) -> None:
    listed = {each.id: each for each in client.models.list()}
    assert {BASE, "bear", "doll"} <= set(listed)  # other tests may have added some
    assert listed["bear"].model_extra["parent"] == BASE
    assert client.models.retrieve(BASE).id == BASE
    with pytest.raises(openai.NotFoundError, match="no model is called 'cat'"):
        client.models.retrieve("cat")


def test_a_conversation_is_answered_by_the_model_that_was_named(client: OpenAI) -> None:
    def answer_of(model: str) -> str:
        answer = client.chat.completions.create(
            model=model, messages=TALK, temperature=0, max_tokens=12
        )
        assert (answer.model, answer.object) == (model, "chat.completion")
        assert answer.choices[0].finish_reason in ("stop", "length")
        assert answer.usage and answer.usage.completion_tokens <= 12
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + (
            answer.usage.completion_tokens
        )
        return str(answer.choices[0].message.content)

    answers = {model: answer_of(model) for model in (BASE, "bear", "doll", f"{BASE}@bear")}
    assert len({answers[each] for each in (BASE, "bear", "doll")}) == 3
    assert answers[f"{BASE}@bear"] == answers["bear"]


def test_a_stream_adds_up_to_the_answer(client: OpenAI) -> None:
    options: Any = {"model": BASE, "messages": TALK, "temperature": 0, "max_tokens": 20}
    whole = client.chat.completions.create(**options)
    parts = list(
        client.chat.completions.create(
            **options, stream=True, stream_options={"include_usage": True}
        )
    )
    assert parts[-1].usage == whole.usage and not parts[-1].choices
    assert all(each.usage is None for each in parts[:-1])
    deltas = [each.choices[0] for each in parts[:-1]]
    assert deltas[0].delta.role == "assistant"
    assert "".join(each.delta.content or "" for each in deltas) == whole.choices[0].message.content
    assert deltas[-1].finish_reason == whole.choices[0].finish_reason
    assert all(each.finish_reason is None for each in deltas[:-1])


def test_several_answers_have_seeds_of_their_own(client: OpenAI) -> None:
    options: Any = {"model": BASE, "messages": TALK, "n": 3, "seed": 5, "max_tokens": 8}
    one, other = (client.chat.completions.create(**options) for _ in range(2))
    texts = [each.message.content for each in one.choices]
    assert [each.index for each in one.choices] == [0, 1, 2]
    assert len(set(texts)) == 3
    assert texts == [each.message.content for each in other.choices]


def test_logprobs_stop_and_penalties(client: OpenAI) -> None:
    options: Any = {"model": BASE, "messages": TALK, "temperature": 0, "max_tokens": 16}
    answer = client.chat.completions.create(**options, logprobs=True, top_logprobs=2).choices[0]
    assert answer.logprobs and answer.logprobs.content
    for token in answer.logprobs.content:
        assert len(token.top_logprobs) == 2
        assert token.logprob == pytest.approx(token.top_logprobs[0].logprob)  # greedy
    text = str(answer.message.content)
    stop = text.split()[3]
    cut = client.chat.completions.create(**options, stop=[stop]).choices[0]
    assert cut.message.content == text[: text.index(stop)] and cut.finish_reason == "stop"
    other = client.chat.completions.create(**options, frequency_penalty=2, presence_penalty=2)
    assert other.choices[0].message.content != text


@pytest.mark.slow
def test_an_answer_has_the_form_that_was_asked_for(client: OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"sea": {"enum": ["calm", "wild"]}, "depth": {"type": "integer"}},
        "required": ["sea", "depth"],
        "additionalProperties": False,
    }
    form: Any = {"type": "json_schema", "json_schema": {"name": "sea", "schema": schema}}
    answer = client.chat.completions.create(
        model="doll", messages=TALK, response_format=form, temperature=0, max_tokens=60
    )
    if answer.choices[0].finish_reason == "stop":
        assert set(json.loads(str(answer.choices[0].message.content))) == {"sea", "depth"}
    other = client.chat.completions.create(
        model=BASE, messages=TALK, extra_body={"regex": "yes|no"}, max_tokens=9
    )
    assert other.choices[0].message.content in ("yes", "no")


def test_a_text_is_continued(client: OpenAI) -> None:
    whole = client.completions.create(
        model=BASE, prompt=["It was a dark", "The old"], temperature=0, max_tokens=5, logprobs=1
    )
    assert [each.index for each in whole.choices] == [0, 1]
    assert whole.choices[0].logprobs and len(whole.choices[0].logprobs.tokens or []) == 5
    streamed = client.completions.create(
        model=BASE, prompt="It was a dark", temperature=0, max_tokens=5, stream=True
    )
    assert "".join(each.choices[0].text for each in streamed) == whole.choices[0].text


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model": "cat"}, openai.NotFoundError, "cat"),
        ({"messages": []}, openai.BadRequestError, "messages"),
        ({"temperature": 3}, openai.BadRequestError, "temperature"),
        ({"n": 99}, openai.BadRequestError, "n:"),
        ({"messages": [{"role": "king", "content": "x"}]}, openai.BadRequestError, "role"),
        ({"logit_bias": {"99999": 2}}, openai.BadRequestError, "logit_bias"),
        ({"logit_bias": {"sea": 2}}, openai.BadRequestError, "logit_bias"),
        ({"logit_bias": {"5": 200}}, openai.BadRequestError, "logit_bias"),
        (
            {"response_format": NO_FORM},
            openai.BadRequestError,
            "cannot be followed",
        ),
        ({"messages": TOO_LONG}, openai.BadRequestError, "tokens"),
    ],
)  # fmt: skip
def test_errors_have_openais_shape(
    client: OpenAI, change: Any, error: type[openai.APIStatusError], message: str
) -> None:
    options: Any = {"model": BASE, "messages": TALK, "max_tokens": 4} | change
    with pytest.raises(error, match=message) as caught:
        client.chat.completions.create(**options)
    assert isinstance(caught.value.body, dict)
    assert {"message", "type", "param", "code"} <= set(caught.value.body)


def test_events_are_framed_as_the_protocol_says(address: str) -> None:
    body = {"model": BASE, "messages": TALK, "stream": True, "max_tokens": 3}
    answer = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=60)
    assert answer.headers["content-type"].startswith("text/event-stream")
    frames = answer.text.split("\n\n")
    assert frames[-2:] == ["data: [DONE]", ""]
    for frame in frames[:-2]:
        assert frame.startswith("data: {") and "\n" not in frame
        json.loads(frame.removeprefix("data: "))


@pytest.mark.slow
def test_a_client_that_leaves_gives_its_slot_back(client: OpenAI) -> None:
    """Twice as many long answers as there are rows are left; a short one does not wait."""
    for _ in range(32):
        stream = client.chat.completions.create(
            model=BASE, messages=TALK, stream=True, max_tokens=1500, seed=1, temperature=2
        )
        next(iter(stream))
        stream.close()
    begun = time.monotonic()
    client.chat.completions.create(model=BASE, messages=TALK, max_tokens=2)
    assert time.monotonic() - begun < 20


@pytest.mark.slow
def test_an_alias_that_moves_is_served_at_once(
    client: OpenAI, served: Workspace, tmp_path: Path
) -> None:
    options: Any = {"messages": TALK, "temperature": 0, "max_tokens": 12}

    def answer_of() -> str | None:
        completion = client.chat.completions.create(model="toy", **options)
        return completion.choices[0].message.content

    first = add_adapter(served, tmp_path / "one", "toy", 7)
    before = answer_of()
    add_adapter(served, tmp_path / "two", "toy", 8)
    after = answer_of()
    served.models.point("toy", first)
    assert answer_of() == before != after


def test_null_means_what_leaving_out_means(address: str, client: OpenAI) -> None:
    body: Any = {"model": BASE, "messages": TALK, "max_tokens": 4, "temperature": 0, "seed": 1}
    nulls = dict.fromkeys(("top_p", "n", "stop", "stream", "tools", "user", "response_format"))
    plain = client.chat.completions.create(**body).choices[0].message.content
    answer = httpx.post(f"{address}/v1/chat/completions", json=body | nulls, timeout=60)
    assert answer.json()["choices"][0]["message"]["content"] == plain


def test_a_prompt_counts_once_however_many_answers_it_has(client: OpenAI) -> None:
    options: Any = {"model": BASE, "messages": TALK, "max_tokens": 2, "seed": 4}
    one = client.chat.completions.create(**options).usage
    three = client.chat.completions.create(**options, n=3).usage
    assert one and three
    assert three.prompt_tokens == one.prompt_tokens
    assert three.completion_tokens > one.completion_tokens


def test_offsets_of_tokens_are_those_in_the_text(client: OpenAI) -> None:
    choice = client.completions.create(
        model=BASE, prompt="It was a dark", temperature=0, max_tokens=6, logprobs=0
    ).choices[0]
    logprobs = choice.logprobs
    assert logprobs and logprobs.tokens and logprobs.text_offset
    for token, offset in zip(logprobs.tokens, logprobs.text_offset, strict=True):
        assert choice.text[offset : offset + len(token)] == token
