"""Models of this machine that were converted or fetched, and their removal."""

from __future__ import annotations

from pathlib import Path

import pytest

from moli.models.weights.converted import (
    converted_folder,
    converted_models,
    remove_from_machine,
)
from moli.models.weights.known import installed_folder


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MOLI_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def convert(tmp_path: Path, name: str) -> Path:
    file = tmp_path / name
    file.write_bytes(name.encode())

    def write(folder: Path) -> None:
        (folder / "weights").write_bytes(bytes(1000))

    return converted_folder(file, write)


def test_what_was_converted_is_listed_with_its_size_and_source(tmp_path: Path) -> None:
    assert converted_models() == []
    folder = convert(tmp_path, "a.gguf")
    (model,) = converted_models()
    assert (model.folder, model.name) == (folder, folder.name)
    assert model.source == str(tmp_path / "a.gguf")
    assert model.bytes == 1000 + (folder / "origin.json").stat().st_size


def test_one_model_is_removed(tmp_path: Path, store: Path) -> None:
    first, second = convert(tmp_path, "a.gguf"), convert(tmp_path, "b.gguf")
    assert remove_from_machine(first.name) == first
    assert [each.folder for each in converted_models()] == [second]
    assert remove_from_machine(first.name) is None
    assert not [each for each in second.parent.iterdir() if each.name.endswith(".draft")]
    assert convert(tmp_path, "a.gguf") == first  # it is converted again when it is needed


def test_a_fetched_model_is_removed_and_nothing_else(tmp_path: Path, store: Path) -> None:
    for folder in (store / "e5", store / "other", tmp_path / "outside"):
        folder.mkdir(parents=True)
        (folder / "origin.json").write_text("{}")
    assert remove_from_machine("e5") == store / "e5"
    assert installed_folder("e5") is None
    for name in ("e5", "other", "../outside", "converted", "", "smollm2"):
        assert remove_from_machine(name) is None
    assert (store / "other").is_dir() and (tmp_path / "outside").is_dir()
