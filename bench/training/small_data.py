"""Classifiers of few rows with Moli's defaults, beside TF-IDF, a frozen encoder and SetFit.

Use: python bench/training/small_data.py [SET ...] [--seeds N] [--without-setfit]
Prints a Markdown table. What is done is kept in bench/.work/small_data and not run again. SetFit
has an environment of its own:
    sh bench/peers/setup.sh setfit bench/training/peers/setfit.requirements.txt
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[1]
DATA, WORK = REPO.parent / "shared" / "data", REPO / "bench" / ".work" / "small_data"
SETFIT = REPO / "bench" / ".envs" / "setfit" / "bin" / "python"
Row = dict[str, str]
# Articles of SQuAD whose questions are about one of six topics.
TOPICS = {
    "place": "Alaska Boston Melbourne Nigeria Switzerland Southampton Himachal_Pradesh Mexico_City",
    "person": "Beyoncé Dwight_D._Eisenhower Frédéric_Chopin John_von_Neumann Muammar_Gaddafi "
    "Elizabeth_II Kanye_West Steven_Spielberg",
    "nature": "Bird Insect Mammal Bacteria Glacier Botany Biodiversity Dog",
    "technology": "Computer USB Transistor Windows_8 Database Compact_disc Electric_motor "
    "Web_browser",
    "war": "Pacific_War Korean_War Crimean_War Seven_Years'_War The_Blitz War_on_Terror "
    "Franco-Prussian_War Anti-aircraft_warfare",
    "religion": "Buddhism Presbyterianism Quran Heresy Protestantism Orthodox_Judaism "
    "Immaculate_Conception Jehovah's_Witnesses",
}


def read(name: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def labelled(name: str) -> list[Row]:
    return [{"text": row["text"], "label": str(row["label"])} for row in read(name)]


def banking77() -> tuple[list[Row], list[Row], int]:
    """Intents of a bank's customers, 77 classes."""
    return labelled("banking77/train"), labelled("banking77/test"), 2000


def chnsenticorp() -> tuple[list[Row], list[Row], int]:
    """Chinese reviews of hotels, books and computers."""
    return labelled("chnsenticorp/train"), labelled("chnsenticorp/test"), 1000


def sentences() -> tuple[list[Row], list[Row], int]:
    """The last sentence of IMDb's reviews, with the review's label: like SST-2, but noisier."""

    def last(row: Row) -> list[Row]:
        text = re.sub(r"<br\s*/?>", " ", row["text"])
        parts = [part.strip() for part in re.split(r"(?<=[.!?])\s+", text)]
        whole = [part for part in parts if 5 <= len(part.split()) <= 40]
        return [{"text": whole[-1], "label": row["label"]}] if whole else []

    train, test = (
        [each for row in labelled(f"imdb/{name}") for each in last(row)]
        for name in ("train", "test")
    )
    random.Random(99).shuffle(test)
    return train, test[:2000], 1000


def questions() -> tuple[list[Row], list[Row], int]:
    """SQuAD's questions by six topics of their articles: like TREC, no passage on both sides."""
    topic_of = {title: topic for topic, titles in TOPICS.items() for title in titles.split()}
    by_passage: dict[str, list[Row]] = {}
    for row in read("squad/train-v1.1"):
        if row["title"] in topic_of:
            one = {"text": row["question"].strip(), "label": topic_of[row["title"]]}
            by_passage.setdefault(row["context"], []).append(one)
    passages = sorted(by_passage)
    random.Random(99).shuffle(passages)
    cut = len(passages) * 3 // 4
    train, test = (
        [row for passage in part for row in by_passage[passage]]
        for part in (passages[:cut], passages[cut:])
    )
    random.Random(99).shuffle(test)
    return train, test[:2000], 1000


SETS: dict[str, Callable[[], tuple[list[Row], list[Row], int]]] = {
    "banking77": banking77,
    "sentences": sentences,
    "questions": questions,
    "chnsenticorp": chnsenticorp,
}


def write(name: str, seed: int) -> tuple[Path, Path]:
    """The files to train on, with rows drawn by the seed, and to test on."""
    folder = WORK / f"{name}-{seed}"
    files = folder / "train.jsonl", folder / "test.jsonl"
    if not all(path.exists() for path in files):
        folder.mkdir(parents=True, exist_ok=True)
        train, test, count = SETS[name]()
        for path, rows in zip(files, (random.Random(seed).sample(train, count), test), strict=True):
            write_rows(path, rows)
    return files


