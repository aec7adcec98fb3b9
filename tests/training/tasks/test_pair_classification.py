"""Pairs of texts are read as transformers reads them, with the types of their tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from training.small_models import write_model
from transformers import AutoTokenizer

from moli.records.examples import LabelledPair
from moli.training import methods
from moli.training.recipes.recipe import make_recipe
from moli.training.tasks import make_task

PAIRS = [
    LabelledPair("w1 w2 w3 w4 w5", "w6", "yes"),
    LabelledPair("w30", "w31 w32 w33 w34 w35 w36", "no"),
    LabelledPair("w7 w8", "w9 w10", "yes"),
    LabelledPair("w1 w2 w3 w4 w5", "w30", "no"),
]


def made(folder: Path, **values: Any) -> tuple[Any, Any]:
    base = write_model(folder / "base", "bert")
    path = Path(base) / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
    path.write_text(json.dumps(config), encoding="utf-8")
    recipe = make_recipe(
        {"task": "pair_classification", "base": base, "data": "unused", "method": "full", **values}
    )
    task = make_task(recipe)
    task.prepare(PAIRS)
    torch.manual_seed(0)
    return task, methods.apply_method(task.build(torch.float32), recipe).eval()


@pytest.mark.parametrize("packed", [False, True])
def test_logits_and_losses_are_those_of_transformers(tmp_path: Path, packed: bool) -> None:
    task, model = made(tmp_path)
    samples = [group[0] for group in task.samples(PAIRS, training=True)]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    with torch.no_grad():
        actual = task.forward(model, samples, packed=packed)
        losses = task.losses(actual, samples)
        for pair, logits, loss in zip(PAIRS, actual, losses, strict=True):
            inputs = tokenizer(pair.first, pair.second, return_tensors="pt")
            types = inputs["token_type_ids"]
            assert 0 < types.sum() < types.numel()
            label = torch.tensor([["no", "yes"].index(pair.label)])
            expected = model(**inputs, labels=label)
            torch.testing.assert_close(logits, expected.logits[0], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(loss, expected.loss, rtol=1e-4, atol=1e-5)


def test_the_longer_text_loses_its_end(tmp_path: Path) -> None:
    task, _ = made(tmp_path, max_length=10)
    long = LabelledPair("w1 " * 20, "w2 w3", "yes")
    ((sample,),) = task.samples([long], training=True)
    words = task.tokenizer.convert_ids_to_tokens(sample.sequences[0].tolist())
    assert words == ["[CLS]", *["w1"] * 5, "[SEP]", "w2", "w3", "[SEP]"]
    assert sample.truncated_tokens == 15


def test_a_label_that_is_not_known_has_no_loss(tmp_path: Path) -> None:
    task, model = made(tmp_path)
    ((sample,),) = task.samples([LabelledPair("w1", "w2", "maybe")], training=False)
    with torch.no_grad():
        assert task.losses(task.forward(model, [sample]), [sample]).item() == 0
    assert not sample.supervised
