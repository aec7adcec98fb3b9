"""A project's folder is moved: its models load, its runs resume, and what is gone is one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import write_settings
from training.small_models import write_conversations, write_labelled, write_model
from training.stored_models import train_and_store

from moli.records.errors import InputError, ModelError
from moli.training.recipes.recipe import make_recipe, read_recipe
from moli.training.recipes.run_folder import REQUESTED
from moli.training.run import begin, resume
from moli.training.trained.export import export
from moli.training.trained.load import load_trained
from moli.workspace import Workspace
from moli.workspace.content import MANIFEST


@pytest.mark.slow
def test_an_adapter_finds_its_base_in_a_folder_that_was_moved(tmp_path: Path) -> None:
    old = tmp_path / "旧 夹" / "project"
    base = write_model(old / "基 础", "llama")
    data = write_conversations(old / "data.jsonl")
    stored = train_and_store(old, data, base, task="instruction", name="talk", method="lora")
    written = json.loads((stored.folder / MANIFEST).read_text(encoding="utf-8"))
    assert (written["base"], written["recipe"]["data"]) == ("./基 础", "./data.jsonl")
    new = tmp_path / "新 夹" / "project"
    shutil.move(old.parent, new.parent)
    with Workspace.open(new) as workspace:
        moved = workspace.models.get("talk")
        assert moved.manifest.base == str(new / "基 础")
        load_trained(moved)
        [run] = (new / ".moli" / "runs").iterdir()
        again = read_recipe(run / "recipe.yaml")
        assert (Path(again.base).resolve(), again.data.resolve()) == (
            new / "基 础", new / "data.jsonl"
        )  # fmt: skip
        # Manifests of earlier versions have absolute paths.
        written |= {"base": str(old / "基 础"), "recipe": written["recipe"] | {"base": base}}
        (moved.folder / MANIFEST).write_text(json.dumps(written), encoding="utf-8")
        load_trained(workspace.models.get("talk"))
        # In another folder the base is found by the hash of its weights, and only the right one.
        write_model(new / "another", "bert")
        (new / "models").mkdir()
        (new / "基 础").rename(new / "models" / "renamed")
        found = workspace.models.get("talk")
        assert found.manifest.base == str(new / "models" / "renamed")
        export(found, tmp_path / "exported", merge=True)
        # Outside, one has to say where.
        shutil.move(new / "models" / "renamed", tmp_path / "elsewhere")
        with pytest.raises(ModelError, match=r"not on this machine.*moli models rebase talk@"):
            load_trained(workspace.models.get("talk"))
        with pytest.raises(InputError, match="not the base of talk@"):
            workspace.models.rebase("talk", new / "another")
        workspace.models.rebase("talk", tmp_path / "elsewhere")
        load_trained(workspace.models.get("talk"))
        assert workspace.models.verify(moved) == ()


@pytest.mark.slow
def test_a_run_resumes_in_a_folder_that_was_moved(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    write_settings(old)
    base = write_model(old / "base", "bert")
    (old / "data").mkdir()
    data = write_labelled(old / "data" / "数据.jsonl")
    recipe = make_recipe(
        {"task": "classification", "base": base, "data": str(data), "batch": 8, "held_out": 0.2}
    )
    with Workspace.init(old) as workspace:
        run = begin(recipe, workspace).name
    old.rename(new)
    with Workspace.open(new) as workspace:
        folder = workspace.folder / "runs" / run
        requested = json.loads((folder / REQUESTED).read_text(encoding="utf-8"))
        assert (requested["base"], requested["data"]) == ("./base", "./data/数据.jsonl")
        # Runs of earlier versions have absolute paths.
        requested |= {"base": base, "data": str(data)}
        (folder / REQUESTED).write_text(json.dumps(requested), encoding="utf-8")
        (new / "data").rename(new / "elsewhere")
        with pytest.raises(
            InputError, match=f"no such file. Say where it is now: .*{run} --set data=PATH"
        ):
            resume(run, workspace)
        with pytest.raises(InputError, match="'epochs' of a run cannot be changed"):
            resume(run, workspace, paths={"epochs": "3"})
        lines = (new / "elsewhere" / "数据.jsonl").read_text().splitlines(keepends=True)
        parts = [new / "elsewhere" / "上.jsonl", new / "elsewhere" / "下.jsonl"]
        for part, some in zip(parts, (lines[:20], lines[20:]), strict=True):
            part.write_text("".join(some))
        result = resume(run, workspace, paths={"data": list(map(str, parts))})
        assert result.status in ("finished", "stopped_early")
        assert result.facts["rows"]["total"] == len(lines)