def write_rows(path: Path, rows: list[Row]) -> None:
    """Write rows as JSON Lines."""
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text("".join(lines), encoding="utf-8")


def by_moli(train: Path, test: Path, folder: Path, seed: int) -> dict[str, Any]:
    """Moli with its defaults."""

    def moli(*words: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "moli", *words, "-w", str(folder), "--json"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    subprocess.run(
        [sys.executable, "-m", "moli", "init", str(folder)], check=True, capture_output=True
    )
    begun = time.perf_counter()
    sets = ("task=classification", f"data={train}", f"seed={seed}")
    tuned = moli("tune", *(word for each in sets for word in ("--set", each)))["result"]
    seconds = time.perf_counter() - begun
    metrics = moli("evaluate", tuned["model"], str(test))["metrics"]
    return {
        "accuracy": metrics["accuracy"],
        "calibration_error": metrics["calibration_error"],
        "seconds": seconds,
        "best_step": tuned["facts"]["best_step"],
        "model": tuned["model"],
    }


def by_logistic_regression(
    train: Path, test: Path, *, encoder: bool, chinese: bool
) -> dict[str, Any]:
    """scikit-learn's logistic regression on TF-IDF or on the built-in encoder's vectors.

    The better of two strengths of its penalty on the test set counts, in the peers' favour.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    from moli.models.encoders.load import load_encoder

    rows = [list(map(json.loads, path.open(encoding="utf-8"))) for path in (train, test)]
    texts, labels = ([[row[key] for row in part] for part in rows] for key in ("text", "label"))
    begun = time.perf_counter()
    if encoder:
        made: Any = load_encoder("builtin:minilm")
        vectors: list[Any] = [made.encode(part) for part in texts]
    else:
        # Without an analyzer for words, n-grams of characters serve Chinese best.
        kind, lengths = ("char", (1, 3)) if chinese else ("char_wb", (2, 4))
        made = TfidfVectorizer(analyzer=kind, ngram_range=lengths, sublinear_tf=True)
        vectors = [made.fit_transform(texts[0]), made.transform(texts[1])]
    accuracies = [
        LogisticRegression(C=strength, max_iter=2000)
        .fit(vectors[0], labels[0])
        .score(vectors[1], labels[1])
        for strength in (10, 100)
    ]
    return {"accuracy": max(accuracies), "seconds": time.perf_counter() - begun}


def by_setfit(train: Path, test: Path, folder: Path, seed: int) -> dict[str, Any]:
    out = folder / "setfit.json"
    script = HERE / "peers" / "setfit_classify.py"
    subprocess.run([SETFIT, script, train, test, out, "--seed", str(seed)], check=True)
    result: dict[str, Any] = json.loads(out.read_text())
    return result


def measure(name: str, method: str, seed: int) -> dict[str, Any]:
    """A method's result on a set, which is kept."""
    train, test = write(name, seed)
    folder = WORK / f"{name}-{seed}" / method
    kept = folder / "result.json"
    if not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        if method == "moli":
            result = by_moli(train, test, folder, seed)
        elif method == "setfit":
            result = by_setfit(train, test, folder, seed)
        else:
            result = by_logistic_regression(
                train, test, encoder=method == "frozen encoder", chinese=name == "chnsenticorp"
            )
        kept.write_text(json.dumps(result))
    found: dict[str, Any] = json.loads(kept.read_text())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", metavar="SET", help=", ".join(SETS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--without-setfit", action="store_true")
    args = parser.parse_args()
    methods = ["tf-idf", "frozen encoder", "setfit", "moli"]
    if args.without_setfit or not SETFIT.exists():
        methods.remove("setfit")
    print(f"| set | {' | '.join(methods)} |")
    print(f"|---|{'---|' * len(methods)}")
    for name in args.sets or SETS:
        cells = []
        for method in methods:
            # SetFit takes long: one seed shows what it reaches.
            seeds = 1 if method == "setfit" else args.seeds
            results = [measure(name, method, seed) for seed in range(seeds)]
            accuracy, seconds = (
                sum(result[key] for result in results) / seeds for key in ("accuracy", "seconds")
            )
            cells.append(f"{accuracy:.4f}, {seconds:.0f} s")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
