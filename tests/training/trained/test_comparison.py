"""A new model is compared with its base, and with the model that its alias points at."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
from adapters import manifest_of
from conftest import write_settings
from training.small_models import write_conversations, write_model

from moli.records.examples import Labelled
from moli.records.training import Evaluated, Event
from moli.training.recipes.recipe import make_recipe
from moli.training.run import RunResult, tune
from moli.training.trained.comparison import HeldOutResult, find_better_model, hash_examples
from moli.workspace import Workspace
from moli.workspace.content import StoredModel


def present(hash_: str, **metrics: float) -> StoredModel:
    manifest = manifest_of(metrics=metrics, held_out_hash=hash_)
    return StoredModel("support@3f9c1a2b", "3f9c1a2b" * 8, Path(), manifest, ("support",), 1)


def result(metric: str, new: float, base: float, hash_: str = "h") -> HeldOutResult:
    return HeldOutResult(metric, {metric: new}, {metric: base}, hash_)


@pytest.mark.parametrize(
    ("metric", "new", "base", "is_better"),
    [
        ("accuracy", 0.5, 0.75, True),
        ("accuracy", 0.75, 0.75, False),
        ("accuracy", 0.75, 0.5, False),
        ("loss", 2.0, 1.0, True),
        ("loss", 1.0, 2.0, False),
        ("loss", math.nan, 1.0, True),
        ("loss", 1.0, math.nan, False),
        ("spearman", math.nan, math.nan, False),
    ],
)
def test_the_base_is_better_or_not(metric: str, new: float, base: float, is_better: bool) -> None:
    assert bool(find_better_model(result(metric, new, base), None)) is is_better


def test_the_present_model_counts_only_on_the_same_examples() -> None:
    new = result("accuracy", 0.8, 0.1)
    assert find_better_model(new, present("h", accuracy=0.9)) == (
        "its accuracy of 0.8 is below the 0.9 support@3f9c1a2b has on the same examples"
    )
    assert not find_better_model(new, present("other", accuracy=0.9))
    assert not find_better_model(new, present("h", accuracy=0.8))
    assert not find_better_model(new, present("h", f1=0.9))  # of another task
    assert not find_better_model(HeldOutResult("loss", {}, {}, ""), present("", loss=0.1))


def test_the_hash_of_examples_does_not_depend_on_their_order() -> None:
    one, other = Labelled("退款", "a"), Labelled("y", "b")
    assert hash_examples([one, other]) == hash_examples([other, one])
    assert hash_examples([one]) != hash_examples([Labelled("退款", "b")])
    assert hash_examples([]) == ""


@pytest.mark.slow
def test_an_alias_is_not_moved_to_a_worse_model(tmp_path: Path) -> None:
    write_settings(tmp_path)
    base = write_model(tmp_path / "base", "llama")
    data = write_conversations(tmp_path / "data.jsonl", 40)
    events: list[Event] = []

    def train(rate: float, *, force: bool = False, **values: Any) -> RunResult:
        recipe = make_recipe(
            {"task": "instruction", "base": base, "data": str(data), "method": "full", "batch": 8,
             "held_out": 0.2, "precision": "fp32", "name": "talk", "learning_rate": rate} | values
        )  # fmt: skip
        return tune(recipe, workspace, listeners=[events.append], force=force)

    with Workspace.init(tmp_path) as workspace:
        diverged = train(3.0)
        before = next(each for each in events if isinstance(each, Evaluated))
        assert (before.step, before.best) == (0, False)
        # Random weights know nothing: each of the 44 words is about as likely as any other.
        assert before.metrics["loss"] == pytest.approx(math.log(44), rel=0.02)
        assert diverged.facts["base_metrics"] == before.metrics
        assert "its base had before the first step" in diverged.facts["alias_kept"]
        assert workspace.models.find("talk") is None
        good = train(3e-3, epochs=4)
        assert "alias_kept" not in good.facts
        found = workspace.models.find("talk")
        assert found is not None
        assert found.name == good.model
        assert found.manifest.base_metrics == before.metrics
        worse = train(1e-4, epochs=1)
        assert f"{good.model} has on the same examples" in worse.facts["alias_kept"]
        assert workspace.models.get("talk").hash == found.hash
        forced = train(1e-4, epochs=1, force=True)
        assert forced.model.startswith("talk@")
        assert workspace.models.get("talk").hash != found.hash
        other = train(3e-3, held_out=0)
        assert (other.facts["metrics"], other.facts["base_metrics"]) == ({}, {})
        assert other.model.startswith("talk@")  # nothing is held out, so nothing is compared


def test_a_run_that_chose_between_its_start_and_later_weights_is_not_asked_again() -> None:
    result = HeldOutResult(
        "accuracy", {"accuracy": 0.8}, {"accuracy": 0.82}, "x", base_was_candidate=True
    )
    assert not find_better_model(result, None)
    assert find_better_model(dataclasses.replace(result, base_was_candidate=False), None)
