"""A reward model by name: its scores, its verdict, and what it refuses."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training.round_trips import recipe_of, write_rows
from training.small_models import write_encoder

from moli.records.errors import InputError
from moli.records.messages import Message
from moli.training.data import examples_of
from moli.training.run import tune
from moli.training.tasks.reward import RewardModeling
from moli.training.trained.load import TrainedModel
from moli.training.trained.predict import evaluate_on, predict, read_text, read_unanswered
from moli.training.trained.reward_model import load_reward_model
from moli.workspace import Workspace


def _turn(role: str, text: str) -> tuple[Message, ...]:
    return (Message(role, text),)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_reward_model_scores_by_name(tmp_path: Path) -> None:
    draw = random.Random(0)
    rows = [
        {"prompt": f"w{draw.randrange(30, 40)} {n}", "chosen": f"w{draw.randrange(10, 20)}",
         "rejected": f"w{draw.randrange(20, 30)}"}
        for n in range(400)
    ]  # fmt: skip
    data = write_rows(tmp_path / "pairs.jsonl", rows)
    base = write_encoder(tmp_path / "base")
    workspace = Workspace.init(tmp_path / "workspace")
    recipe = recipe_of(
        task="reward", base=base, data=str(data), epochs=6, learning_rate=0.001, name="liked"
    )
    result = tune(recipe, workspace)
    assert result.facts["calibration"]["may_be_used_as_reward"] is True
    assert (result.folder / "calibration.json").exists()
    assert "may be used as a reward" in (result.folder / "report.html").read_text()

    reward = load_reward_model("liked", workspace)
    reward.check_use()
    prompts = [_turn("user", "w30")] * 3
    liked, disliked, again = reward.score(
        prompts, [_turn("assistant", text) for text in ("w11", "w21", "w11")]
    )
    assert liked > 0 > disliked
    assert again == pytest.approx(liked, abs=1e-5)
    alone = reward.score(prompts[:1], [_turn("assistant", "w21")])
    np.testing.assert_allclose(alone, [disliked], atol=1e-5)
    assert not reward.drift([reward.calibration["score_mean"]] * 2).is_large
    assert reward.drift([liked + 100]).is_large

    with pytest.raises(InputError, match="1 answers for 3 prompts"):
        reward.score(prompts, [_turn("assistant", "w11")])
    reward.trained.task.calibration = {"problems": ["too few pairs"]}
    with pytest.raises(InputError, match="should not be used as a reward: too few pairs"):
        reward.check_use()
    stored = workspace.models.get("liked")
    other = replace(stored, manifest=replace(stored.manifest, task="classification"))
    with pytest.raises(InputError, match="a model for classification, not a reward model"):
        load_reward_model(other, workspace)


def test_rows_without_ratings_are_scored(tmp_path: Path) -> None:
    base = write_encoder(tmp_path / "base")
    task = RewardModeling(recipe_of(task="reward", base=base, data="unread.jsonl"))
    trained = TrainedModel(task, task.build(torch.float32).eval(), "liked")
    pair = {"prompt": "w1", "chosen": "w2 w3", "rejected": "w4"}
    path = write_rows(tmp_path / "rows.jsonl", [{"prompt": "w1", "completion": "w2 w3"}] * 2)
    rows = predict(trained, examples_of(read_unanswered(trained, path).examples))
    both = predict(trained, [read_text(trained, json.dumps(pair))])
    chat = {"messages": [{"role": "user", "content": "w1"},
                         {"role": "assistant", "content": "w2 w3"}]}  # fmt: skip
    [of_chat] = predict(trained, [read_text(trained, json.dumps(chat))])
    assert rows[0] == rows[1]
    np.testing.assert_allclose(both[0]["scores"][0], rows[0]["score"], atol=1e-6)
    np.testing.assert_allclose(of_chat["score"], rows[0]["score"], atol=1e-6)


@pytest.mark.slow
def test_an_evaluation_reports_pairs_beside_length(tmp_path: Path) -> None:
    base = write_encoder(tmp_path / "base")
    task = RewardModeling(recipe_of(task="reward", base=base, data="unread.jsonl"))
    trained = TrainedModel(task, task.build(torch.float32).eval(), "liked")
    rows = [{"prompt": f"w{n}", "chosen": "w2 w3", "rejected": f"w{n + 9}"} for n in range(20)]
    evaluation = evaluate_on(trained, write_rows(tmp_path / "test.jsonl", rows))
    assert evaluation.metric == "pair_accuracy"
    assert evaluation.metrics["longer_accuracy"] == 1.0
    low, high = evaluation.interval
    assert low <= evaluation.metrics["pair_accuracy"] <= high
