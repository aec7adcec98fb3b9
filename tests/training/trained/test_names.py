"""Models of the workspace wherever a reference is expected."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from adapters import manifest_of, write_adapter
from safetensors.torch import load_file
from training import small_models
from training.stored_models import train_and_store

from moli.models.chat.causal import CausalChat
from moli.models.weights.loading import folder_of
from moli.records.errors import InputError, ModelError, NotFoundError
from moli.records.messages import Message
from moli.training.recipes.recipe import make_recipe
from moli.training.trained.generate import load_generator
from moli.training.trained.names import find_named, load_named_chat, with_named_base
from moli.training.trained.predict import read_text
from moli.workspace import Workspace
from moli.workspace.models import ModelStore


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """A store with the adapter `support` and the whole model `triage`."""
    models = Workspace.init(tmp_path / "home").models
    models.add(write_adapter(tmp_path / "one", "one"), manifest_of(method="lora"), "support")
    models.add(write_adapter(tmp_path / "two", "two"), manifest_of(method="full"), "triage")
    return models


def test_an_alias_comes_before_a_folder_of_that_name(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "support").mkdir()
    found = find_named("support", store)
    assert found is not None and found.aliases == ("support",)


def test_a_name_that_nothing_has_is_refused_with_the_nearest(store: ModelStore) -> None:
    with pytest.raises(NotFoundError, match=r"no model is called .suport.\..*Did you mean support"):
        find_named("suport", store)


@pytest.mark.parametrize("reference", ["org/name", "openai:m@http://h/v1", "gguf:x", "scripted:"])
def test_other_references_name_no_model_of_the_workspace(store: ModelStore, reference: str) -> None:
    assert find_named(reference, store) is None


def test_a_folder_is_none_either(store: ModelStore, tmp_path: Path) -> None:
    assert find_named(str(tmp_path), store) is None


def test_a_recipe_may_name_a_whole_model_as_its_base(store: ModelStore, tmp_path: Path) -> None:
    recipe = make_recipe({"task": "classification", "data": "x.jsonl", "base": "triage"})
    assert with_named_base(recipe, store).base == str(store.get("triage").folder)
    for base in ("new", "builtin:minilm", str(tmp_path)):
        other = recipe.model_copy(update={"base": base})
        assert with_named_base(other, store) is other
    with pytest.raises(InputError, match=r"support: an adapter.*moli models export support"):
        with_named_base(recipe.model_copy(update={"base": "support"}), store)


@pytest.mark.slow
def test_a_gguf_file_is_a_base_once_it_is_converted(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gguf")
    from moli.models.gguf.write import write_gguf

    monkeypatch.setenv("MOLI_MODELS", str(tmp_path / "models"))
    source = Path(folder_of("builtin:starter"))
    write_gguf(source, tmp_path / "file.gguf", "f32")
    monkeypatch.chdir(tmp_path)
    values = {"task": "instruction", "data": "x.jsonl", "base": "gguf:file.gguf"}
    folder = Path(with_named_base(make_recipe(values), store).base)
    assert folder.parent == tmp_path / "models" / "converted"
    read, expected = (load_file(path / "model.safetensors") for path in (folder, source))
    assert all(torch.equal(read[name], expected[name].float()) for name in expected)
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert with_named_base(make_recipe(values), store).base == str(folder)
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    (tmp_path / "file.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelError, match="not a whole GGUF file"):
        with_named_base(make_recipe(values), store)
    assert [path.name for path in folder.parent.glob("[!.]*")] == [folder.name]


@pytest.mark.parametrize("name", ["suport", "no/such/folder", "./models", "model.gguf"])
def test_only_org_and_name_are_looked_up_on_the_hub(name: str) -> None:
    with pytest.raises(ModelError, match="no such folder, and no name on the hub"):
        folder_of(name)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_tuned_model_chats_by_its_alias_as_it_answers_rows(tmp_path: Path, method: str) -> None:
    small_models.write_model(tmp_path / "base", "llama")
    small_models.write_conversations(tmp_path / "data.jsonl", 40)
    stored = train_and_store(
        tmp_path / "home",
        tmp_path / "data.jsonl",
        str(tmp_path / "base"),
        task="instruction",
        method=method,
        epochs=4,
    )
    question = "What is next?"
    workspace = Workspace.open(tmp_path / "home")
    workspace.models.point("talker", stored.hash)
    chat: Any = load_named_chat("talker", workspace)
    generator = load_generator(stored)
    rows: Any = read_text(generator, question)
    [expected] = generator.answer([rows], max_tokens=8)
    assert isinstance(chat, CausalChat)
    assert chat.complete([Message("user", question)], max_tokens=8) == expected["answer"]


def test_a_model_that_writes_no_text_is_no_chat_model(store: ModelStore) -> None:
    workspace: Any = SimpleNamespace(models=store)
    with pytest.raises(InputError, match="triage: a model for classification"):
        load_named_chat("triage", workspace)


@pytest.mark.slow
def test_an_adapter_as_base_of_a_language_model_is_merged_once(tmp_path: Path) -> None:
    """What a preference task is compared with is the base with the adapter, not the bare base."""
    from training.preference_cases import preferences, write_preferences

    from moli.training.reference import reference_values
    from moli.training.run import tune
    from moli.training.tasks import make_task
    from moli.training.trained.load import load_trained

    base = small_models.write_model(tmp_path / "base", "llama")
    data = small_models.write_conversations(tmp_path / "chats.jsonl")
    tuned = train_and_store(tmp_path / "home", data, base, task="instruction", method="lora")
    recipe = make_recipe(
        {
            "task": "dpo",
            "base": f"{base}@{tuned.hash[:12]}",
            "data": write_preferences(tmp_path / "pairs.jsonl"),
            "precision": "fp32",
            "held_out": 0.2,
        }
    )
    with Workspace.open(tmp_path / "home") as workspace:
        results = [tune(recipe, workspace) for _ in range(2)]
        stored = [workspace.models.get(result.model) for result in results]
        merged = {each.manifest.base for each in stored}
        assert len(merged) == 1
        assert workspace.models.get(Path(merged.pop()).name).manifest.parent == tuned.hash
        task = make_task(load_trained(stored[0]).task.recipe)
        samples = [s for group in task.samples(preferences(5), training=False) for s in group]
        reference = reference_values(task, load_trained(stored[0]).model, samples, packed=False)
        adapted = load_trained(tuned).model
    with torch.no_grad():
        expected = task.reference_values(task.forward(adapted, samples), samples)
        bare = reference_values(task, adapted, samples, packed=False)
    np.testing.assert_allclose(reference, expected, rtol=1e-4)
    assert np.abs(bare - expected).max() > 0.1
