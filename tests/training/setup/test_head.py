"""The head that is fitted before the first step, against scikit-learn on the base's own vectors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from training.small_models import WORDS, write_encoder, write_model
from transformers import AutoTokenizer, BertModel

from moli.records.errors import InputError
from moli.records.training import Evaluated
from moli.training.recipes.recipe import make_recipe
from moli.training.run import tune
from moli.training.setup.head import class_directions
from moli.training.setup.prepared import prepare
from moli.training.tasks.classification import Classification
from moli.training.trained.load import load_trained
from moli.training.trained.predict import predict, read_text
from moli.workspace import Workspace

LABELS = ["first", "second", "third"]


def write_rows(path: Path, seed: int = 0) -> Path:
    """Texts of words that mostly belong to their class."""
    draw = np.random.default_rng(seed)
    rows = []
    for number in range(120):
        label = number % 3
        own = draw.choice(WORDS[13 * label : 13 * label + 13], 6)
        text = " ".join([*own, *draw.choice(WORDS, 2)])
        rows.append({"text": text, "label": LABELS[label]})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def settings(tmp_path: Path, **values: object) -> dict[str, object]:
    return {
        "task": "classification",
        "base": write_encoder(tmp_path / "base"),
        "data": write_rows(tmp_path / "rows.jsonl"),
        "held_out": write_rows(tmp_path / "held_out.jsonl", seed=1),
        "precision": "fp32",
        **values,
    }


@pytest.mark.slow
def test_without_steps_the_model_is_a_regression_on_the_frozen_base(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    held_out = tmp_path / "some.jsonl"
    recipe = settings(tmp_path, epochs=0, name="head")
    rows = [json.loads(line) for line in Path(str(recipe["data"])).read_text().splitlines()]
    held_out.write_text("".join(json.dumps(row) + "\n" for row in rows[:30]))
    with Workspace.init(tmp_path / "home") as workspace:
        result = tune(make_recipe({**recipe, "held_out": held_out}), workspace)
        stored = workspace.models.get("head")
    assert result.facts["step"] == 0
    assert result.facts["metrics"]["accuracy"] == result.facts["baselines"]["frozen encoder"] > 0.5
    base = str(recipe["base"])
    bert, tokenizer = BertModel.from_pretrained(base).eval(), AutoTokenizer.from_pretrained(base)
    with torch.no_grad():
        vectors = np.stack(
            [
                bert(**tokenizer(row["text"], return_tensors="pt")).last_hidden_state[0].mean(0)
                for row in rows
            ]
        )
    vectors /= np.linalg.norm(vectors[30:], axis=1).mean()
    theirs = {
        strength: LogisticRegression(C=strength, tol=1e-8, max_iter=2000)
        .fit(vectors[30:], [row["label"] for row in rows[30:]])
        .predict(vectors)
        .tolist()
        for strength in (1, 3, 10, 30, 100)
    }
    trained = load_trained(stored)
    ours = [
        answer["label"]
        for answer in predict(trained, [read_text(trained, row["text"]) for row in rows])
    ]
    assert max(np.mean(np.array(ours) == np.array(each)) for each in theirs.values()) > 0.98


def test_directions_of_classes_are_the_orthogonal_factor_of_their_means() -> None:
    from scipy.linalg import polar

    torch.manual_seed(0)
    targets = torch.arange(60) % 4
    vectors = torch.randn(60, 9) + 3 * torch.randn(4, 9)[targets]
    directions = class_directions(vectors, targets, 4)
    units = (vectors / vectors.norm(dim=1, keepdim=True)).double().numpy()
    means = np.stack([units[targets == each].mean(0) for each in range(4)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    assert directions is not None
    np.testing.assert_allclose(directions, polar(means)[0], atol=1e-5)
    assert class_directions(vectors, targets, 10) is None


@pytest.mark.slow
def test_texts_are_drawn_to_the_directions_of_their_classes(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    prepared = prepare(make_recipe(settings(tmp_path, method="full")), tmp_path / "run")
    task, model, samples = prepared.task, prepared.model.eval(), prepared.data.samples[:9]
    assert isinstance(task, Classification)
    assert task.directions is not None
    vectors = task.head_inputs(model, samples).double()
    units = vectors / vectors.norm(dim=1, keepdim=True)
    own = task.directions[[task.target_id(each) for each in samples]].double()
    logs = torch.log_softmax(task.forward(model, samples).double(), -1)
    wanted = torch.full_like(logs, 0.1 / 3)  # labels smoothed by a tenth
    for row, sample in enumerate(samples):
        wanted[row, task.target_id(sample)] += 0.9
    expected = 1 - (units * own).sum(1) - (wanted * logs).sum(1)
    losses = task.training_losses(model, samples, packed=False)
    torch.testing.assert_close(losses.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_weights_that_only_got_worse_are_not_kept(tmp_path: Path) -> None:
    events: list[Evaluated] = []

    class Listener:
        def __call__(self, event: object) -> None:
            events.extend([event] if isinstance(event, Evaluated) else [])

        def close(self) -> None:
            pass

    recipe = settings(tmp_path, epochs=1, learning_rate=0.5, name="spoilt")
    with Workspace.init(tmp_path / "home") as workspace:
        result = tune(make_recipe(recipe), workspace, listeners=[Listener()])
    assert events[0].step == 0 and events[0].best
    assert events[-1].metrics["accuracy"] < events[0].metrics["accuracy"]
    assert result.facts["best_step"] == 0
    assert result.facts["metrics"]["accuracy"] == events[0].metrics["accuracy"]
    assert not result.facts["still_improving"]
    assert "alias_kept" not in result.facts


@pytest.mark.slow
def test_without_held_out_examples_the_tuned_head_stays(tmp_path: Path) -> None:
    recipe = make_recipe(settings(tmp_path, method="full", epochs=1, held_out=0.0, name="tuned"))
    (tmp_path / "alone").mkdir()
    prepared = prepare(recipe, tmp_path / "alone")
    prepared.loop.run()
    head = prepared.task.linear_head(prepared.model)
    with Workspace.init(tmp_path / "home") as workspace:
        tune(recipe, workspace)
        stored = load_trained(workspace.models.get("tuned"))
    theirs = stored.task.linear_head(stored.model)
    assert head is not None and theirs is not None
    torch.testing.assert_close(theirs.weight.float(), head.weight.float(), rtol=1e-4, atol=1e-5)


def test_no_steps_and_no_head_are_refused(tmp_path: Path) -> None:
    base = write_model(tmp_path / "plain", "bert")
    recipe = make_recipe(settings(tmp_path, epochs=0, base=base))
    with (
        Workspace.init(tmp_path / "home") as workspace,
        pytest.raises(InputError, match="epochs: 0"),
    ):
        tune(recipe, workspace)
