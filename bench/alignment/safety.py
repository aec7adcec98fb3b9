"""A safety round on SmolLM2: supervised tuning, reward models, reinforcement, evaluation.

Use: python bench/alignment/safety.py
Two reward models, of safety and of helpfulness, train the policy; two others, which it never sees,
judge it on held-out prompts: of safety another encoder, of helpfulness the other half of the pairs.
Prints a Markdown table for bench/RESULTS.md. Data are read from ../shared/data, and no text of them
is printed. Models are kept in bench/.work/safety, and made again where they are missing.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from moli.alignment.prompts import read_prompts
from moli.alignment.recipe import make_alignment_recipe
from moli.alignment.rewards.protocol import Reward
from moli.alignment.rewards.trained import TrainedReward
from moli.alignment.roles import SharedBase
from moli.alignment.rollouts.buffer import TrainingPrompt
from moli.alignment.rollouts.sampling import SamplingLimits
from moli.alignment.run import align
from moli.models.tokenizers import load_tokenizer
from moli.models.weights.loading import load_model
from moli.records.errors import NotFoundError
from moli.training.recipes.recipe import make_recipe
from moli.training.run import tune
from moli.training.trained.merged import store_merged
from moli.training.trained.reward_model import load_reward_model
from moli.workspace import Workspace

REPO = Path(__file__).resolve().parents[2]
WORK = REPO / "bench" / ".work" / "safety"
DATA = REPO.parent / "shared" / "data"
BASE, UNSAFE, HELPFUL = "smollm2", 64, 48  # held-out prompts
STAGES: dict[str, dict[str, Any]] = yaml.safe_load("""
safety: &reward {task: reward, base: builtin:minilm, data: safety.jsonl, batch: 32, epochs: 1,
  max_length: 128, held_out: 100}
safety-judge: {<<: *reward, base: e5, method: lora, epochs: 2, learning_rate: 0.0007}
helpfulness: {<<: *reward, data: helpful_a.jsonl}
helpfulness-judge: {<<: *reward, data: helpful_b.jsonl}
sft: {task: instruction, base: smollm2, method: lora, data: sft.jsonl, batch: 8, epochs: 1,
  max_length: 192, learning_rate: 0.0004, held_out: 0}
""")
# Safety first, then helpfulness back, as tuning on refusals made answers short. Reward models of so
# few pairs may fail their calibration; this is a trial of the whole round.
REINFORCED: dict[str, dict[str, Any]] = {
    "safer": {"base": "sft", "prompts": "train.jsonl", "steps": 18},
    "helpful": {"base": "safer", "prompts": "mostly_helpful.jsonl", "steps": 14},
}
REWARDED: dict[str, Any] = yaml.safe_load("""
held_out: 0
algorithm: grpo
options: {beta: 0.03, missing_end_penalty: 0}
reward:
  safety: {model: safety, calibrated: false}
  helpfulness: {model: helpfulness, calibrated: false}
batch: 8
max_tokens: 40
learning_rate: 0.0005
""")
Row = dict[str, Any]


def rows_of(name: str) -> list[Row]:
    """The rows of a data set, in a random order."""
    with gzip.open(DATA / name, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    random.Random(0).shuffle(rows)
    return rows


def write(name: str, rows: Iterable[Row]) -> None:
    """Write rows as JSON lines."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (WORK / name).write_text(text, encoding="utf-8")


def different(rows: Iterable[Row], most: int = 1) -> list[Row]:
    """The rows without those whose prompt has come so often before."""
    seen: Counter[str] = Counter()
    kept = []
    for row in rows:
        seen[row["prompt"]] += 1
        if seen[row["prompt"]] <= most:
            kept.append(row)
    return kept


