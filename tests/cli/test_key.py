from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moli.workspace import Workspace
from moli.workspace.keys import hash_secret

Moli = Callable[..., Any]


def test_a_key_is_made_listed_and_revoked(moli: Moli, home: Path) -> None:
    made = moli("key", "add", "anna", "--tenant", "acme", "--json").json
    assert made["key"]["groups"] == ["acme"]
    assert made["secret"].startswith("moli_")
    with Workspace.open(home) as workspace:
        assert hash_secret(made["secret"]) in workspace.keys.valid()
    listed = moli("key", "list")
    assert "anna" in listed.out and made["secret"] not in listed.out
    assert "0 keys are left" in moli("key", "revoke", "anna").out
    again = moli("key", "revoke", "anna")
    assert (again.code, "moli key list" in again.err) == (1, True)


def test_the_secret_alone_is_on_standard_output(moli: Moli) -> None:
    made = moli("key", "add", "ben", "--admin", "-g", "hr", "-g", "board")
    name, secret = made.out.strip().split(": ")
    assert (name, secret[:5]) == ("ben", "moli_")
    key = moli("key", "list", "--json").json["keys"][0]
    assert (key["scope"], key["groups"]) == ("admin", ["hr", "board"])


def test_without_keys_the_list_says_what_that_means(moli: Moli) -> None:
    assert "answers everyone" in moli("key", "list").out


@pytest.mark.parametrize("verb", ["add", "list", "revoke"])
def test_every_verb_has_help_with_an_example(moli: Moli, verb: str) -> None:
    assert f"Example: moli key {verb}" in moli("key", verb, "--help").out
