"""Logits of texts from one token's state or the mean, against transformers' own models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from training.small_models import write_labelled, write_model
from transformers import AutoTokenizer, BertForSequenceClassification, BertModel

from moli.records.examples import Example, Labelled
from moli.training import methods
from moli.training.recipes.recipe import make_recipe
from moli.training.tasks import make_task
from moli.training.tasks.base.wrapped_models import unwrapped_model

TEXTS = ["w1 w2 w3 w4 w5", "w30", "w7 w8 w9", "w20 w21 w22 w23 w24 w25 w26"]
EXAMPLES = [Labelled(text, "ab"[n % 2]) for n, text in enumerate(TEXTS)]


def base(folder: Path, *, sentences: bool) -> str:
    """A BERT; one that is a sentence encoder says so as sentence-transformers writes it."""
    write_model(folder, "bert")
    if sentences:
        (folder / "1_Pooling").mkdir()
        modes = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(modes))
    return str(folder)


def made(folder: Path, name: str, **values: Any) -> tuple[Any, Any]:
    data = write_labelled(folder / "data.jsonl")
    recipe = make_recipe({"task": "classification", "base": name, "data": data, **values})
    task = make_task(recipe)
    task.prepare(EXAMPLES)
    torch.manual_seed(0)
    return task, methods.apply_method(task.build(torch.float32), recipe).eval()


def scores(task: Any, model: Any, *, packed: bool) -> torch.Tensor:
    samples = [group[0] for group in task.samples(EXAMPLES, training=False)]
    with torch.no_grad():
        actual: torch.Tensor = task.forward(model, samples, packed=packed)
    return actual


@pytest.mark.parametrize("packed", [False, True])
def test_of_a_sentence_encoder_the_mean_of_the_states_is_read(tmp_path: Path, packed: bool) -> None:
    name = base(tmp_path / "base", sentences=True)
    task, model = made(tmp_path, name, method="full")
    classifier = model.classifier
    bert, tokenizer = BertModel.from_pretrained(name).eval(), AutoTokenizer.from_pretrained(name)
    expected = []
    with torch.no_grad():
        for text in TEXTS:
            states = bert(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
            expected.append(states.mean(0) @ classifier.weight.T + classifier.bias)
    torch.testing.assert_close(scores(task, model, packed=packed), torch.stack(expected))
    assert "it classifies from the mean" in task.export_caveat


@pytest.mark.parametrize("packed", [False, True])
def test_of_another_encoder_the_first_state_is_read(tmp_path: Path, packed: bool) -> None:
    name = base(tmp_path / "base", sentences=False)
    task, model = made(tmp_path, name, method="full")
    tokenizer = AutoTokenizer.from_pretrained(name)
    model.save_pretrained(tmp_path / "saved")
    theirs = BertForSequenceClassification.from_pretrained(tmp_path / "saved").eval()
    with torch.no_grad():
        expected = [theirs(**tokenizer(text, return_tensors="pt")).logits[0] for text in TEXTS]
    torch.testing.assert_close(scores(task, model, packed=packed), torch.stack(expected))
    assert task.export_caveat == ""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora", "adapter", "prefix"])
def test_a_kept_model_answers_as_it_did(tmp_path: Path, method: str) -> None:
    name = base(tmp_path / "base", sentences=True)
    task, model = made(tmp_path, name, method=method, rank=4)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.1 * torch.randn_like(weight))
    before = scores(task, model, packed=False)
    folder = tmp_path / "kept"
    folder.mkdir()
    methods.save_weights(model, task.recipe, folder)
    task.save_state(model, folder)
    again = make_task(task.recipe)
    restored = again.restore(folder, torch.float32).eval()
    assert again.pooling == ("own" if method == "prefix" else "mean")
    assert (getattr(unwrapped_model(restored).base_model, "pooler", None) is None) == (
        method != "prefix"
    )
    torch.testing.assert_close(scores(again, restored, packed=False), before)


def test_models_of_before_are_read_by_their_own_head(tmp_path: Path) -> None:
    task, _ = made(tmp_path, base(tmp_path / "base", sentences=True))
    (tmp_path / "task.json").write_text('{"labels": ["a", "b"]}')
    task.load_state(tmp_path)
    assert task.pooling == "own"


def test_a_class_that_was_not_there_in_training_has_no_part_in_the_loss(tmp_path: Path) -> None:
    from moli.training import inference

    task, model = made(tmp_path, base(tmp_path / "base", sentences=True), method="full")
    known = EXAMPLES[:4]
    other = [*known, Labelled("w1 w2", "never seen")]
    losses = [
        inference.evaluate(task, model, each, task.samples(each, training=False))["loss"]
        for each in (known, other)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)


def prepared(*examples: Example) -> Any:
    task: Any = make_task(make_recipe({"task": "classification", "data": "unused.jsonl"}))
    task.prepare(examples)
    return task


def test_numbers_are_the_indices_of_their_outputs() -> None:
    """As users of transformers expect: output 2 is class 2, and not class 10."""
    task = prepared(*(Labelled(f"t{n}", str(n % 12)) for n in range(24)))
    assert task.label_config["id2label"] == {n: str(n) for n in range(12)}
    assert prepared(Labelled("a", "true"), Labelled("b", "false")).labels == ["false", "true"]
    assert prepared(Labelled("a", "5"), Labelled("b", "1")).labels == ["1", "5"]


def test_classes_that_a_data_set_numbers_keep_their_numbers() -> None:
    names = ("neutral", "bad", "good")
    task = prepared(Labelled("a", "good", names), Labelled("b", "bad", names))
    assert task.label_config["label2id"] == {"neutral": 0, "bad": 1, "good": 2}
