"""A model trained on a few conversations with tools holds them with a client of the server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient
from models.templates.test_template_inputs import QWEN
from training.round_trips import write_rows

from moli.serving.app import create_app
from moli.training.checks.preflight import preflight
from moli.training.recipes.recipe import make_recipe
from moli.training.run import tune
from moli.training.tasks.pretraining import train_tokenizer
from moli.workspace import Workspace

pytestmark = pytest.mark.slow

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [
    {"type": "function", "function": {"name": "look", "parameters": CITY}},
    {"type": "function", "function": {"name": "now", "description": "Tell the time."}},
]
# A question, the tool call for it, the tool's result, and the answer.
ROUNDS: list[tuple[str, tuple[str, dict[str, str]] | None, str, str]] = [
    ("Is it raining in Oslo?", ("look", {"city": "Oslo"}), "rain", "Yes, take a coat."),
    ("Do I need a hat at the beach of Århus?", ("look", {"city": "Århus"}), "sun", "A large one."),
    ("What time is it?", ("now", {}), "9:00", "Nine o'clock."),
    ("Who are you?", None, "", "I look things up."),
]


def row(
    question: str, call_made: tuple[str, dict[str, str]] | None, tool_result: str, answer_text: str
) -> Any:
    turns: list[dict[str, Any]] = [{"role": "user", "content": question}]
    if call_made:
        function = {"name": call_made[0], "arguments": json.dumps(call_made[1], ensure_ascii=False)}
        call = {"id": "call_1", "type": "function", "function": function}
        turns.append({"role": "assistant", "content": None, "tool_calls": [call]})
        turns.append({"role": "tool", "tool_call_id": "call_1", "content": tool_result})
    turns.append({"role": "assistant", "content": answer_text})
    return {"messages": turns, "tools": TOOLS}


def write_base(folder: Path, rows: list[Any]) -> str:
    """A random Llama of two layers, with a tokenizer of these rows and a template for tools."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    tokenizer = train_tokenizer([json.dumps(rows, ensure_ascii=False), QWEN], 800)
    tokenizer.chat_template = QWEN
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=512,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


def test_calls_are_learnt_and_served(
    tmp_path: Path, make_workspace: Callable[..., Workspace]
) -> None:
    rows = [row(*each) for each in ROUNDS]
    values = {
        "task": "instruction",
        "base": write_base(tmp_path / "base", rows),
        "data": write_rows(tmp_path / "rows.jsonl", rows),
        "method": "full",
        "held_out": 0.0,
        "epochs": 60,
        "batch": 4,
        "learning_rate": 1e-2,
        "precision": "fp32",
        "name": "caller",
    }
    report = preflight(make_recipe(values))
    assert [each.what for each in report.findings if each.severity != "note"] == []
    supervised = [each.text for mask in report.masks for each in mask.parts[0] if each.supervised]
    assert any(each.startswith('<tool_call>\n{"name": ') for each in supervised)
    assert not any("description" in each or "tool_response" in each for each in supervised)

    workspace = make_workspace()
    tune(make_recipe(values), workspace)
    client = TestClient(create_app(workspace), base_url="http://127.0.0.1:7860")
    for question, call_made, tool_result, answer_text in ROUNDS:
        messages: list[dict[str, Any]] = [{"role": "user", "content": question}]
        if call_made:
            choice = answer(client, messages)
            assert choice["finish_reason"] == "tool_calls"
            [call] = choice["message"]["tool_calls"]
            assert call["function"]["name"] == call_made[0]
            assert json.loads(call["function"]["arguments"]) == call_made[1]
            messages += [
                choice["message"],
                {"role": "tool", "tool_call_id": call["id"], "content": tool_result},
            ]
        choice = answer(client, messages)
        assert (choice["finish_reason"], choice["message"]["content"]) == ("stop", answer_text)


def answer(client: TestClient, messages: list[dict[str, Any]]) -> Any:
    body = {"model": "caller", "messages": messages, "tools": TOOLS, "temperature": 0}
    response = client.post("/v1/chat/completions", json=body | {"max_tokens": 80})
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]
