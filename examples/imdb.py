"""Sentiment of film reviews with BERT: the classic recipe, from a file of reviews to a model that
plain transformers loads.

    python examples/imdb.py train.jsonl test.jsonl --base google-bert/bert-base-uncased

Both files have a review a line: {"text": "A film that ...", "label": "pos"}.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from moli.records.training import Evaluated, Event
from moli.training.recipes.recipe import make_recipe
from moli.training.run import tune
from moli.training.trained.export import export
from moli.training.trained.load import load_trained
from moli.training.trained.predict import evaluate_on, predict
from moli.workspace import Workspace
from moli.workspace.datasets import read_dataset


def main() -> None:
    """Fine-tune, evaluate, predict, save, and load again."""
    parser = argparse.ArgumentParser(description="Fine-tune a model on film reviews.")
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--base", default="builtin:minilm")
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--folder", type=Path, default=Path("imdb"))
    options = parser.parse_args()
    model = options.folder / "model"
    if model.exists():
        parser.error(f"{model} is there already: remove it, or name another --folder")

    # Values that the recipe leaves out, such as the learning rate, are derived.
    recipe = make_recipe(
        {
            "task": "classification",
            "base": options.base,
            "data": options.train,
            "held_out": 0.1,  # a share of the data, to choose the best weights by
            "epochs": options.epochs,
            "batch": 16,
            "max_length": 512,
            "name": "imdb",
        }
    )
    with Workspace.init(options.folder) as workspace:
        result = tune(recipe, workspace, listeners=[print_evaluation])
        trained = load_trained(workspace.models.get(result.model))
        export(workspace.models.get(result.model), model)

    test = evaluate_on(trained, options.test)
    print(f"accuracy {test.metrics['accuracy']:.4f}, 95 %: {test.interval[0]:.4f} to", end=" ")
    print(f"{test.interval[1]:.4f}, {test.tokens_per_second:,.0f} tokens/s")
    print(test.report)

    reviews = [each.example for each in read_dataset(options.test).examples]
    answers = predict(trained, reviews)
    print("first answers:", *(f"{each['label']} {each['probability']:.3f}" for each in answers[:3]))

    print("again, by transformers:", classify(model, reviews[0].text))


def print_evaluation(event: Event) -> None:
    """Print the metrics of each evaluation during training."""
    if isinstance(event, Evaluated):
        metrics = ", ".join(f"{name} {value:.4f}" for name, value in event.metrics.items())
        print(
            f"step {event.step}: {metrics}{', the best so far' if event.best else ''}", flush=True
        )


def classify(folder: Path, text: str) -> str:
    """Classify a review with transformers alone, by the model and tokenizer in a folder."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        scores = model(**tokenizer(text, truncation=True, max_length=512, return_tensors="pt"))
    best = int(scores.logits.argmax())
    return str(model.config.id2label[best])


if __name__ == "__main__":
    main()
