"""Numbers and dates against values worked out by hand."""

from __future__ import annotations

import unicodedata

import pytest

from moli.retrieval.numerals import chinese_value, dates_in, numbers_in


@pytest.mark.parametrize(
    ("numeral", "value"),
    [
        ("零", 0), ("十", 10), ("十五", 15), ("二十", 20), ("百", 100), ("两百", 200),
        ("三百一十五", 315), ("一千零一", 1001), ("二〇二五", 2025), ("两万", 20_000),
        ("三万五千", 35_000), ("一亿二千万", 120_000_000),
    ],
)  # fmt: skip
def test_chinese_numerals(numeral: str, value: int) -> None:
    assert chinese_value(numeral) == value


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,250 units at 3.50 and 007", {"1250", "3.5", "7"}),
        ("twelve of 20", {"12", "20"}),
        ("满五年给十四天", {"5", "14"}),
        ("２０２５年", {"2025"}),
        ("Type II and phase IV, as I said", {"2", "4"}),
        ("no numbers here", set()),
    ],
)
def test_numbers_have_one_form(text: str, values: set[str]) -> None:
    assert {each.value for each in numbers_in(unicodedata.normalize("NFKC", text))} == values


@pytest.mark.parametrize(
    "question",
    ["哪一年？", "一共多少钱", "一锅要多少", "万一丢了", "哪两个？", "星期几", "四川吗"],
)
def test_numerals_that_count_nothing_are_no_numbers_of_a_question(question: str) -> None:
    assert numbers_in(question, question=True) == []


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("on March 3, 2025 at", ("2025", "3", "3")),
        ("on 3 March 2025", ("2025", "3", "3")),
        ("on the 3rd of March", ("", "3", "3")),
        ("2025-03-03", ("2025", "3", "3")),
        ("3.3.2025", ("2025", "3", "3")),
        ("2025/12/24", ("2025", "12", "24")),
        ("2025年3月3日", ("2025", "3", "3")),
        ("十二月二十四日", ("", "12", "24")),
        ("二〇二五年三月三號", ("2025", "3", "3")),
    ],
)
def test_dates_have_one_form(text: str, parts: tuple[str, str, str]) -> None:
    (date,) = dates_in(text)
    assert date.parts == parts
    assert text[slice(*date.span)] == date.text


@pytest.mark.parametrize(
    "text", ["sales decreased 12 percent", "they marched 20 miles", "2〇25年3月1日", "1十月5日"]
)
def test_what_only_looks_like_a_date_is_none(text: str) -> None:
    assert [date for date in dates_in(text) if date.text == text] == []
    assert all("percent" not in date.text and "march" not in date.text for date in dates_in(text))


def test_a_number_of_myriads_is_written_out() -> None:
    assert {number.value for number in numbers_in("共1.5万人，3 亿元")} == {"15000", "300000000"}
