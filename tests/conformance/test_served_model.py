"""A model that is served: its name, and its own sampling parameters where a request names none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from conformance.served import BASE, TALK, serving

from moli.models.weights.loading import folder_of
from moli.workspace import Workspace

RECOMMENDED = {"temperature": 0.4, "top_k": 1, "repetition_penalty": 1.5}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of a model whose recommended parameters leave one token to choose."""
    folder = tmp_path_factory.mktemp("recommended")
    model = folder / "model"
    shutil.copytree(folder_of(BASE), model)
    settings = {"do_sample": True, **RECOMMENDED}
    (model / "generation_config.json").write_text(json.dumps(settings), encoding="utf-8")
    toml = f'model = "{model}"\nencoder = "scripted:hash"\n'
    (folder / "moli.toml").write_text(toml, encoding="utf-8")
    with Workspace.init(folder) as workspace, serving(workspace) as served:
        yield served


def answer(address: str, **options: Any) -> tuple[str, dict[str, Any]]:
    """The text of an answer, and the sampling options that its exchange has."""
    body = {"messages": TALK, "max_tokens": 12, **options}
    made = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=60).json()
    exchange = made["id"].removeprefix("chatcmpl-")
    stored = httpx.get(f"{address}/v1/traces/{exchange}").json()["sampling"]
    return made["choices"][0]["message"]["content"], stored


@pytest.mark.slow
def test_a_request_that_names_none_gets_the_models_own(address: str) -> None:
    text, stored = answer(address)
    assert stored == {"max_tokens": 12, **RECOMMENDED}
    assert answer(address, temperature=None)[0] == text
    # The same, spelled out: the likeliest token, after the penalty.
    assert answer(address, temperature=0, repetition_penalty=1.5)[0] == text


@pytest.mark.slow
def test_a_request_overrides_each_of_them(address: str) -> None:
    plain, stored = answer(address, temperature=0, repetition_penalty=1.0)
    assert stored["repetition_penalty"] == 1.0
    assert stored["top_k"] == RECOMMENDED["top_k"]
    assert plain != answer(address)[0]
    sampled = {answer(address, temperature=2, top_k=0, seed=seed)[0] for seed in range(3)}
    assert len(sampled) == 3


@pytest.mark.slow
def test_a_response_says_by_what_it_was_sampled(address: str) -> None:
    body = {"input": "Tell me of the sea.", "max_output_tokens": 4}
    made = httpx.post(f"{address}/v1/responses", json=body, timeout=60).json()
    assert made["temperature"] == RECOMMENDED["temperature"]
    assert made["top_p"] == 1.0
    assert "top_k" not in made


@pytest.mark.slow
def test_a_name_that_no_model_has_is_answered_with_those_that_there_are(address: str) -> None:
    body = {"model": "smolm2", "messages": TALK}
    refused = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=60)
    assert refused.status_code == 404
    [own] = httpx.get(f"{address}/v1/models").json()["data"]
    message = f"model: no model is called 'smolm2'. There are: {own['id']}."
    assert refused.json()["error"]["message"] == message
