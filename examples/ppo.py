"""A language model that learns from a reward: proximal policy optimization in a few lines.

    python examples/ppo.py

The model that ships with Moli continues old stories. Here it is rewarded for speaking of the sea.
Any function of prompts and answers can be the reward.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from moli.alignment.algorithms.table import make_algorithm
from moli.alignment.loop import AlignmentLoop, BatchSizes
from moli.alignment.roles import SharedBase
from moli.alignment.rollouts.buffer import Rollouts, SampledAnswer, TrainingPrompt
from moli.alignment.rollouts.sampling import SamplingLimits
from moli.models.tokenizers import load_tokenizer
from moli.models.weights.loading import load_model
from moli.records.messages import Message
from moli.training.loop.loop import RunSchedule

BASE = "builtin:starter"
OPENINGS = (
    "Once upon a time there was",
    "The old man looked at",
    "In the morning they came to",
    "She opened the door and saw",
    "Far away from the village",
    "When the night fell",
)
SEA = re.compile(r"\b(sea|ship|boat|sail|sailor|water|wave|shore|island|captain|wind)s?\b")

ppo_params: dict[str, Any] = {
    "beta": 0.05,  # coefficient of the divergence from the model as it was
    "answers_per_prompt": 4,
    "epochs": 2,
    "minibatches": 2,
    "missing_end_penalty": 0.0,  # stories go on
}


def speaks_of_the_sea(_: Sequence[TrainingPrompt], answers: Sequence[SampledAnswer]) -> list[float]:
    """The reward: different words of the sea in an answer, 3 at most."""
    return [min(3.0, len(set(SEA.findall(answer.text)))) for answer in answers]


def make_loop(steps: int, folder: Path) -> AlignmentLoop:
    """A loop that trains an adapter on the model by the reward."""
    tokenizer = load_tokenizer(BASE)
    prompts = [
        TrainingPrompt(tuple(tokenizer(text)["input_ids"]), (Message("user", text),))
        for text in OPENINGS
    ]
    limits = SamplingLimits(max_tokens=16, stop_token_ids=[tokenizer.eos_token_id])
    base = load_model("AutoModelForCausalLM", BASE, dtype=torch.float32)
    shared = SharedBase(base, tokenizer, limits)
    return AlignmentLoop(
        algorithm=make_algorithm("ppo", ppo_params),
        roles=shared.roles(),
        reward=speaks_of_the_sea,
        prompts=prompts,
        learners=shared.learners(learning_rate=2e-3),
        schedule=RunSchedule(steps, evaluate_every=steps, patience=0),
        sizes=BatchSizes(prompts=len(prompts)),
        seed=0,
        folder=folder,
        on_event=lambda _: None,
    )


def main() -> None:
    """Train, and show rewards and stories before and after."""
    parser = argparse.ArgumentParser(description="PPO on a small model.")
    parser.add_argument("--steps", type=int, default=20)
    steps = parser.parse_args().steps
    with tempfile.TemporaryDirectory() as folder:
        loop = make_loop(steps, Path(folder))
        for _ in range(steps):
            batch = loop.roll_out()  # generate
            experience, figures = loop.score(batch)  # evaluate
            step = loop.learn(experience, figures).step
            print(
                f"step {step}: reward {figures['reward']:.2f}, divergence {figures['kl']:.2f}",
                flush=True,
            )
            if step in (1, steps):
                show(batch.rollouts)


def show(rollouts: Rollouts) -> None:
    """Print an answer to each prompt."""
    for row in range(0, len(rollouts), ppo_params["answers_per_prompt"]):
        [message] = rollouts.prompts[row].messages
        print(f"    {message.content} ... {' '.join(rollouts.answers[row].text.split())}")


if __name__ == "__main__":
    main()
