"""Compiled maps, read by the tokenizers library."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import normalizers

from moli.models.encoders.normalization import compile_map, with_decomposed

LETTERS = st.characters(exclude_categories=["Cs", "Mn", "Me", "Mc"], exclude_characters="\0")
TEXTS = st.text(LETTERS, max_size=3)


@given(st.dictionaries(LETTERS, TEXTS, min_size=1, max_size=60), st.lists(LETTERS, max_size=20))
def test_each_character_becomes_what_the_map_says(
    replacements: dict[str, str], others: list[str]
) -> None:
    normalizer = normalizers.Precompiled(compile_map(replacements))
    for character in (*replacements, *others):
        assert normalizer.normalize_str(character) == replacements.get(character, character)


@pytest.mark.slow
def test_no_other_character_changes() -> None:
    replacements = {
        character: normal
        for character in map(chr, range(0x80, 0xD800))
        if (normal := unicodedata.normalize("NFKC", character)) != character
    }
    normalizer = normalizers.Precompiled(compile_map(replacements))
    for character in map(chr, (*range(1, 0xD800), *range(0xE000, 0x30000))):
        expected = replacements.get(character, character)
        assert normalizer.normalize_str(character) == expected, hex(ord(character))


@pytest.mark.parametrize("composed", ["é", "ü", "ñ", "Å", "Й", "ϊ", "ő"])
def test_letters_and_marks_are_composed(composed: str) -> None:
    normalizer = normalizers.Precompiled(
        compile_map(with_decomposed({"\u212b": "\u00c5", "\t": " "}))
    )
    assert normalizer.normalize_str(unicodedata.normalize("NFD", composed)) == composed


def test_a_composed_letter_that_is_replaced_is_replaced_decomposed_as_well() -> None:
    normalizer = normalizers.Precompiled(compile_map(with_decomposed({"é": "e"})))
    assert normalizer.normalize_str("e\u0301 é") == "e e"
