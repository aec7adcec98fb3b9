"""Several labels of one text: independent decisions, with the loss of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training.small_models import write_model
from transformers import AutoTokenizer

from moli.records.errors import InputError
from moli.records.examples import MultiLabelled
from moli.training import methods
from moli.training.recipes.recipe import make_recipe
from moli.training.tasks import make_task

TEXTS = [
    MultiLabelled("w1 w2 w3 w4 w5", ("b", "a")),
    MultiLabelled("w30", ()),
    MultiLabelled("w7 w8 w9", ("c",)),
    MultiLabelled("w20 w21", ("a", "b", "c")),
]


def made(folder: Path) -> tuple[Any, Any]:
    base = write_model(folder / "base", "bert")
    values = {"task": "multi_label_classification", "data": "unused", "method": "full"}
    recipe = make_recipe({**values, "base": base})
    task = make_task(recipe)
    task.prepare(TEXTS)
    torch.manual_seed(0)
    return task, methods.apply_method(task.build(torch.float32), recipe).eval()


@pytest.mark.parametrize("packed", [False, True])
def test_logits_and_losses_are_those_of_transformers(tmp_path: Path, packed: bool) -> None:
    task, model = made(tmp_path)
    assert model.config.problem_type == "multi_label_classification"
    assert model.config.id2label == {0: "a", 1: "b", 2: "c"}
    samples = [group[0] for group in task.samples(TEXTS, training=True)]
    targets = [[1, 1, 0], [0, 0, 0], [0, 0, 1], [1, 1, 1]]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    with torch.no_grad():
        actual = task.forward(model, samples, packed=packed)
        losses = task.losses(actual, samples)
        for example, target, logits, loss in zip(TEXTS, targets, actual, losses, strict=True):
            inputs = tokenizer(example.text, return_tensors="pt")
            expected = model(**inputs, labels=torch.tensor([target], dtype=torch.float32))
            torch.testing.assert_close(logits, expected.logits[0], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(loss, expected.loss, rtol=1e-4, atol=1e-5)


def test_each_label_has_a_probability_and_a_threshold(tmp_path: Path) -> None:
    task, _ = made(tmp_path)
    task.thresholds = [0.5, 0.2, 0.9]
    row = task.to_row(np.array([0.4, 0.3, 0.95], np.float32))
    assert row["labels"] == ["b", "c"]
    assert row["probabilities"] == pytest.approx({"a": 0.4, "b": 0.3, "c": 0.95})


def test_a_threshold_is_chosen_where_enough_examples_tell(tmp_path: Path) -> None:
    task, _ = made(tmp_path)
    # Label a is always scored too low, label c has too few examples.
    examples = [MultiLabelled(f"t{n}", ("a",) * (n < 6) + ("c",) * (n < 3)) for n in range(12)]
    answers = [np.array([0.3 if n < 6 else 0.1, 0.5, 0.3 if n < 3 else 0.1]) for n in range(12)]
    assert task.metrics(answers, examples)["micro_f1"] < 0.5
    task.calibrate(answers, examples)
    assert task.thresholds == pytest.approx([0.2, 0.5, 0.5])


def test_a_label_that_is_not_known_is_missed(tmp_path: Path) -> None:
    task, _ = made(tmp_path)
    sure = [np.array([1.0, 0, 0]), np.array([0, 0, 0.0])]
    examples = [MultiLabelled("t", ("a",)), MultiLabelled("u", ("d",))]
    metrics = task.metrics(sure, examples)
    assert metrics == pytest.approx(
        {"micro_f1": 2 / 3, "macro_f1": 1 / 4, "subset_accuracy": 1 / 2}
    )


def test_without_any_label_there_is_nothing_to_train(tmp_path: Path) -> None:
    task, _ = made(tmp_path)
    with pytest.raises(InputError, match="no example has a label"):
        task.prepare([MultiLabelled("t", ())])
