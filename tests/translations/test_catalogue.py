from __future__ import annotations

import string
from pathlib import Path

import pytest

from moli.translations.catalogue import Catalogue, load_catalogue, read_entries
from moli.translations.preference import preferred_language

CATALOGUE = Catalogue(
    {
        "no model is called '{name}'": "没有名为 {name} 的模型",
        "Did you mean {near}?": "是 {near} 吗？",
        "{count:n} rows": "{count} 行",
        "{count:n} rows are malformed": "{count} 行格式不对",
        "Give {names:w}.": "请给出 {names}。",
        "cannot be read ({error})": "无法读取（{error}）",
        'Write {{"role": ...}}.': '请写 {{"role": ...}}。',
        "name": "名字",
        "{part} of {whole}": "{whole} 的 {part}",
    }
)


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("no model is called 'a b'", "没有名为 a b 的模型"),
        ("7 rows", "7 行"),
        ("1,234 rows are malformed", "1,234 行格式不对"),
        ("some rows", "some rows"),
        ("Give .csv, .jsonl.", "请给出 .csv, .jsonl。"),
        ("Give up at once.", "Give up at once."),
        ('Write {"role": ...}.', '请写 {"role": ...}。'),
        ("name", "名字"),
        ("one of all", "all 的 one"),
        # A name within a message stays, and a message within a message is translated.
        ("no model is called 'name'", "没有名为 name 的模型"),
        ("cannot be read (no model is called 'x')", "无法读取（没有名为 x 的模型）"),
        # Parts of what is no entry: sentences, items, and what stands behind a place.
        ("no model is called 'x'. Did you mean y?", "没有名为 x 的模型。是 y 吗？"),
        ("3 rows, 4 rows", "3 行，4 行"),
        ("name: 3 rows.", "name: 3 行。"),
        ("one of all. Did you mean y?", "all 的 one。是 y 吗？"),
        ("a.csv:3: cannot be read (x). Did you mean y?", "a.csv:3: 无法读取（x）。是 y 吗？"),
        ("nothing that is known, at all", "nothing that is known, at all"),
        ("", ""),
    ],
)
def test_a_message_is_translated_with_its_values(english: str, chinese: str) -> None:
    assert CATALOGUE.translate(english) == chinese


def test_every_translation_has_the_names_of_its_message_and_no_others() -> None:
    for message, translation in read_entries("zh").items():
        names = [name for _, name, *_ in string.Formatter().parse(message) if name is not None]
        assert len(names) == len(set(names)), message
        used = {name for _, name, *_ in string.Formatter().parse(translation) if name is not None}
        assert used == set(names), message


def test_every_message_becomes_its_own_translation() -> None:
    catalogue = load_catalogue("zh")
    for message, translation in read_entries("zh").items():
        parts = list(string.Formatter().parse(message))
        values = {
            name: "7" if spec == "n" else "Xyz" for _, name, spec, _ in parts if name is not None
        }
        plain = "".join(literal + values.get(name or "", "") for literal, name, *_ in parts)
        assert catalogue.translate(plain) == translation.format(**values), message


@pytest.mark.parametrize(
    ("variables", "toml", "language"),
    [
        ({}, "", "en"),
        ({"LANG": "zh_CN.UTF-8"}, "", "zh"),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "zh_CN"}, "", "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_MESSAGES": "en_GB"}, "", "en"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "", "en"),
        ({"LANG": "zh_CN.UTF-8", "LANGUAGE": "en_US:zh"}, "", "en"),
        ({"LANG": "C", "LANGUAGE": "zh"}, "", "en"),
        ({"LANG": "fr_FR"}, "", "en"),
        ({"LANG": "zh_TW"}, "language = 'en'", "en"),
        ({"LANG": "en_US"}, "language = 'zh'", "zh"),
        ({"MOLI_LANGUAGE": "en"}, "language = 'zh'", "en"),
        ({"MOLI_LANGUAGE": "zh"}, "not toml", "zh"),
        ({"LANG": "zh_CN"}, "not toml", "zh"),
        ({"LANG": "zh_CN"}, "language = 7", "en"),
    ],
)
def test_the_language_is_that_of_variable_file_or_locale(
    tmp_path: Path, variables: dict[str, str], toml: str, language: str
) -> None:
    (tmp_path / "moli.toml").write_text(toml, encoding="utf-8")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert preferred_language(below, variables) == language
