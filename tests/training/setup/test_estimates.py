from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from training.small_models import write_labelled, write_model

from moli.records.training import Event, RunEnded, RunStarted, StepTaken
from moli.training.recipes.recipe import make_recipe
from moli.training.run import resume, tune
from moli.workspace import Workspace

pytestmark = pytest.mark.slow


def test_a_rehearsal_leaves_no_trace_but_its_estimate(workspace: Workspace, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    recipe = make_recipe(
        {
            "task": "classification",
            "base": write_model(tmp_path / "model", "bert"),
            "data": write_labelled(tmp_path / "rows.jsonl", 40),
            "held_out": 0.2,
            "batch": 8,
            "epochs": 2,
            "dropout": 0.1,  # whose randomness must go back as well
            "precision": "fp32",  # or a busy machine might choose another for each
        }
    )
    recorded: dict[bool, list[Event]] = {False: [], True: []}
    results = [
        tune(recipe, workspace, listeners=[recorded[each].append], estimate=each)
        for each in (False, True)
    ]
    losses = [
        [each.loss for each in events if isinstance(each, StepTaken)]
        for events in recorded.values()
    ]
    assert losses[0] == losses[1]
    weights = [
        load_file(workspace.models.get(each.model).folder / "model.safetensors") for each in results
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    facts = results[1].facts
    assert set(facts["estimate"]) == {
        "seconds", "evaluating", "memory_mb", "tokens_per_second", "steps"
    }  # fmt: skip
    ratio = facts["seconds"] / facts["estimate"]["seconds"]
    assert facts["against_estimate"]["seconds"] == pytest.approx(ratio, rel=0.2, abs=0.1)
    assert "estimate" not in results[0].facts


def test_a_failing_run_says_so_in_its_files(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(
        {
            "task": "classification",
            "base": write_model(tmp_path / "model", "bert"),
            "data": write_labelled(tmp_path / "rows.jsonl"),
            "epochs": 1,
        }
    )

    def broken(*arguments: object) -> float:
        raise ZeroDivisionError("broken on purpose")

    monkeypatch.setattr("moli.training.optimization.optimizers.Optimizers.step", broken)
    events: list[Event] = []
    with pytest.raises(ZeroDivisionError):
        tune(recipe, workspace, listeners=[events.append])
    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], RunEnded)
    assert events[-1].status == "failed"
    folder = Path(events[0].folder)
    last = json.loads((folder / "events.jsonl").read_text().splitlines()[-1])
    assert (last["status"], last["result"]) == ("failed", {"error": "broken on purpose"})
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["versions"]["torch"] == torch.__version__
    assert environment["machine"]["threads"] >= 1
    assert "task: classification" in (folder / "recipe.yaml").read_text()
    assert "Failed" in (folder / "report.html").read_text()
    monkeypatch.undo()
    assert resume(events[0].run, workspace).status == "finished"
