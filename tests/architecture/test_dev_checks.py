"""The checks of cycles and of words find what they are there for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "dev"))

from cycles import cycles_of  # noqa: E402
from words import problems_of, repeated_classes  # noqa: E402


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def problems(folder: Path, text: str) -> str:
    """All problems of a file with this text, in one string."""
    path = folder / "file.py"
    path.write_text(text, encoding="utf-8")
    return "\n".join(problems_of(path))


# Cycles


def test_an_import_inside_a_function_closes_a_cycle(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "pack/__init__.py": "",
            "pack/one.py": "import pack.other\n",
            "pack/other.py": "def late() -> None:\n    from pack.one import late\n",
        },
    )
    reported = "\n".join(cycles_of(tmp_path))
    assert "pack.one imports pack.other" in reported
    assert "pack.other imports pack.one" in reported


def test_an_import_for_types_only_closes_a_cycle(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "pack/__init__.py": "",
            "pack/one.py": "from typing import TYPE_CHECKING\n\n"
            "if TYPE_CHECKING:\n    from pack.other import Other\n",
            "pack/other.py": "from pack import one\n\nclass Other: ...\n",
        },
    )
    assert any("pack: " in each for each in cycles_of(tmp_path))


def test_folders_that_import_each_other_by_different_files_are_a_cycle(tmp_path: Path) -> None:
    files = {
        "pack/__init__.py": "",
        "pack/left/__init__.py": "",
        "pack/left/a.py": "from pack.right import b\n",
        "pack/left/c.py": "",
        "pack/right/__init__.py": "",
        "pack/right/b.py": "",
        "pack/right/d.py": "from pack.left.c import x\n",
    }
    write(tmp_path, files)
    [cycle] = cycles_of(tmp_path)
    assert cycle.startswith("pack: ")
    assert "pack.left.a imports pack.right.b" in cycle
    write(tmp_path, {"pack/right/d.py": ""})
    assert cycles_of(tmp_path) == []


def test_a_package_of_two_layers_has_no_cycle(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "pack/__init__.py": "",
            "pack/above.py": "from pack.below import low\n",
            "pack/below.py": "low = 1\n",
        },
    )
    assert cycles_of(tmp_path) == []


# Words


def test_a_class_name_that_stands_for_two_things_is_found(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "a.py": "class Row: ...\nclass _Part: ...\n",
            "b.py": "class Row: ...\nclass _Part: ...\n",
        },
    )
    [problem] = repeated_classes(sorted(tmp_path.glob("*.py")))
    assert "'Row'" in problem and "b.py:1" in problem


@pytest.mark.parametrize(
    "text",
    [
        "wanted = 1\n",
        "def heard() -> None: ...\n",
        "def f(lanes: int) -> None: ...\n",
        "class A:\n    def f(self) -> None:\n        self.told = 1\n",
        "class A:\n    def _beside(self) -> None: ...\n",
    ],
)
def test_a_coined_name_is_found_with_the_word_to_use(tmp_path: Path, text: str) -> None:
    assert "; rather: " in problems(tmp_path, text)


@pytest.mark.parametrize("word", ["learnt", "judged", "lane"])
def test_a_coined_word_is_found_in_docstrings_and_comments(tmp_path: Path, word: str) -> None:
    assert f"the word '{word}'" in problems(tmp_path, f'"""Tokens that are {word}."""\n')
    assert f"the word '{word}'" in problems(tmp_path, f"a = 1  # {word}\n")
    assert problems(tmp_path, f'text = "{word}"\n') == ""  # people may read it


@pytest.mark.parametrize("opener", ["Of", "As", "What", "Its", "Those", "Where"])
def test_a_fragment_of_a_docstring_is_found(tmp_path: Path, opener: str) -> None:
    for text in (
        f'"""{opener} the base."""\n',
        f'class A:\n    """{opener} the base."""\n',
        f'def f() -> int:\n    """{opener} the base."""\n',
    ):
        assert f"begins with '{opener}'" in problems(tmp_path, text)


def test_a_fragment_of_a_description_is_found(tmp_path: Path) -> None:
    text = '"""A row.\n\nArgs:\n    tokens: of the prompt.\n    where: the origin.\n"""\n'
    assert "a description begins with 'of' (tokens: of the prompt.)" in problems(tmp_path, text)
    assert "where" not in problems(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        "for each in rows:\n    print(each)\n",
        "def f(each: int) -> None: ...\n",
        "found_all = [\n    each\n    for each in rows\n    if each\n]\n",
    ],
)
def test_each_is_found_outside_of_short_comprehensions(tmp_path: Path, text: str) -> None:
    assert "'each' outside of a short comprehension" in problems(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        "rows = [each for each in rows]\n",
        "rows = [\n    each for each in rows]\n",
        "rows.sort(key=lambda each: each)\n",
        '"""A sentence that says what a thing is."""\n\nsequence = 1\n',
        'def f() -> int:\n    """Number of tokens in a batch."""\n    return 1\n',
    ],
)
def test_plain_words_pass(tmp_path: Path, text: str) -> None:
    assert problems(tmp_path, text) == ""


@pytest.mark.slow
def test_the_house_has_no_cycle() -> None:
    done = subprocess.run(
        [sys.executable, "dev/cycles.py"], capture_output=True, text=True, cwd=ROOT
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.slow
def test_the_house_has_plain_words() -> None:
    done = subprocess.run(
        [sys.executable, "dev/words.py"], capture_output=True, text=True, cwd=ROOT
    )
    assert (done.returncode, done.stdout) == (0, "")
