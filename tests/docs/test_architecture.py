"""The pages on architecture, and the guide for contributors, name code that exists."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from docs.pages import ROOT, blocks, prose

SOURCE = ROOT / "src" / "moli"
LANGUAGES = ("en", "zh")
STEP = re.compile(r"^\d+\. `([\w/]+\.py)` · `([\w.]+)`", re.MULTILINE)
MULTI = re.MULTILINE | re.DOTALL
ITEM = re.compile(r"^\d+\. (?:.*?)(?=^\d+\. |^#|^$|\Z)", MULTI)
TERM = re.compile(r"^- [A-Za-z ]*`([\w -]+)`", re.MULTILINE)

each_language = pytest.mark.parametrize("language", LANGUAGES)


def page_of(language: str) -> str:
    return (ROOT / "docs" / language / "architecture.md").read_text(encoding="utf-8")


def functions_of(path: Path) -> set[str]:
    """Functions, classes and methods that a file defines, methods as `Class.method`."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        for inner in getattr(node, "body", []) if isinstance(node, ast.ClassDef) else []:
            if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                names.add(f"{node.name}.{inner.name}")
    return names


def contracts() -> list[dict[str, Any]]:
    """import-linter's contracts; rooms that are planned but not built are left out."""
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    contracts: list[dict[str, Any]] = tool["importlinter"]["contracts"]
    return contracts


def layers_of(contract: dict[str, Any]) -> list[set[str]]:
    """The layers that there are, from top to bottom, each with its files and folders."""
    [container] = contract["containers"]
    folder = SOURCE.joinpath(*container.split(".")[1:])
    rows = [set(re.findall(r"\w+", layer)) for layer in contract["layers"]]
    built = [
        {name for name in row if (folder / name).is_dir() or (folder / f"{name}.py").is_file()}
        for row in rows
    ]
    return [row for row in built if row]


def drawn(text: str) -> list[set[str]]:
    """The layers that a diagram draws; what stands two spaces after the names explains them."""
    names = [re.split(r"\s{2,}", line.strip())[0] for line in text.splitlines()]
    return [set(re.findall(r"\w+", line)) for line in names if line]


@each_language
def test_every_step_names_a_function_in_its_file(language: str) -> None:
    steps = STEP.findall(page_of(language))
    assert len(steps) >= 36
    numbered = re.findall(r"^\d+\. ", page_of(language), re.MULTILINE)
    assert len(numbered) == len(steps), "a step that is not `file` · `function`"
    missing = [
        (file, function)
        for file, function in steps
        if not (SOURCE / file).is_file() or function not in functions_of(SOURCE / file)
    ]
    assert missing == []


def test_both_languages_trace_the_same_paths_and_explain_the_same_words() -> None:
    one, other = (page_of(language) for language in LANGUAGES)
    assert STEP.findall(one) == STEP.findall(other)
    assert TERM.findall(one) == TERM.findall(other)
    assert len(TERM.findall(one)) > 40


@each_language
def test_the_diagrams_are_the_layers(language: str) -> None:
    diagrams = [body for kind, body in blocks(page_of(language)) if kind == "text"]
    assert [drawn(body) for body in diagrams] == [layers_of(each) for each in contracts()]


def test_contributors_see_the_same_layers() -> None:
    [diagram] = [body for kind, body in blocks(contributing()) if kind == "text"]
    assert drawn(diagram) == layers_of(contracts()[0])


def test_files_that_contributors_are_told_of_exist() -> None:
    named = re.findall(r"`((?:src|tests|docs|dev|bench|examples)/[\w./-]+)`", prose(contributing()))
    assert len(named) > 10
    assert [name for name in named if "NAME" not in name and not (ROOT / name).exists()] == []


def test_an_addition_touches_as_many_source_files_as_is_said() -> None:
    """The first items of each recipe are the source files; tests and pages come on top."""
    counts = {"two": 2, "three": 3}
    recipes = re.findall(r"^### [^\n]*: (\w+) source files\n(.*?)(?=^##|\Z)", contributing(), MULTI)
    assert len(recipes) >= 5
    for number, text in recipes:
        sources = [item for item in ITEM.findall(text) if "src/moli" in item]
        assert len(sources) == counts[number], text


def test_names_in_the_recipes_stand_in_the_files_that_are_named_with_them() -> None:
    names = 0
    for item in ITEM.findall(contributing()):
        paths = [ROOT / path for path in re.findall(r"`(src/[\w./]+)`", item) if "NAME" not in path]
        files = [
            file for path in paths for file in ([path] if path.is_file() else path.glob("*.py"))
        ]
        source = "\n".join(file.read_text(encoding="utf-8") for file in files)
        for name in re.findall(r"`(_?[A-Z]\w+|[a-z]+_[a-z_]+|detect)`", item):
            assert re.search(rf"\b{name}\b", source), (name, item)
            names += 1
    assert names > 10


def contributing() -> str:
    return (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