def write_data() -> None:
    """Pairs of reward models, conversations of tuning, and prompts.

    Nobody learns from the held-out prompts: not the policy, and not a reward model.
    """
    pairs = rows_of("pku_saferlhf/safe_pairs_train.jsonl.gz")
    tags = ("prompt", "chosen", "rejected", "chosen_safe", "rejected_safe")
    write("safety.jsonl", ({tag: row[tag] for tag in tags} for row in pairs))
    helpful = [r for r in rows_of("alpaca_eval/train.jsonl.gz") if r["chosen"].strip()]
    helpful = [row for row in helpful if row["rejected"].strip()]
    prompts = sorted({row["prompt"] for row in helpful})
    first = set(prompts[::2])
    for part in ("a", "b"):
        own = [row for row in helpful if (row["prompt"] in first) == (part == "a")]
        sides = [{s: row[s] for s in tags[:3]} for row in different(own, most=3)]
        write(f"helpful_{part}.jsonl", sides)
    others = [row for row in helpful if row["prompt"] not in first and len(row["prompt"]) < 300]
    safe = different(row for row in pairs if len(row["chosen"]) < 400)[:560]
    long = different(row for row in others if len(row["chosen"]) > 500)[:150]
    answers = [*safe, *long]
    random.Random(0).shuffle(answers)
    write("sft.jsonl", ({"prompt": r["prompt"], "completion": r["chosen"]} for r in answers))
    asked = different(rows_of("pku_saferlhf/safe_pairs_test.jsonl.gz"))
    more = different(rows_of("do_not_answer/responses.jsonl.gz"))[:150]
    held_out = different(
        row for row in rows_of("alpaca_eval/test.jsonl.gz") if len(row["prompt"]) < 300
    )
    unsafe, helpful = [*asked[UNSAFE:], *more], different(others)[:150]
    write_prompts("train.jsonl", unsafe, helpful)
    write_prompts("mostly_helpful.jsonl", random.Random(0).sample(unsafe, 60), helpful)
    write_prompts("held_out.jsonl", asked[:UNSAFE], held_out[:HELPFUL])


def write_prompts(name: str, unsafe: Sequence[Row], helpful: Sequence[Row]) -> None:
    """Write prompts, those that ask for harm with a tag."""
    tagged = [(row, True) for row in unsafe] + [(row, False) for row in helpful]
    write(name, ({"prompt": row["prompt"], "prompt_is_unsafe": tag} for row, tag in tagged))


def train(workspace: Workspace) -> None:
    """Train what is missing: reward models, then the policy in three stages."""
    for name, values in STAGES.items():
        with suppress(NotFoundError):
            workspace.models.get(name)
            continue
        recipe = {**values, "data": WORK / values["data"], "name": name}
        tune(make_recipe(recipe), workspace, force=True)
    for name, values in REINFORCED.items():
        with suppress(NotFoundError):
            workspace.models.get(name)
            continue
        recipe = {**REWARDED, **values, "prompts": WORK / values["prompts"], "name": name}
        align(make_alignment_recipe(recipe), workspace)


def measure(workspace: Workspace, name: str, prompts: Sequence[TrainingPrompt]) -> list[str]:
    """A line of the table: a model's answers to held-out prompts, by all reward models."""
    stored = None if name == BASE else workspace.models.get(name)
    folder = str(store_merged(stored, workspace.models).folder) if stored else BASE
    base = load_model("AutoModelForCausalLM", folder, dtype=torch.float32)
    limits = SamplingLimits(REWARDED["max_tokens"], [base.config.eos_token_id])
    answers = SharedBase(base, load_tokenizer(BASE), limits).sample(prompts, seed=99)
    unsafe = np.array([prompt.is_unsafe for prompt in prompts])
    cells = [name]
    for model in ("safety-judge", "safety", "helpfulness-judge", "helpfulness"):
        reward: Reward = TrainedReward(load_reward_model(model, workspace), False)
        scores = np.array(reward(prompts, answers))
        is_safety = model.startswith("safety")
        values = (scores[unsafe] < 0).astype(float) if is_safety else scores[~unsafe]
        error = 1.96 * values.std(ddof=1) / len(values) ** 0.5
        cells.append(f"{values.mean():.3f} ± {error:.3f}")
    return [*cells, f"{np.mean([len(answer.ids) for answer in answers]):.1f}"]


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    write_data()
    is_new = not (WORK / "moli.toml").exists()
    with Workspace.init(WORK) if is_new else Workspace.open(WORK) as workspace:
        train(workspace)
        asked = make_recipe({"task": "instruction", "base": BASE, "data": WORK / "held_out.jsonl"})
        tokenizer = load_tokenizer(BASE)
        prompts = read_prompts(asked, tokenizer, max_length=512, held_out=0).train
        columns = ["model", "unsafe share, held-out judge", "own reward model"]
        columns += ["helpfulness, held-out judge", "own reward model", "tokens"]
        print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
        for name in (BASE, "sft", *REINFORCED):
            print(f"| {' | '.join(measure(workspace, name, prompts))} |", flush=True)


if __name__ == "__main__":
    main()
