"""Sentiment of film reviews: PPO, best of n and DPO from one starter model, by one reward.

Use: python bench/alignment/imdb.py [--seeds 3] [--steps 40]

The starter is builtin:starter, tuned on reviews. The reward is the log odds that a classifier finds
an answer positive; another classifier, of other reviews, judges answers to held-out prompts (the
first words of reviews). Prints a Markdown table for bench/RESULTS.md, and writes the frontier of
sentiment against divergence to bench/.work/imdb/frontier.png. Reviews are read from ../shared/data.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from moli.alignment.algorithms.rejection import best_rows
from moli.alignment.algorithms.table import make_algorithm
from moli.alignment.kl import best_of_n_kl, sequence_kl
from moli.alignment.loop import AlignmentLoop, BatchSizes
from moli.alignment.roles import SharedBase
from moli.alignment.rollouts.buffer import SampledAnswer, TrainingPrompt, make_rollouts
from moli.alignment.rollouts.protocols import score_tokens
from moli.alignment.rollouts.sampling import SamplingLimits
from moli.models.tokenizers import load_tokenizer
from moli.models.weights.loading import load_model
from moli.records.errors import NotFoundError
from moli.records.messages import Message
from moli.training.loop.loop import RunSchedule
from moli.training.recipes.recipe import make_recipe
from moli.training.run import tune
from moli.training.tasks.dpo import dpo_loss
from moli.training.trained.load import TrainedModel, load_trained
from moli.training.trained.predict import classify
from moli.workspace import Workspace
from moli.workspace.content import StoredModel

REPO = Path(__file__).resolve().parents[2]
WORK = REPO / "bench" / ".work" / "imdb"
REVIEWS = REPO.parent / "shared" / "data" / "imdb" / "train.jsonl.gz"
CHARACTERS = 250  # of a review, of which models are trained: prompts with answers are as short
NEW_TOKENS, BATCH, HELD_OUT = 16, 256, 256
BEST_OF = (2, 4, 8, 16)
DPO_BETAS = (0.1, 0.3)
Measured = tuple[float, float, float]  # sentiment, its standard error, divergence per answer


@dataclass(frozen=True)
class Sentiment:
    """A classifier of reviews: the reward of training, or the judge."""

    classifier: TrainedModel

    def probabilities(
        self, prompts: Sequence[TrainingPrompt], answers: Sequence[SampledAnswer]
    ) -> np.ndarray:
        """Probability that a prompt with its answer is positive, [answers]."""
        texts = [
            f"{prompt.messages[0].content} {answer.text}"
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
        rows = classify(self.classifier, texts, top_k=2)
        likeliest = ({x["label"]: x["probability"] for x in row["probabilities"]} for row in rows)
        return np.array([probabilities["1"] for probabilities in likeliest])

    def __call__(
        self, prompts: Sequence[TrainingPrompt], answers: Sequence[SampledAnswer], /
    ) -> list[float]:
        positive = self.probabilities(prompts, answers).clip(1e-4, 1 - 1e-4)
        return [float(value) for value in np.log(positive / (1 - positive))]


def reviews() -> list[dict[str, Any]]:
    """All reviews in a random order, without marks of lines."""
    with gzip.open(REVIEWS, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    random.Random(0).shuffle(rows)
    return [{"text": row["text"].replace("<br />", " "), "label": row["label"]} for row in rows]


def prepared(rows: Sequence[dict[str, Any]], workspace: Workspace) -> dict[str, StoredModel]:
    """The starter and the classifiers, each of other reviews."""
    language = {"task": "pretraining", "base": "builtin:starter", "epochs": 2}
    sentiment = {"task": "classification", "base": "builtin:minilm", "epochs": 1}
    parts = {
        "starter": (rows[:6000], language),
        "reward": (rows[6000:11000], sentiment),
        "judge": (rows[11000:16000], sentiment),
    }
    return {name: trained(name, part, values, workspace) for name, (part, values) in parts.items()}


def trained(
    name: str, rows: Sequence[dict[str, Any]], values: dict[str, Any], workspace: Workspace
) -> StoredModel:
    """The model of a name; it is trained on the beginnings of reviews if it is missing."""
    with suppress(NotFoundError):
        return workspace.models.get(name)
    columns = ("text",) if values["task"] == "pretraining" else ("text", "label")
    cut = ({**row, "text": row["text"][:CHARACTERS]} for row in rows)
    lines = [json.dumps({column: row[column] for column in columns}) for row in cut]
    path = WORK / f"{name}.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    options = {"data": path, "name": name, "max_length": 128}
    tune(make_recipe({**values, **options}), workspace, force=True)
    return workspace.models.get(name)


def prompts_of(rows: Sequence[dict[str, Any]], tokenizer: Any) -> list[TrainingPrompt]:
    """The first two to six words of reviews."""
    draw, prompts = random.Random(1), []
    for row in rows:
        text = " ".join(row["text"].split()[: draw.randint(2, 6)])
        prompts.append(
            TrainingPrompt(tuple(tokenizer(text)["input_ids"]), (Message("user", text),))
        )
    return prompts


class Study:
    """A starter model with its reward, judge and prompts."""

    def __init__(self, models: dict[str, StoredModel], rows: Sequence[dict[str, Any]]) -> None:
        self.base = str(models["starter"].folder)
        self.tokenizer = load_tokenizer(self.base)
        self.limits = SamplingLimits(NEW_TOKENS, [self.tokenizer.eos_token_id])
        self.reward = Sentiment(load_trained(models["reward"]))
        self.judge = Sentiment(load_trained(models["judge"]))
        self.prompts = prompts_of(rows[16000:22000], self.tokenizer)
        self.held_out = prompts_of(rows[22000 : 22000 + HELD_OUT], self.tokenizer)

    def shared(self) -> SharedBase:
        """The starter with new adapters."""
        base = load_model("AutoModelForCausalLM", self.base, dtype=torch.float32)
        return SharedBase(base, self.tokenizer, self.limits)

    def measure(self, shared: SharedBase) -> Measured:
        """Sentiment of answers to held-out prompts by the judge, and their divergence."""
        answers = shared.sample(self.held_out, seed=12345)
        rollouts = make_rollouts(self.held_out, answers)
        scores = [score_tokens(role, rollouts, 64) for role in (shared.policy, shared.reference)]
        divergence = sequence_kl(scores[0].logprobs, scores[1].logprobs, rollouts.mask)
        positive = self.judge.probabilities(self.held_out, answers)
        return (
            float(positive.mean()),
            float(positive.std(ddof=1) / len(positive) ** 0.5),
            float(divergence.mean()),
        )

    def ppo(self, seed: int, steps: int) -> Iterator[tuple[int, Measured]]:
        """The course of a run: steps so far, and what is measured then."""
        torch.manual_seed(seed)
        shared = self.shared()
        options = {"beta": 0.1, "epochs": 1, "minibatches": 4}
        options |= {"score_scaling": "running", "missing_end_penalty": 0.0}
        loop = AlignmentLoop(
            algorithm=make_algorithm("ppo", options),
            roles=shared.roles(),
            reward=self.reward,
            prompts=self.prompts,
            learners=shared.learners(learning_rate=1e-3),
            schedule=RunSchedule(steps, evaluate_every=steps, patience=0),
            sizes=BatchSizes(prompts=BATCH),
            seed=seed,
            folder=WORK,
            on_event=lambda _: None,
        )
        for step in range(1, steps + 1):
            loop.take_step()
            if step % 10 == 0 or step == steps:
                yield step, self.measure(shared)

    def best_of(self, count: int) -> Measured:
        """The best of some answers of the starter by the reward; its divergence is the bound."""
        shared = self.shared()
        repeated = [prompt for prompt in self.held_out for _ in range(count)]
        answers = list(shared.sample(repeated, seed=7))
        scores = torch.tensor(self.reward(repeated, answers))
        best = best_rows(scores, count)
        positive = self.judge.probabilities(self.held_out, [answers[row] for row in best])
        error = float(positive.std(ddof=1) / len(positive) ** 0.5)
        return float(positive.mean()), error, best_of_n_kl(count)

    def dpo(self, beta: float, seed: int, steps: int) -> Measured:
        """Preference optimization on the best and the worst of four answers of the starter."""
        torch.manual_seed(seed)
        shared, draw = self.shared(), np.random.default_rng(seed)
        learner = shared.learners(learning_rate=5e-4)["policy"]
        for _ in range(steps):
            chosen = draw.choice(len(self.prompts), BATCH // 4, replace=False)
            repeated = [self.prompts[index] for index in chosen for _ in range(4)]
            with torch.no_grad(), shared.model.disable_adapter():
                answers = list(shared.sample(repeated, seed=int(draw.integers(1 << 31))))
            scores = torch.tensor(self.reward(repeated, answers)).view(-1, 4)
            columns = torch.stack([scores.argmax(1), scores.argmin(1)], 1)
            rows = (columns + 4 * torch.arange(len(scores))[:, None]).flatten().tolist()
            rollouts = make_rollouts([repeated[r] for r in rows], [answers[r] for r in rows])
            with torch.no_grad():
                reference = shared.reference(rollouts).logprobs.sum(1)
            current = shared.policy(rollouts).logprobs.sum(1)
            rewards = beta * (current - reference).view(-1, 2)
            dpo_loss(rewards).mean().backward()
            learner.weights.accumulate()
            learner.step(1.0)
        return self.measure(shared)


def table(rows: Sequence[tuple[str, Measured]]) -> str:
    """A Markdown table."""
    lines = ["| model | sentiment of held-out answers | divergence per answer |", "|---|---|---|"]
    lines += [f"| {n} | {s:.3f} ± {1.96 * e:.3f} | {kl:.2f} |" for n, (s, e, kl) in rows]
    return "\n".join(lines)


def plot(curves: dict[str, list[Measured]]) -> None:
    """Sentiment against divergence."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    _, axes = pyplot.subplots(figsize=(6, 4))
    for name, points in curves.items():
        ordered = sorted(points, key=lambda point: point[2])
        axes.plot([p[2] for p in ordered], [p[0] for p in ordered], "o-", label=name, markersize=4)
    axes.set_xlabel("divergence from the starter, nats per answer")
    axes.set_ylabel("positive answers, by the judge")
    axes.legend()
    pyplot.savefig(WORK / "frontier.png", dpi=120, bbox_inches="tight")


