"""The files that a forge, an editor or git reads, and the commands that they name."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from docs.pages import PAGES, ROOT, name_of

FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
HOOKS = ROOT / ".pre-commit-config.yaml"
TEMPLATE = ROOT / ".github" / "PULL_REQUEST_TEMPLATE.md"
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def made(text: str) -> set[str]:
    """Targets that a text asks make for, in code or in a step of a workflow."""
    return set(re.findall(r"(?:`|run: |^)make ([a-z-]+)", text, re.MULTILINE))


@pytest.mark.parametrize(
    "path", [*PAGES, *FORMS, *WORKFLOWS, TEMPLATE, ROOT / ".ci" / "run"], ids=name_of
)
def test_make_has_the_targets_that_are_named(path: Path) -> None:
    assert made(path.read_text(encoding="utf-8")) <= TARGETS


def test_targets_that_make_no_file_are_phony() -> None:
    [phony] = re.findall(r"^\.PHONY: (.*)", MAKEFILE, re.MULTILINE)
    assert set(phony.split()) == TARGETS


def test_the_workflow_checks_and_tests_every_python_from_the_oldest_on() -> None:
    [path] = WORKFLOWS
    workflow = read(path)
    [job] = workflow["jobs"].values()
    assert made(path.read_text(encoding="utf-8")) == {"check", "test"}
    pythons = job["strategy"]["matrix"]["python"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == f">={pythons[0]}"
    named = [each.rpartition(" ")[2] for each in project["classifiers"] if "Python ::" in each]
    assert named == pythons
    assert workflow["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("path", FORMS, ids=name_of)
def test_a_form_has_what_a_forge_needs(path: Path) -> None:
    form = read(path)
    assert form["name"] and form["description"]
    fields = [each for each in form["body"] if each["type"] != "markdown"]
    ids = [each["id"] for each in fields]
    assert len(set(ids)) == len(ids) > 0
    assert all(each["attributes"]["label"] for each in fields)


def test_hooks_run_what_is_in_the_repository() -> None:
    [repository] = read(HOOKS)["repos"]
    assert repository["repo"] == "local"  # so that nothing is downloaded
    entries = [hook["entry"].split() for hook in repository["hooks"]]
    assert all(hook["language"] == "system" for hook in repository["hooks"])
    programs = {entry[0] for entry in entries}
    assert programs == {".venv/bin/ruff", ".venv/bin/python", ".venv/bin/lint-imports"}
    scripts = [word for entry in entries for word in entry if word.endswith(".py")]
    assert scripts and all((ROOT / script).is_file() for script in scripts)


def test_every_check_of_the_folder_dev_is_a_hook_and_is_named_to_contributors() -> None:
    checks = {
        path.name
        for path in (ROOT / "dev").glob("*.py")
        if "exits 1 if" in path.read_text(encoding="utf-8")
    }
    hooks, contributing = HOOKS.read_text(), (ROOT / "CONTRIBUTING.md").read_text()
    assert checks == set(re.findall(r"dev/(\w+\.py)", hooks))
    assert {name for name in checks if f"dev/{name}" not in contributing} == set()
