"""Codes of questions and texts, in the form in which they are compared."""

from __future__ import annotations

import pytest

from moli.retrieval.codes import code_forms, codes_in, shape


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("What is bridge B7 made of?", ["B7"]),
        ("error E-4021 in M8x25", ["E-4021", "M8x25"]),
        ("version 2.1.10 of COVID-19", ["2.1.10", "COVID-19"]),
        ("機台 M-204 和 3B7", ["M-204", "3B7"]),
        ("flat 12b", ["12b"]),
        ("5km, 20th, 1990s, 3pm, 60kwh", []),
        ("in 2025 at 3.5 percent", []),
    ],
)
def test_codes_are_letters_with_digits_and_no_quantities(text: str, codes: list[str]) -> None:
    result = codes_in(text)
    assert [code.text for code in result] == codes
    assert [text[slice(*code.span)] for code in result] == codes


def test_forms_leave_out_how_a_code_is_written() -> None:
    assert [code.form for code in codes_in("E-4021")] == ["e4021"]
    for text in ("E-4021", "E4021", "e 4021", "Ｅ４０２１", "Error E4021."):
        assert "e4021" in code_forms(text)
    assert "e4021" not in code_forms("E-4012")


def test_codes_of_one_series_have_one_shape() -> None:
    assert shape("b7") == shape("b12") == "A0"
    assert shape("m8x25") != shape("m204")
