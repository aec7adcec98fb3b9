from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient
from serving.conftest import Build, client_of

from moli.records.errors import (
    InputError,
    ModelError,
    MoliError,
    NotFoundError,
    SettingsError,
    WorkspaceError,
)
from moli.serving.library import Library
from moli.serving.middleware import MAX_BODY


def error(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["message"]
    details: dict[str, Any] = body["error"]
    return details


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/ask", {}, "question"),
        ("/v1/ask", {"question": 7}, "question"),
        ("/v1/ask", {"question": "why", "groups": "everyone"}, "groups"),
        ("/v1/ask", {"question": "why", "temperature": 1}, "temperature"),
        ("/v1/ask", {"question": "null \0 character"}, "question"),
        ("/v1/ask", {"question": "why", "where": {"team": 1}}, "where.team"),
        ("/v1/search", {"query": ""}, "query"),
        ("/v1/search", {"query": "why", "limit": 0}, "limit"),
        ("/v1/search", {"query": "why", "limit": 101}, "limit"),
    ],
)
def test_a_request_that_does_not_fit_is_refused_by_the_name_of_the_field(
    client: TestClient, path: str, body: dict[str, Any], param: str
) -> None:
    details = error(client.post(path, json=body), 400)
    assert details["param"] == param
    assert details["type"] == "invalid_request_error"


def test_text_that_is_no_json_is_refused(client: TestClient) -> None:
    headers = {"content-type": "application/json"}
    assert error(client.post("/v1/ask", content="{", headers=headers), 400)["param"] is None
    error(client.post("/v1/ask", content="{}", headers={"content-type": "text/plain"}), 400)


def test_half_a_character_is_refused(client: TestClient) -> None:
    headers = {"content-type": "application/json"}
    half = '{"question": "\\ud83d"}'
    assert error(client.post("/v1/ask", content=half, headers=headers), 400)["param"] == "question"


def test_an_empty_or_endless_question_is_refused(client: TestClient) -> None:
    for question in ("", "  ", "x" * 4001):
        assert error(client.post("/v1/ask", json={"question": question}), 400)["code"] == "input"


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/nothing", "/v1", "/v1/nothing", "/v1/documents/999"])
def test_what_does_not_exist_is_not_found(client: TestClient, path: str) -> None:
    assert error(client.get(path), 404)["type"] == "not_found_error"


def test_another_method_is_not_allowed_and_the_right_one_is_named(client: TestClient) -> None:
    response = client.get("/v1/ask")
    error(response, 405)
    assert response.headers["allow"] == "POST"
    error(client.post("/health"), 405)


@pytest.mark.parametrize("number", ["x", "0", "-1", "1.5", "9" * 30])
def test_a_document_number_that_cannot_be_one_is_refused(client: TestClient, number: str) -> None:
    assert error(client.get(f"/v1/documents/{number}"), 400)["param"] == "document_id"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (InputError("bad", fix="Do better."), 400),
        (NotFoundError("gone"), 404),
        (ModelError("silent", where="openai:x@http://127.0.0.1:1"), 502),
        (WorkspaceError("busy"), 503),
        (SettingsError("odd"), 500),
        (MoliError("other"), 400),
    ],
)
def test_each_kind_of_error_has_its_status_and_says_what_to_do(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, raised: MoliError, status: int
) -> None:
    def fail(*_: object) -> None:
        raise raised

    monkeypatch.setattr(Library, "ask", fail)
    details = error(client.post("/v1/ask", json={"question": "why"}), status)
    assert details["message"] == str(raised)
    assert details["code"] == raised.code


def test_a_failure_of_the_server_tells_nothing_of_its_inside(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("password is swordfish")

    monkeypatch.setattr(Library, "ask", fail)
    response = client.post("/v1/ask", json={"question": "why"})
    assert error(response, 500)["type"] == "api_error"
    assert "swordfish" not in response.text
    assert "content-security-policy" in response.headers


def test_a_model_that_cannot_be_reached_is_a_bad_gateway(build: Build) -> None:
    client = client_of(build(model="openai:nobody@http://127.0.0.1:9/v1"))
    details = error(client.post("/v1/ask", json={"question": "Which port?"}), 502)
    assert details["code"] == "model"


def test_a_body_over_the_limit_is_refused_whether_its_size_is_told_or_not(
    client: TestClient,
) -> None:
    response = client.post("/v1/ask", json={"question": "x" * (MAX_BODY + 1)})
    assert error(response, 413)["code"] == "request_too_large"
    parts = (b"x" * 65536 for _ in range(MAX_BODY // 65536 + 1))
    error(client.post("/v1/ask", content=parts), 413)
    just_below = client.post("/v1/ask", json={"question": "x" * (MAX_BODY - 100)})
    assert error(just_below, 400)["code"] == "input"
