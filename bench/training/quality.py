"""Quality of models trained with Moli's recipes, each evaluated on data that it never saw.

Use: python bench/training/quality.py [CASE ...]    (without a case: all that are known)
Prints a Markdown table for bench/RESULTS.md. A case that is done is kept in bench/.work/quality and
not run again; one that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[1]
DATA, RECIPES = REPO.parent / "shared" / "data", REPO / "examples" / "recipes"
WORK = REPO / "bench" / ".work" / "quality"
MOLI = str(Path(sys.executable).with_name("moli"))
SEEDS = 3


@dataclass(frozen=True)
class Case:
    """A recipe on a data set.

    Attributes:
        recipe: name of a file in examples/recipes; if empty, `settings` give everything.
        write: writes the files to train and to evaluate on, and names them.
    """

    metric: str
    write: Callable[[Path], tuple[Path, Path]]
    recipe: str = ""
    settings: tuple[str, ...] = ()


def existing_files(train: str, test: str) -> Callable[[Path], tuple[Path, Path]]:
    """A function that names files as they are."""
    return lambda _: (DATA / train, DATA / test)


def sampled_files(train: str, test: str, count: int) -> Callable[[Path], tuple[Path, Path]]:
    """A function that writes `count` random rows of each file, and names the new files."""

    def write(folder: Path) -> tuple[Path, Path]:
        files = folder / "train.jsonl", folder / "test.jsonl"
        for source, target in zip((train, test), files, strict=True):
            with gzip.open(DATA / source, "rt", encoding="utf-8") as file:
                rows = file.readlines()
            target.write_text("".join(random.Random(0).sample(rows, count)), encoding="utf-8")
        return files

    return write


def squad_files(folder: Path) -> tuple[Path, Path]:
    """The rows that examples/reader.py chooses."""
    example = runpy.run_path(str(REPO / "examples" / "reader.py"))
    target = folder / "train.jsonl"
    example["select_rows"](DATA / "squad" / "train-v1.1.jsonl.gz", target)
    return target, DATA / "squad" / "dev-v1.1.jsonl.gz"


def mnist_files(folder: Path) -> tuple[Path, Path]:
    """MNIST's images as files."""
    from PIL import Image

    def read(name: str, header: int) -> Any:
        return np.frombuffer(gzip.decompress((DATA / "mnist" / name).read_bytes())[header:], "u1")

    files = []
    for name in ("train", "t10k"):
        images = read(f"{name}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
        labels = read(f"{name}-labels-idx1-ubyte.gz", 8)
        (folder / name).mkdir(exist_ok=True)
        files.append(folder / f"{name}.jsonl")
        with files[-1].open("w", encoding="utf-8") as rows:
            for number, (image, label) in enumerate(zip(images, labels, strict=True)):
                path = f"{name}/{number:05}.png"
                Image.fromarray(image).save(folder / path)
                rows.write(json.dumps({"image": path, "label": str(label)}) + "\n")
    return files[0], files[1]


def letter_files(folder: Path) -> tuple[Path, Path]:
    """Words of random letters and the same letters in order; no test word is among the others.

    They are as long as a T5's short tasks are: 3 to 10 letters.
    """
    draw = random.Random(0)
    words = {
        "".join(draw.choices("abcdefghijklmnop", k=draw.randint(3, 10))) for _ in range(22_000)
    }
    rows = [{"source": " ".join(w), "target": " ".join(sorted(w))} for w in sorted(words)]
    draw.shuffle(rows)
    files = folder / "train.jsonl", folder / "test.jsonl"
    for file, chosen in zip(files, (rows[2000:], rows[:2000]), strict=True):
        file.write_text("".join(json.dumps(row) + "\n" for row in chosen), encoding="utf-8")
    return files


IMDB = ("imdb/train.jsonl.gz", "imdb/test.jsonl.gz")
CASES = {
    "mnist": Case("accuracy", mnist_files, "mnist"),
    "banking77": Case(
        "accuracy",
        existing_files("banking77/train.jsonl.gz", "banking77/test.jsonl.gz"),
        "banking77",
    ),
    "stsb": Case(
        "spearman",
        existing_files("stsb/en_train.jsonl.gz", "stsb/en_test.jsonl.gz"),
        "stsb",
        (f"held_out={DATA / 'stsb' / 'en_dev.jsonl.gz'}",),
    ),
    "letters": Case("exact_match", letter_files, "sort"),
    "reader": Case("f1", squad_files, "reader"),
    "starter": Case(
        "bits_per_byte",
        existing_files("classic_books/train.jsonl.gz", "classic_books/valid.jsonl.gz"),
        "starter",
    ),
    "imdb": Case("accuracy", existing_files(*IMDB), settings=("task=classification",)),
    "imdb-lora": Case(
        "accuracy", existing_files(*IMDB), settings=("task=classification", "method=lora", "rank=8")
    ),
} | {
    f"imdb-attention-dropout-{dropout or 'none'}-{seed}": Case(
        "accuracy",
        sampled_files(*IMDB, 5000),
        settings=("task=classification", f"seed={seed}", *([f"dropout={dropout}"] * bool(dropout))),
    )
    for seed in range(SEEDS)
    for dropout in ("", "0.1")
}


def moli(*words: str) -> dict[str, Any]:
    """Run a command of Moli, and return the JSON that it prints."""
    done = subprocess.run([MOLI, *words, "--json"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"moli {' '.join(words)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def measure(name: str, case: Case) -> dict[str, Any]:
    """Train and evaluate, in a workspace of the case's own."""
    folder = WORK / name
    kept = folder / "result.json"
    if not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        train, test = case.write(folder)
        runs = sorted((folder / ".moli" / "runs").glob("*/checkpoint.safetensors"))
        made = folder / "tuned.json"
        if made.exists():
            tuned = json.loads(made.read_text(encoding="utf-8"))
        elif runs:
            tuned = moli("tune", "--resume", runs[-1].parent.name, "-w", str(folder))["result"]
        else:
            moli("init", str(folder))
            recipe = [str(RECIPES / f"{case.recipe}.yaml")] if case.recipe else []
            settings = (*case.settings, f"data={train}")
            sets = [word for each in settings for word in ("--set", each)]
            tuned = moli("tune", *recipe, *sets, "-w", str(folder))["result"]
        made.write_text(json.dumps(tuned), encoding="utf-8")
        evaluation = moli("evaluate", tuned["model"], str(test), "-w", str(folder))
        kept.write_text(json.dumps({"tuned": tuned, "judged": evaluation}), encoding="utf-8")
        shutil.rmtree(folder / "train", ignore_errors=True)
    result: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    names = parser.parse_args().cases or [*CASES]
    if unknown := {*names} - {*CASES}:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    print("| case | learnt from | judged on | metric | 95 % | training | examples/s |")
    print("|---|---|---|---|---|---|---|")
    for name in names:
        case = CASES[name]
        result = measure(name, case)
        facts, evaluation = result["tuned"]["facts"], result["judged"]
        low, high = evaluation["interval"] if evaluation["metric"] == case.metric else ("", "")
        between = f"{low:.4f} to {high:.4f}" if low else "-"
        print(
            f"| {name} | {facts['examples']:,} | {evaluation['examples']:,} "
            f"| {case.metric} **{evaluation['metrics'][case.metric]:.4f}** | {between} "
            f"| {facts['seconds'] / 60:.1f} min | {facts['examples_per_second']:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
