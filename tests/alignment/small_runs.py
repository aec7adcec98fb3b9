"""Recipes that a tiny model runs in a moment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from training.small_models import WORDS, write_model

REWARD = """
def likes_w7(prompts, answers):
    return [answer.text.split().count("w7") for answer in answers]

def fails(prompts, answers):
    return [float("nan") for _ in answers]
"""
QUICK: dict[str, Any] = {
    "algorithm": "rloo",
    "options": {"answers_per_prompt": 2, "missing_end_penalty": 0},
    "steps": 3,
    "batch": 4,
    "max_tokens": 6,
    "rank": 2,
    "held_out": 3,
    "learning_rate": 0.01,
    "reward": "rewards.py:likes_w7",
    "prompts": "prompts.jsonl",
    "base": "base",
    "name": "aligned",
}


def write_recipe(folder: Path, **changes: Any) -> Path:
    """A recipe with its base, its prompts and its reward, in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "base").exists():
        write_model(folder / "base", "llama")
        sharpen(folder / "base")
    (folder / "rewards.py").write_text(REWARD)
    rows = [{"prompt": f"{WORDS[n]} {WORDS[n + 1]}"} for n in range(12)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / "align.yaml"
    values = {key: value for key, value in (QUICK | changes).items() if value is not None}
    path.write_text(json.dumps(values))  # which YAML reads
    return path


def sharpen(folder: Path) -> None:
    """Make the logits of a tiny model so large that an adapter can make a token likely."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["model.norm.weight"] *= 5
    save_file(tensors, path, {"format": "pt"})
