"""Models in the package: whole, licensed, and free of traces of where they were made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from moli.models.weights.loading import folder_of
from moli.records.errors import ModelError, NotFoundError
from moli.workspace import Workspace
from moli.workspace.content import differences_of
from moli.workspace.shipped import shipped, shipped_names

LARGEST = {"reader": 8_000_000, "starter": 40_000_000}  # bytes


def test_all_that_is_promised_ships() -> None:
    assert set(shipped_names()) == set(LARGEST)


@pytest.mark.parametrize("name", shipped_names())
def test_a_model_that_ships_is_whole_and_says_how_it_may_be_used(name: str) -> None:
    model = shipped(f"builtin:{name}")
    assert differences_of(model.folder, model.hash) == ()
    assert model.bytes <= LARGEST[name]
    card = (model.folder / "README.md").read_text()
    assert card.startswith("---\nlicense: ")
    assert f"builtin:{name}" in card


@pytest.mark.parametrize("name", shipped_names())
def test_nothing_tells_of_the_machine_it_was_made_on(name: str) -> None:
    model = shipped(f"builtin:{name}")
    for path in model.folder.glob("*.json"):
        assert str(Path.home()) not in path.read_text()
        assert "/work" not in path.read_text()
    assert "/" not in json.dumps(dict(model.manifest.recipe))


def test_a_workspace_finds_it_and_points_no_alias_at_it(workspace: Workspace) -> None:
    assert workspace.models.get("builtin:reader") == shipped("builtin:reader")
    assert workspace.models.list() == []
    with pytest.raises(NotFoundError):
        workspace.models.point("mine", "builtin:reader")


def test_a_name_that_does_not_ship_is_told_with_those_that_do() -> None:
    with pytest.raises(NotFoundError, match=r"'builtin:writer'.*There are: builtin:reader"):
        shipped("builtin:writer")


def test_an_adapter_is_no_base() -> None:
    with pytest.raises(ModelError, match=r"adapter in builtin:minilm.*Name builtin:minilm"):
        folder_of("builtin:reader")
