"""Texts of classes that a classifier has never seen, told by its probabilities.

Use: python bench/training/out_of_scope.py [--seeds N]
Trains Moli's default on 2,000 rows of Banking77 without a fifth of the classes, and asks it for the
whole test set. Prints the AUROC of the highest probability, for texts of known against those of
unknown classes, and for two thresholds which share of either is answered.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from sklearn.metrics import roc_auc_score
from small_data import WORK, Row, banking77, by_moli, write_rows

THRESHOLDS = 0.5, 0.8


def measure(seed: int) -> dict[str, float]:
    """A model's numbers, which are kept."""
    folder = WORK / f"out-of-scope-{seed}"
    kept = folder / "result.json"
    if not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        train, test, count = banking77()
        classes = sorted({row["label"] for row in train})
        unknown = set(random.Random(seed).sample(classes, len(classes) // 5))
        known = [row for row in train if row["label"] not in unknown]
        files = folder / "train.jsonl", folder / "test.jsonl"
        write_rows(files[0], random.Random(seed).sample(known, count))
        write_rows(files[1], test)
        made = by_moli(*files, folder / "moli", seed)
        kept.write_text(json.dumps(_judge(made["model"], folder / "moli", test, unknown)))
    result: dict[str, float] = json.loads(kept.read_text())
    return result


def _judge(model: str, workspace: Path, test: list[Row], unknown: set[str]) -> dict[str, float]:
    """A model's numbers on a test set."""
    import moli

    answers = moli.classify(model, *(row["text"] for row in test), workspace=workspace)
    best = [answer["probability"] for answer in answers]
    is_known = [row["label"] not in unknown for row in test]
    result = {"auroc": float(roc_auc_score(is_known, best))}
    for threshold in THRESHOLDS:
        for name, kind in (("known", True), ("unknown", False)):
            above = [p >= threshold for p, each in zip(best, is_known, strict=True) if each == kind]
            result[f"{name} from {threshold}"] = sum(above) / len(above)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1)
    for seed in range(parser.parse_args().seeds):
        print(seed, measure(seed), flush=True)


if __name__ == "__main__":
    main()
