"""Reward models on the policy's base score like those with a base of their own."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from training.small_models import WORDS, write_model
from training.stored_models import train_and_store

from moli.alignment.rewards.gate import GatedReward
from moli.alignment.rewards.trained import TrainedReward
from moli.alignment.roles import SharedBase
from moli.alignment.rollouts.buffer import SampledAnswer, TrainingPrompt
from moli.alignment.rollouts.sampling import SamplingLimits
from moli.alignment.shared_rewards import SharedReward, load_shared_reward
from moli.models.weights.hashes import hash_weights
from moli.records.messages import Message
from moli.training.trained.reward_model import load_reward_model
from moli.workspace import Workspace
from moli.workspace.content import StoredModel

PROMPTS = [TrainingPrompt((5, 9), (Message("user", f"w{n} w7"),)) for n in (1, 2, 1, 3)]
ANSWERS = [SampledAnswer((9,), (0.0,), text) for text in ("w3", "w4 w5 w6", "w3 w3", "")]


@dataclass(frozen=True)
class Trained:
    workspace: Workspace
    base: str
    stored: list[StoredModel]

    def shared(self, base_hash: str) -> SharedBase:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        base = AutoModelForCausalLM.from_pretrained(self.base)
        tokenizer = AutoTokenizer.from_pretrained(self.base)
        return SharedBase(base, tokenizer, SamplingLimits(8, [3]), rank=2, base_hash=base_hash)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    home = tmp_path_factory.mktemp("home")
    base = write_model(home / "llama", "llama")
    draw = random.Random(0)
    stored = []
    for name, liked in (("safety", "w3"), ("helpfulness", "w4")):
        rows = []
        for _ in range(24):
            words = [draw.choice(WORDS) for _ in range(4)]
            pair = {"chosen": f"{words[1]} {liked}", "rejected": f"{words[2]} {words[3]}"}
            rows.append({"prompt": words[0], **pair})
        path = home / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        stored.append(train_and_store(home, path, base, task="reward", method="lora"))
    with Workspace.open(home) as workspace:
        yield Trained(workspace, base, stored)


@pytest.mark.slow
def test_two_reward_models_on_one_base_score_like_their_own_and_leave_roles_alone(
    trained: Trained,
) -> None:
    shared = trained.shared(hash_weights(Path(trained.base)))
    rewards, expected = [], []
    for stored in trained.stored:
        rewards.append(
            load_shared_reward(stored, trained.workspace, shared, must_be_calibrated=False)
        )
        assert isinstance(rewards[-1], SharedReward)
        own = load_reward_model(stored, trained.workspace)
        expected.append(TrainedReward(own, must_be_calibrated=False)(PROMPTS, ANSWERS))
    for reward, scores in zip(rewards, expected, strict=True):
        assert reward(PROMPTS, ANSWERS) == pytest.approx(scores, abs=1e-5)
    assert max(abs(a - b) for a, b in zip(*expected, strict=True)) > 0.01
    gated = GatedReward(*rewards)(PROMPTS, ANSWERS)
    assert set(gated) <= {*rewards[0](PROMPTS, ANSWERS), *rewards[1](PROMPTS, ANSWERS)}
    trainable = {name for name, each in shared.named_parameters() if each.requires_grad}
    assert trainable and not any("reward_" in name for name in trainable)
    names = {name for each in shared.learners(0.1).values() for name in each.weights.names}
    assert names == trainable
    before = shared.sample(PROMPTS, 0)
    rewards[0](PROMPTS, ANSWERS)
    assert shared.sample(PROMPTS, 0) == before


@pytest.mark.slow
def test_a_reward_model_of_another_base_has_its_own(trained: Trained) -> None:
    shared = trained.shared("another")
    stored = trained.stored[0]
    reward = load_shared_reward(stored, trained.workspace, shared, must_be_calibrated=False)
    assert isinstance(reward, TrainedReward)
    own = load_reward_model(stored, trained.workspace)
    expected = TrainedReward(own, must_be_calibrated=False)(PROMPTS, ANSWERS)
    assert reward(PROMPTS, ANSWERS) == expected
    assert all(torch.isfinite(torch.tensor(expected)))
