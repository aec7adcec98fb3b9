"""Kills training runs at random moments and resumes them; the models must be the same files.

Use: python bench/training/resume.py [--kills 20]
Three tasks, each with something drawn at random in every step. A model is kept by the hash of its
content, so two runs that end in the same weights to the last bit leave one model, not two.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MOLI = str(Path(sys.executable).with_name("moli"))
WORDS = ["time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world"]
TASKS: dict[str, dict[str, Any]] = {
    "classification": {"task": "classification", "method": "lora", "dropout": 0.1, "batch": 8},
    "pretraining": {
        "task": "pretraining",
        "base": "new",
        "shape": {"hidden": 64, "layers": 2, "heads": 4, "vocabulary": 400},
        "max_length": 64,
        "batch": 8,
    },
    "seq2seq": {
        "task": "seq2seq",
        "base": "new",
        "shape": {"hidden": 64, "layers": 2, "heads": 4, "vocabulary": 64},
        "dropout": 0.1,
        "batch": 16,
    },
}


def rows(task: str) -> list[dict[str, str]]:
    draw = random.Random(0)
    texts = [" ".join(draw.choices(WORDS, k=draw.randint(5, 60))) for _ in range(240)]
    if task == "classification":
        return [{"text": text, "label": "ab"["life" in text]} for text in texts]
    if task == "pretraining":
        return [{"text": text * 4} for text in texts]
    return [{"source": text[:20], "target": text[:20][::-1]} for text in texts]


def moli(folder: Path, *words: str) -> list[str]:
    """The arguments of a command of Moli."""
    return [MOLI, *words, "-w", str(folder), "--json"]


def finish(folder: Path, *words: str) -> None:
    """Let a run go to its end."""
    subprocess.run(moli(folder, "tune", *words), capture_output=True, check=True)


def count_models(folder: Path) -> int:
    """Number of different models in a workspace."""
    done = subprocess.run(
        moli(folder, "models", "list"), capture_output=True, text=True, check=True
    )
    return len(json.loads(done.stdout)["models"])


def run_and_kill(folder: Path, words: list[str], others: set[Path], after: float) -> bool:
    """Begin a run and kill it some seconds after; whether it was still running."""
    process = subprocess.Popen(
        moli(folder, "tune", *words), stdout=subprocess.DEVNULL, start_new_session=True
    )
    while process.poll() is None and not has_begun(folder, others):
        time.sleep(0.05)
    time.sleep(after)
    if process.poll() is not None:
        return False
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return True


def has_begun(folder: Path, others: set[Path]) -> bool:
    new = set((folder / ".moli" / "runs").iterdir()) - others
    return any((run / "events.jsonl").exists() for run in new)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    args = parser.parse_args()
    draw = random.Random(1)
    kills = 0
    for task in (each for each in [*TASKS] * args.kills if kills < args.kills):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            kills += train_with_kills(folder, task, draw, args.kills - kills)
            if count_models(folder) != 1:
                sys.exit(f"{task}: the resumed run ended in other weights")
        print(f"{task}: {kills} kills, the same weights", flush=True)


def train_with_kills(folder: Path, task: str, draw: random.Random, most: int) -> int:
    """Train once undisturbed, and once killed up to three times; the number of kills."""
    subprocess.run([MOLI, "init", str(folder)], check=True, stdout=subprocess.DEVNULL)
    data = folder / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows(task)))
    recipe = folder / "recipe.yaml"
    recipe.write_text(json.dumps(TASKS[task] | {"data": "data.jsonl", "epochs": 2}))
    finish(folder, str(recipe))
    undisturbed = set((folder / ".moli" / "runs").iterdir())
    words, kills = [str(recipe)], 0
    while kills < min(3, most):
        if not run_and_kill(folder, words, undisturbed, draw.uniform(0.0, 6.0)):
            return kills  # it came to its end before
        kills += 1
        (run,) = set((folder / ".moli" / "runs").iterdir()) - undisturbed
        words = ["--resume", run.name]
    finish(folder, *words)
    return kills


if __name__ == "__main__":
    main()
