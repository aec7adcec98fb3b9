"""Which encoder a workspace uses."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Make
from samples import ENCODER, ingest, ingest_with

from moli.models.encoders.hashing import HashEncoder
from moli.models.encoders.load import encoder_of, load_encoder, load_workspace_encoder
from moli.models.weights.known import ORIGIN, models_folder
from moli.records.errors import ModelError
from moli.workspace.settings import MODELS_FOLDER


@pytest.fixture(autouse=True)
def no_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(MODELS_FOLDER, str(tmp_path / "models"))


def put_e5_on_the_machine() -> None:
    folder = models_folder() / "e5"
    folder.mkdir(parents=True)
    (folder / ORIGIN).write_text("{}", encoding="utf-8")


def test_the_first_documents_get_the_best_encoder_of_the_machine(make_workspace: Make) -> None:
    workspace = make_workspace(encoder="auto")
    assert encoder_of(workspace) == "builtin:minilm"
    put_e5_on_the_machine()
    assert encoder_of(workspace) == "e5"


def test_documents_keep_the_encoder_that_they_came_with(make_workspace: Make) -> None:
    workspace = make_workspace(encoder="auto")
    ingest(workspace, {"a": "The pump."})
    put_e5_on_the_machine()
    assert encoder_of(workspace) == ENCODER.name


def test_an_encoder_that_is_named_is_used(make_workspace: Make) -> None:
    workspace = make_workspace(encoder="builtin:minilm")
    ingest(workspace, {"a": "The pump."})
    put_e5_on_the_machine()
    assert encoder_of(workspace) == "builtin:minilm"


def test_documents_on_a_machine_without_their_encoder(make_workspace: Make) -> None:
    workspace = make_workspace(encoder="auto")
    ingest_with(HashEncoder("e5"), workspace, {"a": "The pump."})
    with pytest.raises(ModelError) as refused:
        load_workspace_encoder(workspace)
    assert str(refused.value) == (
        "e5: the encoder of these documents is not on this machine. Run: moli models get e5. "
        'Or set encoder = "builtin:minilm" in moli.toml, and run: moli index rebuild.'
    )


def test_an_encoder_in_memory_stays_unless_documents_came_with_another(
    make_workspace: Make,
) -> None:
    workspace = make_workspace(encoder="auto")
    put_e5_on_the_machine()
    assert encoder_of(workspace, "builtin:minilm") == "builtin:minilm"
    ingest(workspace, {"a": "The pump."})
    assert encoder_of(workspace, "builtin:minilm") == ENCODER.name


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("E5", r"no name on the hub\. Did you mean e5\? Give a folder"),
        ("e5-small", "Did you mean e5"),
        ("bge", r"no name on the hub\. Give a folder, org/name"),
        ("~/no/such/folder", "no such folder"),
        (
            "smollm2",
            r"smollm2 .SmolLM2-135M-Instruct.: this model is no encoder\. Name another",
        ),
        ("whisper-tiny", "this model is no encoder"),
    ],
)
def test_a_name_that_is_no_encoder_is_refused_before_anything_is_fetched(
    monkeypatch: pytest.MonkeyPatch, reference: str, message: str
) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("hub"))
    with pytest.raises(ModelError, match=message):
        load_encoder(reference)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"")
    with pytest.raises(ModelError, match="a file, not a folder"):
        load_encoder(str(path))


def test_a_folder_is_found_from_home_and_from_the_workspace(
    make_workspace: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    workspace = make_workspace(encoder="encoders/own")
    folder = workspace.root / "encoders" / "own"
    with pytest.raises(ModelError, match="encoders/own: not a folder, and not available"):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        load_workspace_encoder(workspace)
    folder.mkdir(parents=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with pytest.raises(ModelError, match=rf"{folder}: no model"):
        load_workspace_encoder(workspace)
    monkeypatch.setenv("HOME", str(workspace.root))
    with pytest.raises(ModelError, match=rf"{folder}: no model"):
        load_encoder("~/encoders/own")
