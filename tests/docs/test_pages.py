from __future__ import annotations

import re
import runpy
import shlex
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import typer.main
from docs.pages import PAGES, ROOT, commands, name_of, prose

from moli.cli.main import app
from moli.parsing import SUFFIXES
from moli.workspace import Settings

LANGUAGES = ("en", "zh")
# Named in the pages as formats that are not read.
REFUSED = {".doc", ".ppt", ".msg", ".xlsb", ".m4a", ".mp4"}

each_page = pytest.mark.parametrize("page", PAGES, ids=name_of)
each_language = pytest.mark.parametrize("language", LANGUAGES)


def page_of(language: str, name: str) -> str:
    return (ROOT / "docs" / language / f"{name}.md").read_text(encoding="utf-8")


def targets(page: Path) -> list[str]:
    found = re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text(encoding="utf-8")))
    return [target for target in found if "://" not in target]


@each_page
def test_relative_links_lead_somewhere(page: Path) -> None:
    links = [target for target in targets(page) if not target.endswith(".png")]
    assert [link for link in links if not (page.parent / link.partition("#")[0]).exists()] == []


@each_page
def test_pictures_are_there(page: Path) -> None:
    pictures = [target for target in targets(page) if target.endswith(".png")]
    assert [picture for picture in pictures if not (page.parent / picture).is_file()] == []


@pytest.mark.slow
@each_page
def test_commands_fit_the_command_line(page: Path) -> None:
    for line in commands(page.read_text(encoding="utf-8")):
        name, *words = shlex.split(line)
        if name == "moli":
            command: Any = typer.main.get_command(app)
            while words and words[0] in getattr(command, "commands", ()):
                command = command.commands[words.pop(0)]
            # Raises if an option does not exist or an argument is missing or of the wrong kind.
            command.make_context(line, words)


def test_the_reference_of_commands_is_up_to_date() -> None:
    generate = runpy.run_path(str(ROOT / "docs" / "generate.py"))
    for language, path in generate["FILES"].items():
        written = path.read_text(encoding="utf-8")
        assert written == generate["reference"](language), "run: python docs/generate.py"


def test_the_tables_of_fields_are_up_to_date() -> None:
    fields = runpy.run_path(str(ROOT / "docs" / "fields.py"))
    for language, path in fields["FILES"].items():
        page = path.read_text(encoding="utf-8")
        assert page == fields["with_tables"](page, language), "run: python docs/generate.py"
        assert page.count("| `messages[].content` |") == 1


def test_the_tables_of_options_are_up_to_date() -> None:
    options = runpy.run_path(str(ROOT / "docs" / "options.py"))
    for name, language in product(options["PAGES"], options["LANGUAGES"]):
        page = options["path_of"](name, language).read_text("utf-8")
        assert page == options["with_tables"](page, name, language), "run: python docs/generate.py"
    rows = {
        "options": "| `dpo` | `beta` | `0.1` |",
        "algorithms": "| `rejection` | `answers_per_prompt` | `16` |",
        "recipe": "| `steps` | `50` |",
        "rounds": "| `rounds` | `1` |",
    }
    for table, row in rows.items():
        assert row in options["table"](table, "en")


def test_both_languages_have_the_same_pages_and_sections() -> None:
    def outline(language: str) -> dict[str, list[str]]:
        return {
            path.name: re.findall(r"^#+(?= )", prose(path.read_text("utf-8")), re.MULTILINE)
            for path in (ROOT / "docs" / language).glob("*.md")
        }

    assert outline("en") == outline("zh")


@each_language
def test_commands_of_both_languages_use_the_same_options(language: str) -> None:
    def options(name: str, code: str) -> list[str]:
        return re.findall(r"--[a-z]+", "\n".join(commands(page_of(code, name))))

    for path in (ROOT / "docs" / language).glob("*.md"):
        assert options(path.stem, language) == options(path.stem, "en")


@each_language
def test_the_table_of_settings_is_the_settings(language: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(.*?)` \|", page_of(language, "settings"), re.MULTILINE)
    actual = re.findall(r"^# (\w+) = (.*)$", Settings.template(), re.MULTILINE)
    assert rows == actual
    assert [name for name, _ in rows] == list(Settings.model_fields)


@each_language
def test_the_table_of_the_recipe_is_the_recipe(language: str) -> None:
    from moli.training.recipes.recipe import Recipe

    keys = re.findall(r"^\| `(\w+)` \|(?= (?:\W*`|\W*\||\w))", page_of(language, "training"), re.M)
    known = Recipe.model_fields["task"].annotation.__args__
    tasks, names = keys[: len(known)], keys[len(known) :]
    assert set(tasks) == set(known), "the first table has a row for each task"
    assert names == list(Recipe.model_fields)
    defaults = dict(
        re.findall(r"^\| `(\w+)` \| `(.*?)` \|", page_of(language, "training"), re.MULTILINE)
    )
    for name, shown in defaults.items():
        assert str(Recipe.model_fields[name].default) == shown


@each_language
def test_the_list_of_formats_is_the_formats(language: str) -> None:
    named = set(re.findall(r"`(\.[a-z0-9]+)`", page_of(language, "documents")))
    assert named - REFUSED == set(SUFFIXES)
