from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from adapters import manifest_of, write_adapter

from moli.models.weights.converted import converted_folder
from moli.workspace import Workspace
from moli.workspace.content import StoredModel

Moli = Callable[..., Any]


@pytest.fixture
def made(home: Path, tmp_path: Path) -> list[StoredModel]:
    """Two adapters that were made here, of which the second is `support`."""
    with Workspace.open(home) as workspace:
        return [
            workspace.models.add(
                write_adapter(tmp_path / weights, weights),
                manifest_of(created_at=at, base="[org]/base"),
                "support",
            )
            for at, weights in ((1.0, "one"), (2.0, "two"))
        ]


def test_without_models_the_list_is_empty(moli: Moli) -> None:
    assert moli("models", "list").out.startswith("No models yet. Ships with Moli: builtin:reader")
    assert moli("models", "list", "--json").json["models"] == []
    assert moli("models", "verify", "--json").json == {"models": []}


def test_models_that_can_be_fetched_are_listed_in_80_columns_even_outside_of_a_workspace(
    moli: Moli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOLI_MODELS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "e5").mkdir()
    (tmp_path / "e5" / "origin.json").write_text("{}")
    lines = moli("models", "list").out.splitlines()
    rows = {line.split()[0]: line for line in lines}
    assert all(len(line) <= 80 for line in lines)
    assert "Apache-2.0" in rows["smollm2"] and rows["smollm2"].endswith("not here")
    assert rows["e5"].endswith("  here") and "encoder" in rows["e5"] and "zh" in rows["e5"]
    known = {each["name"]: each for each in moli("models", "list", "--json").json["known"]}
    assert known["e5"]["folder"] == str(tmp_path / "e5")
    assert known["whisper-tiny"]["folder"] is None
    assert known["whisper-tiny"]["license"] == "MIT"


