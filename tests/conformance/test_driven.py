"""A server that has another one run its language model answers as one that runs it itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import openai
import pytest
from conformance.served import BASE, TALK, add_adapter, serving
from models.vllm_stand_in import ServerOptions, StandIn
from openai import OpenAI

from moli.models.backend import load_base_model
from moli.models.engine.worker import EngineWorker
from moli.models.tokenizers import load_tokenizer
from moli.workspace import Workspace

ASKED: Any = {"messages": TALK, "temperature": 0, "max_tokens": 16}


@pytest.fixture(scope="module")
def other() -> Iterator[StandIn]:
    base = load_base_model(BASE, adapter_slots=4)
    assert isinstance(base.backend, EngineWorker)
    yield StandIn(base.backend, load_tokenizer(BASE), BASE, ServerOptions())
    base.backend.close()


@pytest.fixture(scope="module")
def driven(other: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    folder: Path = tmp_path_factory.mktemp("driven")
    with ExitStack() as stack:
        url = stack.enter_context(other.served())
        toml = f'encoder = "scripted:hash"\nmodel = "{BASE}"\nbackend = "vllm"\n'
        (folder / "moli.toml").write_text(f'{toml}backend_url = "{url}"\n', encoding="utf-8")
        workspace = stack.enter_context(Workspace.init(folder))
        for seed, alias in enumerate(("bear", "doll")):
            add_adapter(workspace, folder / alias, alias, seed)
        address = stack.enter_context(serving(workspace))
        yield OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)


@pytest.mark.slow
def test_it_says_the_same(client: OpenAI, driven: OpenAI, other: StandIn) -> None:
    def answer_of(openai_client: OpenAI, model: str) -> str | None:
        answer = openai_client.chat.completions.create(model=model, **ASKED)
        return answer.choices[0].message.content

    models = (BASE, "bear", "doll", "bear", f"{BASE}@doll")
    answers = [answer_of(driven, each) for each in models]
    assert answers == [answer_of(client, each) for each in models]
    # Each was pushed once, under the name of its content.
    assert len(other.load_requests) == 2
    assert all(len(each["lora_name"]) == 64 for each in other.load_requests)
    assert other.mistakes == []


@pytest.mark.slow
def test_streams_tools_and_forms_go_through(driven: OpenAI, other: StandIn) -> None:
    parts = list(driven.chat.completions.create(model="bear", **ASKED, stream=True))
    whole = driven.chat.completions.create(model="bear", **ASKED)
    text = "".join(each.choices[0].delta.content or "" for each in parts)
    assert text == whole.choices[0].message.content
    schema = {
        "type": "object",
        "properties": {"sea": {"enum": ["calm", "wild"]}},
        "required": ["sea"],
        "additionalProperties": False,
    }
    tools: Any = [{"type": "function", "function": {"name": "look", "parameters": schema}}]
    called = driven.chat.completions.create(
        model=BASE, messages=TALK, tools=tools, tool_choice="required", max_tokens=60, seed=1,
        parallel_tool_calls=False,
    )  # fmt: skip
    assert called.choices[0].finish_reason == "tool_calls"
    assert other.mistakes == []


@pytest.mark.slow
def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    toml = 'encoder = "scripted:hash"\nmodel = "builtin:starter"\nbackend = "vllm"\n'
    nowhere = 'backend_url = "http://127.0.0.1:9"\n'
    (tmp_path / "moli.toml").write_text(toml + nowhere, encoding="utf-8")
    with Workspace.init(tmp_path) as workspace, serving(workspace) as address:
        client = OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        with pytest.raises(openai.InternalServerError, match="cannot be reached") as caught:
            client.chat.completions.create(model="", messages=TALK)
        assert caught.value.status_code == 502
