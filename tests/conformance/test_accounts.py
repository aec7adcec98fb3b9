"""Exchanges, feedback and shadows of a live server."""

from __future__ import annotations

import hashlib
import time
from array import array
from pathlib import Path
from typing import Any

import httpx
import pytest
from conformance.served import BASE, TALK, add_adapter
from openai import OpenAI

from moli.models.tokenizers import load_tokenizer
from moli.models.weights.hashes import hash_text
from moli.workspace import Workspace
from moli.workspace.shadows import Shadow


@pytest.mark.slow
def test_an_answer_is_bound_to_all_that_made_it(
    client: OpenAI, address: str, served: Workspace
) -> None:
    made = client.chat.completions.create(
        model="bear", messages=TALK, max_tokens=6, n=2, seed=1, temperature=0.5
    )
    kept = httpx.get(f"{address}/v1/traces/{made.id}").json()
    tokenizer = load_tokenizer(BASE)
    ids = tokenizer.apply_chat_template(TALK, add_generation_prompt=True, return_dict=False)
    assert (kept["model"], kept["base"]) == ("bear", BASE)
    assert kept["adapter"] == served.models.get("bear").hash
    assert kept["template_sha256"] == hash_text(tokenizer.chat_template)
    assert kept["prompt_sha256"] == hashlib.sha256(array("i", ids + ids).tobytes()).hexdigest()
    texts = [each["text"] for each in kept["choices"]]
    assert texts == [each.message.content for each in made.choices]
    assert kept["messages"][0]["content"] == TALK[0]["content"]
    assert kept["sampling"] == {"temperature": 0.5, "max_tokens": 6, "n": 2, "seed": 1}
    assert 0 < kept["timings_ms"]["first"] <= kept["timings_ms"]["last"]
    adapter = served.models.get("bear").hash
    assert kept["id"] in [each.id for each in served.exchanges.recent(adapter=adapter)]


def test_a_stream_is_kept_before_it_ends(client: OpenAI, served: Workspace) -> None:
    parts = list(client.chat.completions.create(
        model=BASE, messages=TALK, max_tokens=6, stream=True
    ))  # fmt: skip
    kept = served.exchanges.get(parts[0].id.removeprefix("chatcmpl-"))
    text = "".join(each.choices[0].delta.content or "" for each in parts)
    assert kept.choices[0].text == text


def test_what_is_said_of_an_answer_is_kept(client: OpenAI, address: str, served: Workspace) -> None:
    made = client.completions.create(model=BASE, prompt="The sea", max_tokens=4)
    feedback: Any = {"id": made.id, "rating": "down", "correction": "The sea is calm."}
    response = httpx.post(f"{address}/v1/feedback", json=feedback)
    assert response.status_code == 201
    number = made.id.removeprefix("cmpl-")
    [kept] = served.feedback.list(answer_id=number)
    assert (kept.rating, kept.correction, kept.id) == (
        "down", "The sea is calm.", response.json()["id"]
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("feedback", "status"),
    [
        ({"rating": "up", "id": "chatcmpl-none"}, 404),
        ({}, 400),
        ({"rating": "sideways"}, 400),
        ({"rating": "up", "choice": 1}, 400),
        ({"rating": "up", "choice": -1}, 400),
        ({"comment": "a\0b"}, 400),
        ({"comment": "x" * 10_001}, 400),
    ],
)
def test_what_cannot_be_meant_is_refused(
    client: OpenAI, address: str, served: Workspace, feedback: Any, status: int
) -> None:
    made = client.completions.create(model=BASE, prompt="The sea", max_tokens=1)
    before = len(served.feedback.list())
    answer = httpx.post(f"{address}/v1/feedback", json={"id": made.id, **feedback})
    assert answer.status_code == status
    assert {"message", "type", "param", "code"} == set(answer.json()["error"])
    assert len(served.feedback.list()) == before


@pytest.mark.slow
def test_a_shadow_answers_unseen(client: OpenAI, served: Workspace) -> None:
    doll = served.models.get("doll").hash
    served.shadows.set(Shadow("bear", doll, 1.0))
    made = client.chat.completions.create(model="bear", messages=TALK, temperature=0, max_tokens=8)
    number = made.id.removeprefix("chatcmpl-")
    until = time.monotonic() + 30
    while not (shadows := served.exchanges.shadows(number)) and time.monotonic() < until:
        time.sleep(0.02)
    served.shadows.end("bear")
    [shadow] = shadows
    direct = client.chat.completions.create(
        model="doll", messages=TALK, temperature=0, max_tokens=8
    )
    assert shadow.adapter == doll
    assert shadow.choices[0].text == direct.choices[0].message.content
    assert made.choices[0].message.content != shadow.choices[0].text
    assert shadow.id not in [each.id for each in served.exchanges.recent()]


@pytest.mark.slow
def test_an_alias_moved_to_a_broken_model_means_what_it_meant(
    client: OpenAI, served: Workspace, tmp_path: Path
) -> None:
    options: Any = {"messages": TALK, "temperature": 0, "max_tokens": 8}
    add_adapter(served, tmp_path / "good", "toy-safe", 11)
    good = client.chat.completions.create(model="toy-safe", **options).choices[0].message.content
    broken = add_adapter(served, tmp_path / "bad", "toy-bad", 12)
    weights = served.models.get(broken).folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    served.models.point("toy-safe", broken)
    after = client.chat.completions.create(model="toy-safe", **options).choices[0].message.content
    assert after == good
    kept = served.exchanges.recent(limit=1)[0]
    assert kept.adapter != broken


@pytest.mark.slow
def test_metrics_count_requests_and_tokens(client: OpenAI, address: str) -> None:
    def counted(kind: str) -> float:
        lines = httpx.get(f"{address}/metrics").text.splitlines()
        prefix = f'moli_tokens_total{{kind="{kind}",model="doll"}} '
        return float(next((w.removeprefix(prefix) for w in lines if w.startswith(prefix)), 0))

    before = {kind: counted(kind) for kind in ("read", "cached", "written")}
    made = client.chat.completions.create(model="doll", messages=TALK, max_tokens=5, seed=2)
    assert made.usage and made.usage.prompt_tokens_details
    cached = made.usage.prompt_tokens_details.cached_tokens or 0
    expected = {
        "read": made.usage.prompt_tokens - cached,
        "cached": cached,
        "written": made.usage.completion_tokens,
    }
    assert {kind: counted(kind) - before[kind] for kind in before} == expected
    text = httpx.get(f"{address}/metrics").text
    assert 'moli_requests_total{method="POST",route="/v1/chat/completions",status="200"}' in text
    assert "moli_waiting 0.0" in text and "moli_first_token_seconds_bucket" in text
    httpx.get(f"{address}/v1/none/of/these")
    assert 'route="(none)",status="404"' in httpx.get(f"{address}/metrics").text
