"""Keys of the server: who comes in, and what they see of each other."""

from __future__ import annotations

import time
from typing import Any

import pytest
from fastapi.testclient import TestClient
from serving.conftest import FORBIDDEN, OPEN, SECRET, Build, client_of, fill

from moli.records.errors import SettingsError
from moli.serving.access import RateLimiter
from moli.workspace import Workspace

ASK = {"question": "server port salary"}


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def paths(client: TestClient) -> list[tuple[str, str]]:
    """(method, path) of all that the API says it has."""
    described = client.app.openapi()  # type: ignore[attr-defined]
    return [(method, path) for path, methods in described["paths"].items() for method in methods]


def test_without_keys_everyone_on_this_machine_is_the_owner(client: TestClient) -> None:
    assert client.get("/v1/documents", headers=bearer("none")).status_code == 200
    assert client.get("/metrics").status_code == 200


@pytest.mark.slow
def test_from_the_first_key_on_nothing_is_answered_without_one(build: Build) -> None:
    workspace = build()
    client = client_of(workspace)
    secret = workspace.keys.add("anna", groups=["everyone"]).secret
    time.sleep(0.6)  # what a server knows of its keys is that old at most
    endpoints = paths(client)
    assert len(endpoints) > 15
    for method, path in endpoints:
        for headers in ({}, bearer("moli_wrong"), bearer(""), {"authorization": secret}):
            answer = client.request(method, path.replace("{", "").replace("}", ""), headers=headers)
            if path == "/health":
                assert answer.status_code == 200
                continue
            assert answer.status_code == 401, (method, path)
            assert answer.json()["error"]["code"] == "invalid_api_key"
            assert answer.headers["www-authenticate"] == "Bearer"
    assert client.get("/v1/documents", headers=bearer(secret)).status_code == 200


@pytest.mark.slow
def test_revoked_keys_open_nothing_even_when_none_is_left(build: Build) -> None:
    workspace = build()
    client = client_of(workspace)
    secret = workspace.keys.add("anna", groups=["everyone"]).secret
    time.sleep(0.6)
    assert client.get("/v1/documents", headers=bearer(secret)).status_code == 200
    workspace.keys.revoke("anna")
    time.sleep(0.6)
    assert client.get("/v1/documents", headers=bearer(secret)).status_code == 401
    assert client.get("/v1/documents").status_code == 401


def test_a_key_sees_documents_as_its_groups_do(build: Build) -> None:
    workspace = build()
    sources: dict[str, set[str]] = {}
    secrets = {
        name: workspace.keys.add(name, groups=groups).secret
        for name, groups in {"all": ["everyone", "hr"], "board": ["board"], "none": []}.items()
    }
    client = client_of(workspace)
    for name, secret in secrets.items():
        listed = client.get("/v1/documents", headers=bearer(secret)).json()
        sources[name] = {each["source"] for each in listed}
    assert sources == {"all": {*OPEN, *SECRET}, "board": {*FORBIDDEN}, "none": set()}


@pytest.mark.slow
def test_metrics_and_what_others_said_are_for_admins(build: Build) -> None:
    workspace = build()
    admin = workspace.keys.add("anna", scope="admin").secret
    user = workspace.keys.add("ben").secret
    client = client_of(workspace)
    for path in ("/metrics", "/v1/feedback"):
        assert client.get(path, headers=bearer(admin)).status_code == 200
        refused = client.get(path, headers=bearer(user))
        assert refused.status_code == 403
        assert refused.json()["error"]["type"] == "permission_error"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "moli.team.example"])
def test_a_server_that_others_reach_needs_a_key(build: Build, host: str) -> None:
    workspace = build()
    with pytest.raises(SettingsError, match="moli key add"):
        client_of(workspace, host=host)
    workspace.keys.add("anna")
    assert client_of(workspace, host=host)


def test_too_many_requests_are_told_when_to_come_back(build: Build) -> None:
    workspace = build(rate=3)
    secrets = [workspace.keys.add(name, groups=["everyone"]).secret for name in ("anna", "ben")]
    client = client_of(workspace)

    def ask(secret: str) -> Any:
        return client.post("/v1/ask", json=ASK, headers=bearer(secret))

    assert [ask(secrets[0]).status_code for _ in range(4)] == [200, 200, 200, 429]
    refused = ask(secrets[0])
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert ask(secrets[1]).status_code == 200  # another's


def test_a_rate_fills_up_again_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("moli.serving.access.time.monotonic", lambda: now)
    limiter = RateLimiter(6)
    assert [limiter.acquire("anna") for _ in range(7)] == [0] * 6 + [10]
    now = 9.0
    assert limiter.acquire("anna") == pytest.approx(1)
    now = 10.0
    assert limiter.acquire("anna") == 0
    now = 1000.0
    assert [limiter.acquire("anna") for _ in range(7)] == [0] * 6 + [10]


def tenants(workspace: Workspace) -> dict[str, str]:
    """Two tenants with a document each, and the secrets of their keys."""
    for name in ("acme", "beta"):
        fill(workspace, {f"{name}.txt": f"The {name} word is {name}xyzzy."}, name)
    return {
        name: workspace.keys.add(name, scope="admin", tenant=name, groups=[name]).secret
        for name in ("acme", "beta")
    }


def test_an_answer_is_its_tenants_alone(build: Build) -> None:
    workspace = build()
    secrets = tenants(workspace)
    client = client_of(workspace)
    answer = client.post("/v1/ask", json={"question": "acme word"}, headers=bearer(secrets["acme"]))
    trace = answer.json()["trace_id"]
    assert "acmexyzzy" in answer.text

    def seen(name: str) -> tuple[int, int]:
        headers = bearer(secrets[name])
        rating = {"id": trace, "rating": "up"}
        return (
            client.get(f"/v1/traces/{trace}", headers=headers).status_code,
            client.post("/v1/feedback", json=rating, headers=headers).status_code,
        )

    assert seen("acme") == (200, 201)
    assert seen("beta") == (404, 404)
    feedback = client.get("/v1/feedback", headers=bearer(secrets["acme"])).json()["data"]
    assert [(each["answer_id"], each["rating"], each["key"]) for each in feedback] == [
        (trace, "up", "acme")
    ]
    assert client.get("/v1/feedback", headers=bearer(secrets["beta"])).json()["data"] == []
