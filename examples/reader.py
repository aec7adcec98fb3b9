"""The reader that ships with Moli, from SQuAD 1.1 as rows to its score on the development set.

    python examples/reader.py train-v1.1.jsonl.gz dev-v1.1.jsonl.gz

Rows have a `question`, a `context`, its `answers` and where they begin, `answer_starts`. About
100 minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from moli.records.training import Evaluated, Event
from moli.training.recipes.recipe import read_recipe
from moli.training.run import tune
from moli.training.trained.load import load_trained
from moli.training.trained.predict import evaluate_on, predict, read_text
from moli.workspace import Workspace
from moli.workspace.datasets import Row, read_rows

RECIPE = Path(__file__).parent / "recipes" / "reader.yaml"


def main() -> None:
    """Choose rows, train, judge, ask."""
    parser = argparse.ArgumentParser(description="Train a reader on SQuAD.")
    parser.add_argument("train", type=Path)
    parser.add_argument("dev", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("reader"))
    parser.add_argument("--epochs", type=float)
    asked = parser.parse_args()

    with Workspace.init(asked.folder) as workspace:
        data = asked.folder / "squad_train.jsonl"
        print(f"{choose(asked.train, data):,} rows have an answer that stands in one place only")
        changes = {"data": data} | ({"epochs": asked.epochs} if asked.epochs else {})
        result = tune(read_recipe(RECIPE, changes), workspace, hear=[tell])
        reader = load_trained(workspace.models.get(result.model))

    dev = evaluate_on(reader, asked.dev)
    print(f"{result.model}: F1 {dev.metrics['f1']:.4f}, exact {dev.metrics['exact_match']:.4f}")
    row = {"question": "Who sells shells?", "context": "Down by the sea, Mary sells shells."}
    print(predict(reader, [read_text(reader, json.dumps(row))])[0]["answer"])


def choose(source: Path, target: Path) -> int:
    """Write the rows whose answer stands in one place of its context; how many they are.

    Of the others, where the answer was found first may not be where the question means it.
    """
    rows = [row.values for row in read_rows(source) if isinstance(row, Row)]
    kept = [row for row in rows if row["context"].count(row["answers"][0]) == 1]
    target.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    return len(kept)


def tell(event: Event) -> None:
    """Say how good the reader is so far."""
    if isinstance(event, Evaluated):
        told = ", ".join(f"{name} {value:.4f}" for name, value in event.metrics.items())
        print(f"step {event.step}: {told}", flush=True)


if __name__ == "__main__":
    main()