def test_a_model_that_is_here_is_not_fetched_again(
    moli: Moli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOLI_MODELS", str(tmp_path))
    (tmp_path / "e5").mkdir()
    origin = {"title": "E5", "license": "MIT", "origin": {"hub": "a/b", "precision": "4 bits"}}
    (tmp_path / "e5" / "origin.json").write_text(json.dumps(origin))
    assert moli("models", "get", "e5").out.startswith(f"e5 is here: {tmp_path / 'e5'}\n")
    shown = moli("models", "get", "e5", "--json").json
    assert shown["folder"] == str(tmp_path / "e5") and shown["license"] == "MIT"


@pytest.mark.parametrize(
    "arguments",
    [
        ("search", "port"),
        ("add", "docs"),
        ("ask", "Hello"),
        (
            "tune",
            *(f"--set={each}" for each in ("base=smollm2", "task=instruction", "data=a.jsonl")),
        ),
    ],
)
def test_a_name_that_is_not_here_is_answered_with_the_command(
    moli: Moli, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOLI_ENCODER", "e5")
    Path("a.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    ran = moli(*arguments)
    assert ran.code == 1
    assert re.search(r"not on the machine yet\. Run: moli models get (e5|smollm2)\.", ran.err)


def test_models_are_listed_the_newest_first(
    moli: Moli, made: list[StoredModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    one, two = made
    listed = moli("models", "list", "--json").json["models"]
    assert [each["name"] for each in listed] == [f"support@{two.hash[:8]}", one.hash[:8]]
    assert [each["aliases"] for each in listed] == [["support"], []]
    assert listed[0]["manifest"]["recipe"]["labels"] == ["退款", "other"]
    moli("models", "alias", "billing", two.hash[:8])
    output = moli("models", "list").out
    first = next(line for line in output.splitlines() if two.hash[:8] in line)
    assert first.strip().startswith(f"billing@{two.hash[:8]} (support)")
    for part in ("classification", "lora", "[org]/base", "accuracy 0.9375", "0.0 MiB", "1970-"):
        assert part in first


def test_a_model_is_shown_with_its_manifest(moli: Moli, made: list[StoredModel]) -> None:
    shown = moli("models", "show", "support", "--json").json
    assert (shown["hash"], shown["folder"]) == (made[1].hash, str(made[1].folder))
    assert shown["manifest"]["metrics"] == {"loss": 0.25, "accuracy": 0.9375}
    assert shown["manifest"]["stop_tokens"] == [2, 7]
    output = moli("models", "show", "support").out
    for part in (made[1].hash, "classification, lora", "[org]/base", "退款", "accuracy 0.9375"):
        assert part in output


def test_a_damaged_model_is_told_and_ends_with_one(moli: Moli, made: list[StoredModel]) -> None:
    assert moli("models", "verify").code == 0
    (made[0].folder / "adapter_model.safetensors").write_text("damaged")
    ran = moli("models", "verify", "--json")
    assert ran.code == 1
    differences = {each["hash"]: each["differences"] for each in ran.json["models"]}
    assert differences == {
        made[0].hash: [{"file": "adapter_model.safetensors", "what": "changed"}],
        made[1].hash: [],
    }
    assert moli("models", "verify", "support").code == 0
    ran = moli("models", "verify")
    assert ran.code == 1
    assert "changed: adapter_model.safetensors" in ran.out
    assert f"support@{made[1].hash[:8]}  as stored" in ran.out


def test_an_alias_is_moved_back_shown_and_retired(moli: Moli, made: list[StoredModel]) -> None:
    one, two = made
    moved = moli("models", "alias", "support", f"support@{one.hash[:6]}", "--json").json
    assert (moved["alias"], moved["hash"]) == ("support", one.hash)
    assert [each["hash"] for each in moved["history"]] == [one.hash, two.hash, one.hash]
    assert f"support -> {two.hash[:8]}" in moli("models", "alias", "support", two.hash[:8]).out
    output = moli("models", "alias", "support").out.splitlines()
    assert [line.split()[2] for line in output] == [h.hash[:8] for h in (two, one, two, one)]
    assert "support -> nothing" in moli("models", "alias", "support", "--retire").out
    assert moli("models", "alias", "support", "--json").json["hash"] == ""
    assert moli("models", "alias", "support", two.hash, "--retire").code == 2


def test_a_model_is_removed_unless_it_is_in_use(moli: Moli, made: list[StoredModel]) -> None:
    one, two = made
    refused = moli("models", "remove", "support", "--json")
    assert (refused.code, refused.json["error"]["code"]) == (1, "input")
    assert "in use as support" in refused.json["error"]["message"]
    assert moli("models", "remove", one.hash[:8], "--json").json == {"removed": one.hash}
    moli("models", "alias", "support", "--retire")
    assert two.hash in moli("models", "remove", two.hash[:8]).out
    assert moli("models", "list", "--json").json["models"] == []


def test_models_of_the_machine_are_listed_and_removed(
    moli: Moli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOLI_MODELS", str(tmp_path / "models"))
    file = tmp_path / "small.gguf"
    file.write_bytes(b"weights")
    folder = converted_folder(file, lambda folder: None)
    assert folder.name in moli("models", "list").out
    (shown,) = moli("models", "list", "--json").json["converted"]
    assert (shown["name"], shown["source"]) == (folder.name, str(file))
    assert moli("models", "remove", folder.name, "--json").json == {"removed": str(folder)}
    assert moli("models", "list", "--json").json["converted"] == []


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (("show", "suport"), "not_found", "Did you mean support"),
        (("verify", "nothing"), "not_found", "no model is called 'nothing'"),
        (("remove", "0000000000"), "not_found", "no model is called"),
        (("alias", "other"), "not_found", "no model is called 'other'"),
        (("alias", "Not Good", "support"), "input", "[a-z0-9][a-z0-9._-]{0,63}"),
    ],
)
def test_what_cannot_be_done_is_told(
    moli: Moli, made: list[StoredModel], arguments: tuple[str, ...], code: str, part: str
) -> None:
    ran = moli("models", *arguments, "--json")
    assert (ran.code, ran.json["error"]["code"]) == (1, code)
    assert part in ran.json["error"]["message"]


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["list", "show", "verify", "alias", "shadow", "remove"])
def test_every_verb_has_help_with_an_example(moli: Moli, verb: str) -> None:
    ran = moli("models", verb, "--help")
    assert ran.code == 0
    assert f"Example: moli models {verb}" in ran.out
    assert "--json" in ran.out


def test_a_model_answers_beside_an_alias(moli: Moli, made: list[StoredModel]) -> None:
    alias, other = made[-1].aliases[0], made[0].hash
    assert "Nothing" in moli("models", "shadow", alias).out
    shadowed = moli("models", "shadow", alias, other[:12], "--share", "0.25", "--json").json
    assert shadowed["shadow"] == {"alias": alias, "hash": other, "share": 0.25}
    assert "25%" in moli("models", "shadow", alias).out
    assert moli("models", "shadow", alias, other[:12], "--share", "2").code == 1
    assert moli("models", "shadow", "nobody").code == 1
    assert "Nothing" in moli("models", "shadow", alias, "--end").out
