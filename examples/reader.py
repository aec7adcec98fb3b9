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
    """Select rows, train, evaluate, and answer a question."""
    parser = argparse.ArgumentParser(description="Train a reader on SQuAD.")
    parser.add_argument("train", type=Path)
    parser.add_argument("dev", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("reader"))
    parser.add_argument("--epochs", type=float)
    options = parser.parse_args()

    with Workspace.init(options.folder) as workspace:
        data = options.folder / "squad_train.jsonl"
        count = select_rows(options.train, data)
        print(f"{count:,} rows have an answer that stands in one place only")
        changes = {"data": data} | ({"epochs": options.epochs} if options.epochs else {})
        result = tune(read_recipe(RECIPE, changes), workspace, listeners=[print_evaluation])
        reader = load_trained(workspace.models.get(result.model))

    dev = evaluate_on(reader, options.dev)
    print(f"{result.model}: F1 {dev.metrics['f1']:.4f}, exact {dev.metrics['exact_match']:.4f}")
    row = {"question": "Who sells shells?", "context": "Down by the sea, Mary sells shells."}
    print(predict(reader, [read_text(reader, json.dumps(row))])[0]["answer"])


def select_rows(source: Path, target: Path) -> int:
    """Write the rows whose answer occurs exactly once in its context; return their number.

    If an answer occurs several times, its first occurrence may not be the one that is meant.
    """
    rows = [row.values for row in read_rows(source) if isinstance(row, Row)]
    kept = [row for row in rows if row["context"].count(row["answers"][0]) == 1]
    target.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    return len(kept)


def print_evaluation(event: Event) -> None:
    """Print the metrics of each evaluation during training."""
    if isinstance(event, Evaluated):
        metrics = ", ".join(f"{name} {value:.4f}" for name, value in event.metrics.items())
        print(f"step {event.step}: {metrics}", flush=True)


if __name__ == "__main__":
    main()
