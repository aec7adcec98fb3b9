"""Small models that were trained and stored, for tests of what is done with them afterwards."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from conftest import write_settings
from training import small_models

from moli.workspace import Workspace
from moli.workspace.content import StoredModel


def train_and_store(home: Path, data: Path, base: str, **recipe: Any) -> StoredModel:
    """Train a model briefly in the workspace `home`, which is made if it is not there."""
    from moli.training.recipes.recipe import make_recipe
    from moli.training.run import tune

    if not (home / "moli.toml").exists():
        write_settings(home)
    settings = {
        "task": "classification",
        "data": str(data),
        "base": base,
        "epochs": 6,
        "batch": 8,
        "learning_rate": 3e-3,
        "precision": "fp32",
        "rank": 4,
        "held_out": 0.2,
    }
    with Workspace.init(home) as workspace:
        return workspace.models.get(
            tune(make_recipe(settings | recipe), workspace, force=True).model
        )


def write_spans(path: Path, count: int = 40) -> Path:
    """Questions that name a word, and contexts in which the answer is the word behind it."""
    draw = random.Random(0)
    rows = []
    for _ in range(count):
        words = draw.sample(small_models.WORDS, draw.randint(4, 20))
        index = draw.randrange(len(words) - 1)
        context, answer = " ".join(words), words[index + 1]
        start = len(" ".join(words[: index + 1])) + 1
        answers = {"text": [answer], "answer_start": [start]}
        rows.append({"question": words[index], "context": context, "answers": answers})
    path.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    return path


def write_masked_model(folder: Path) -> str:
    """A small BERT as masked language modelling leaves it: without a pooler."""
    from transformers import BertForMaskedLM

    small_models.write_model(folder, "bert")
    BertForMaskedLM.from_pretrained(folder).save_pretrained(folder)
    return str(folder)
