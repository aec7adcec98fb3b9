"""New preferences from a policy's answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from training.small_models import write_model

from moli.alignment.pairs import new_pairs, write_pairs
from moli.alignment.prompts import read_prompts
from moli.alignment.rollouts.buffer import SampledAnswer, TrainingPrompt
from moli.models.tokenizers import load_tokenizer
from moli.records.examples import Preference
from moli.records.messages import Message, Tool, ToolCall
from moli.training.data import read_data
from moli.training.recipes.recipe import Recipe, make_recipe

WEATHER = Tool("weather", "Tells the weather.", {"type": "object", "properties": {"city": {}}})
CALLED = (
    Message("user", "How is the weather in Oslo?"),
    Message("assistant", "", (ToolCall("call-1", "weather", '{"city": "Oslo"}'),)),
    Message("tool", "rain", call_id="call-1"),
)


def answers(*texts: str) -> list[SampledAnswer]:
    return [SampledAnswer((1,), (0.0,), text) for text in texts]


def tuning_recipe(data: Path) -> Recipe:
    return make_recipe({"task": "dpo", "base": "base", "data": data, "held_out": 0})


def read_pairs(path: Path, rows: Any) -> list[Preference]:
    write_pairs(path, rows)
    examples = [each.example for each in read_data(tuning_recipe(path), (Preference,)).train]
    assert all(isinstance(example, Preference) for example in examples)
    return examples  # type: ignore[return-value]


def test_the_best_and_the_worst_answers_are_a_pair(tmp_path: Path) -> None:
    prompts = [TrainingPrompt((n,), (Message("user", f"question {n}"),)) for n in range(4)]
    repeated = [prompt for prompt in prompts for _ in range(3)]
    sampled = answers(
        *("fair", "good ", "bad"),
        *("one", "two", "three"),  # equally good
        *("same", "same", "same "),
        *("", "better", "best"),  # the worst one is empty
    )
    scores = [0.5, 2.0, -1.0, 1, 1, 1, 1, 2, 3, 0, 1, 2]
    [pair] = read_pairs(tmp_path / "pairs.jsonl", new_pairs(repeated, sampled, scores, 3))
    assert [message.content for message in pair.prompt] == ["question 0"]
    assert (pair.chosen[0].content, pair.rejected[0].content) == ("good", "bad")
    assert pair.margin == 3.0


def test_pairs_keep_the_tools_and_the_calls_of_their_prompts(tmp_path: Path) -> None:
    prompt = TrainingPrompt((1,), CALLED, tools=(WEATHER,))
    rows = new_pairs([prompt] * 2, answers("It rains.", "Sun."), [1.0, 0.0], 2)
    [pair] = read_pairs(tmp_path / "pairs.jsonl", rows)
    assert (pair.tools, pair.prompt) == ((WEATHER,), CALLED)
    assert pair.tools[0].parameters == WEATHER.parameters


@pytest.mark.parametrize("tools", [(), (WEATHER,)])
def test_prompts_of_pairs_are_the_prompts_that_were_answered(
    tmp_path: Path, tools: tuple[Tool, ...]
) -> None:
    tokenizer = load_tokenizer(write_model(tmp_path / "model", "llama"))
    prompt = TrainingPrompt((1,), CALLED[:1], tools=tools)
    path = tmp_path / "pairs.jsonl"
    write_pairs(path, new_pairs([prompt] * 2, answers("w1", "w2"), [1.0, 0.0], 2))
    read = read_prompts(tuning_recipe(path), tokenizer, max_length=500, held_out=0)
    assert [(each.messages, each.tools) for each in read.train] == [(CALLED[:1], tools)]
