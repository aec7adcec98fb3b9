"""A trained reward model as a reward: its texts, its verdict, its drift."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from training.round_trips import recipe_of
from training.small_models import write_encoder, write_model

from moli.alignment.rewards.trained import TrainedReward
from moli.alignment.rollouts.buffer import SampledAnswer, TrainingPrompt
from moli.records.errors import InputError
from moli.records.examples import Preference
from moli.records.messages import Message
from moli.training.tasks.reward import RewardModeling
from moli.training.trained.load import TrainedModel
from moli.training.trained.reward_model import RewardModel

PROMPT = TrainingPrompt((7, 8), messages=(Message("user", "w1 w2"),))
USABLE = {"may_be_used_as_reward": True, "score_mean": 0.0, "score_deviation": 1.0,
          "score_range": [-1.0, 1.0]}  # fmt: skip


def answer(text: str) -> SampledAnswer:
    """An answer with token ids of another vocabulary."""
    return SampledAnswer((9999,), (0.0,), text=text)


def reward_model(base: str) -> RewardModel:
    task = RewardModeling(recipe_of(task="reward", base=base, data="unread.jsonl"))
    sides = [(Message("assistant", text),) for text in ("w3", "w4")]
    task.prepare([Preference(PROMPT.messages, sides[0], sides[1])])
    task.calibration = USABLE
    torch.manual_seed(0)
    return RewardModel(TrainedModel(task, task.build(torch.float32).eval(), "liked"))


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_texts_are_scored_with_the_reward_models_own_tokenizer(kind: str, tmp_path: Path) -> None:
    model = reward_model(
        write_encoder(tmp_path) if kind == "bert" else write_model(tmp_path, "llama")
    )
    reward = TrainedReward(model)
    scores = reward([PROMPT] * 3, [answer("w3"), answer("w4 w5"), answer("")])
    expected = model.score(
        [PROMPT.messages] * 3, [(Message("assistant", text),) for text in ("w3", "w4 w5", "")]
    )
    assert scores == expected
    assert len(set(scores)) == 3
    assert all(map(math.isfinite, scores))
    assert reward.metrics["score_shift"] == pytest.approx(sum(scores) / 3)


def test_a_model_that_may_not_be_used_is_refused(tmp_path: Path) -> None:
    model = reward_model(write_encoder(tmp_path))
    model.trained.task.calibration = {"problems": ["length alone does as well"]}
    with pytest.raises(InputError, match="length alone does as well"):
        TrainedReward(model)
    assert not TrainedReward(model, must_be_calibrated=False).metrics


def test_a_prompt_needs_messages(tmp_path: Path) -> None:
    reward = TrainedReward(reward_model(write_encoder(tmp_path)))
    with pytest.raises(InputError, match="a prompt has no messages"):
        reward([TrainingPrompt((1, 2))], [answer("w3")])
