"""Several servers on one PostgreSQL database are one: keys, aliases, answers and feedback."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from conformance.served import TALK, add_adapter, serving

from moli.workspace import Workspace


def ask(address: str, **headers: str) -> httpx.Response:
    body = {"model": "toy", "messages": TALK, "temperature": 0, "max_tokens": 12}
    return httpx.post(f"{address}/v1/chat/completions", json=body, headers=headers, timeout=60)


def text(answer: httpx.Response) -> Any:
    return answer.json()["choices"][0]["message"]["content"]


@pytest.mark.slow
def test_several_servers_share_what_there_is(postgres_url: str, tmp_path: Path) -> None:
    toml = f'encoder = "scripted:hash"\ndatabase = "{postgres_url}"\n'
    (tmp_path / "moli.toml").write_text(toml, encoding="utf-8")
    with (
        Workspace.init(tmp_path) as one,
        Workspace.open(tmp_path) as two,
        serving(one) as left,
        serving(two) as right,
    ):
        add_adapter(one, tmp_path / "first", "toy", 1)
        before = ask(left)
        assert text(ask(right)) == text(before)
        # What one has answered, the other accounts for and takes feedback on.
        name = before.json()["id"]
        assert httpx.get(f"{right}/v1/traces/{name}").json()["choices"][0]["text"] == text(before)
        response = httpx.post(f"{right}/v1/feedback", json={"id": name, "rating": "up"})
        assert response.status_code == 201
        assert httpx.get(f"{left}/v1/feedback").json()["data"] == [response.json()]
        # An alias that is moved by one is moved for both.
        add_adapter(two, tmp_path / "second", "toy", 2)
        assert text(ask(left)) == text(ask(right)) != text(before)
        # And so is a key.
        secret = one.keys.add("anna").secret
        time.sleep(0.6)
        for address in (left, right):
            assert ask(address).status_code == 401
            assert ask(address, authorization=f"Bearer {secret}").status_code == 200