def report(name: str, measured: Measured) -> None:
    """Print what was measured, at once."""
    print(f"{name}: sentiment {measured[0]:.3f}, divergence {measured[2]:.2f}", flush=True)


def timed(name: str, measure: Callable[[], Measured]) -> Measured:
    """What is measured; it is printed with its seconds."""
    begun = time.perf_counter()
    result = measure()
    print(
        f"{name}: {result[0]:.3f}, KL {result[2]:.2f}, {time.perf_counter() - begun:.0f} s",
        flush=True,
    )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    args = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    rows = reviews()
    is_new = not (WORK / "moli.toml").exists()
    with Workspace.init(WORK) if is_new else Workspace.open(WORK) as workspace:
        study = Study(prepared(rows, workspace), rows)
    start = timed("starter", lambda: study.measure(study.shared()))
    results, curves = [("starter", start)], {"PPO": [start], "best of n": [start], "DPO": [start]}
    for count in BEST_OF:
        measured = timed(f"best of {count}", lambda count=count: study.best_of(count))
        results.append((f"best of {count}", measured))
        curves["best of n"].append(measured)
    ends = []
    for seed in range(args.seeds):
        for step, measured in study.ppo(seed, args.steps):
            print(
                f"PPO, seed {seed}, step {step}: {measured[0]:.3f}, KL {measured[2]:.2f}",
                flush=True,
            )
            curves["PPO"].append(measured)
        results.append((f"PPO, seed {seed}, {args.steps} steps", measured))
        ends.append(measured)
    for beta in DPO_BETAS:
        measured = timed(f"DPO, beta {beta}", lambda beta=beta: study.dpo(beta, 0, args.steps))
        results.append((f"DPO, beta {beta}", measured))
        curves["DPO"].append(measured)
    plot(curves)
    print(table(results))
    print(f"PPO, mean of seeds: {statistics.fmean(end[0] for end in ends):.3f}")


if __name__ == "__main__":
    main()
