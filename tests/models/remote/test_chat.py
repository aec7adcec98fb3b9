"""What a server may do to us, beyond what every chat model has to bear."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from moli.models.chat.load import load_chat
from moli.models.remote.chat import RemoteChat
from moli.records.errors import ModelError
from moli.records.messages import Message

TALK = (Message("user", "Say hello."),)
URL = "http://127.0.0.1:1/v1"


def remote(answer: Callable[[httpx.Request], httpx.Response]) -> RemoteChat:
    return RemoteChat("m", URL, name=f"openai:m@{URL}", transport=httpx.MockTransport(answer))


def completion(content: Any) -> httpx.Response:
    return httpx.Response(200, json={"choices": [{"message": {"content": content}}]})


@pytest.mark.parametrize("key", ["", "sesame"])
def test_the_key_goes_with_the_request_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return completion("Hello.")

    assert remote(answer).complete(TALK) == "Hello."
    assert seen[0].headers.get("authorization") == (f"Bearer {key}" if key else None)
    assert json.loads(seen[0].content)["messages"] == [{"role": "user", "content": "Say hello."}]


@pytest.mark.parametrize("status", [400, 401, 500])
def test_the_key_is_in_no_message(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sesame")
    chat = remote(lambda _: httpx.Response(status, text="no"))
    with pytest.raises(ModelError) as caught:
        chat.complete(TALK)
    assert str(status) in str(caught.value)
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(302, headers={"location": "http://elsewhere.example/"}),
        httpx.Response(200, content=b"\xff\xfe"),
        httpx.Response(200, json={"choices": [{"message": None}]}),
        httpx.Response(200, json={"error": "busy"}),
        httpx.Response(200, json="text"),
        httpx.Response(200, content=b""),
    ],
)
def test_an_answer_that_is_none_is_told_as_such(response: httpx.Response) -> None:
    with pytest.raises(ModelError) as caught:
        remote(lambda _: response).complete(TALK)
    assert caught.value.where == f"openai:m@{URL}"


def events(*events: Any) -> httpx.Response:
    lines = [f"data: {each if isinstance(each, str) else json.dumps(each)}" for each in events]
    return httpx.Response(
        200, text="\n\n".join(lines), headers={"content-type": "text/event-stream"}
    )


def delta(text: str | None) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": text}}]}


def test_a_stream_is_passed_on_piece_by_piece() -> None:
    bodies: list[dict[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        usage = {"choices": [], "usage": {"total_tokens": 3}}
        return events(delta(None), delta("Hel"), delta("lo."), usage, "[DONE]")

    pieces: list[str] = []
    assert remote(answer).complete(TALK, on_text=pieces.append) == "Hello."
    assert bodies[0]["stream"] is True
    assert [each for each in pieces if each] == ["Hel", "lo."]


def test_a_stream_that_breaks_off_is_an_error() -> None:
    chat = remote(lambda _: events(delta("Hel"), {"error": {"message": "out of memory"}}))
    with pytest.raises(ModelError, match="out of memory"):
        chat.complete(TALK, on_text=lambda _: None)


@pytest.mark.parametrize("event", [{"choices": [{}]}, [], "{", {"choices": [{"delta": "x"}]}])
def test_an_event_that_is_none_of_a_chat_is_an_error(event: Any) -> None:
    with pytest.raises(ModelError, match="not a chat completion"):
        remote(lambda _: events(event)).complete(TALK, on_text=lambda _: None)


def test_a_server_without_streams_answers_at_once() -> None:
    pieces: list[str] = []
    chat = remote(lambda _: completion("Hello."))
    assert chat.complete(TALK, on_text=pieces.append) == "Hello."
    assert pieces == ["Hello."]


def test_an_endless_error_page_is_cut_short() -> None:
    with pytest.raises(ModelError) as caught:
        remote(lambda _: httpx.Response(500, text="x" * 100_000)).complete(TALK)
    assert len(str(caught.value)) < 500


def test_no_words_are_an_empty_answer() -> None:
    assert remote(lambda _: completion(None)).complete(TALK) == ""


@pytest.mark.parametrize("url", ["http://[::1/v1", "http://127.0.0.1:99x/v1"])
def test_an_address_that_cannot_be_is_a_model_error(url: str) -> None:
    with pytest.raises(ModelError):
        load_chat(f"openai:m@{url}").complete(TALK)


@pytest.mark.parametrize("key", ["two\nlines", "ключ"])
def test_a_key_that_fits_no_header_is_a_model_error(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ModelError):
        load_chat(f"openai:m@{URL}").complete(TALK)
