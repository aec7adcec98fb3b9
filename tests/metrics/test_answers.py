"""Answer scores against what the official scripts' rules give by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moli.metrics.answers import (
    chinese_exact_match,
    chinese_f1,
    chinese_units,
    contains_answer,
    exact_match,
    f1,
    normalize,
)
from moli.records.errors import InputError


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The Denver Broncos", "denver broncos"),
        ("  an  Apple\ta day ", "apple day"),
        ("Levi's Stadium.", "levis stadium"),
        ("24–10", "24–10"),  # only ASCII punctuation goes
        ("the-end", "theend"),  # punctuation goes first, so this is no article
        ("A", ""),
        ("theatre", "theatre"),
        ("Super Bowl L", "super bowl l"),
    ],
)
def test_an_answer_is_normalised_as_by_the_official_script(text: str, normal: str) -> None:
    assert normalize(text) == normal


# Questions of SQuAD's development set with the references that it gives.
SANTA_CLARA = [
    "Santa Clara, California",
    "Levi's Stadium",
    "Levi's Stadium in the San Francisco Bay Area at Santa Clara, California.",
]
GOLD = ["gold", "gold", "golden anniversary"]


@pytest.mark.parametrize(
    ("prediction", "references", "exact", "shared"),
    [
        ("levis stadium", SANTA_CLARA, 1, 1),
        # 3 words, 2 of the reference's 2: precision 2/3, recall 1. The long reference, of 11
        # words without its article, shares all three: 1 and 3/11, which is less.
        ("Levi's Stadium, California", SANTA_CLARA, 0, 0.8),
        ("golden", GOLD, 0, 2 / 3),  # 1 of 1 and 1 of 2
        ("The Gold", GOLD, 1, 1),
        ("silver", GOLD, 0, 0),
        ("gold gold gold", ["gold"], 0, 0.5),  # a word is shared as often as both have it
        ("gold gold", ["gold gold gold"], 0, 0.8),
        ("", GOLD, 0, 0),
        ("the", ["a"], 1, 0),  # both are empty: version 1.1 matches them and shares no word
    ],
)
def test_squad_by_hand(prediction: str, references: list[str], exact: float, shared: float) -> None:
    assert exact_match(prediction, references) == exact
    assert f1(prediction, references) == pytest.approx(shared)


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("1,000米的3.5倍。", ["1,000", "米", "的", "3.5", "倍"]),
        ("使用 Python 3，版本", ["使", "用", "python", "3", "版", "本"]),
        ("COVID-19疫苗", ["covid19", "疫", "苗"]),  # the hyphen goes before words are parted
        ("《红楼梦》", ["红", "楼", "梦"]),
        ("50%", ["50", "%"]),  # CMRC leaves this mark in
        ("𠮷野", ["𠮷", "野"]),
        ("，。", []),
    ],
)
def test_chinese_is_counted_by_ideographs_and_whole_words(text: str, units: list[str]) -> None:
    assert chinese_units(text) == units


@pytest.mark.parametrize(
    ("prediction", "references", "exact", "shared"),
    [
        ("《红楼梦》", ["红楼梦"], 1, 1),
        ("曹雪芹的红楼梦", ["红楼梦"], 0, 2 * 3 / (7 + 3)),
        # A run and not a bag: 红楼 is the longest, though all three are in both.
        ("红楼之梦", ["红楼梦"], 0, 2 * 2 / (4 + 3)),
        ("梦楼红", ["红楼梦"], 0, 2 * 1 / (3 + 3)),
        ("使用python", ["Python", "使用 Python"], 0, 1),
        ("两小时", ["三天", "两小时", "两个小时"], 1, 1),
        ("无", ["有"], 0, 0),
        ("", ["有"], 0, 0),
    ],
)
def test_cmrc_by_hand(prediction: str, references: list[str], exact: float, shared: float) -> None:
    assert chinese_exact_match(prediction, references) == exact
    assert chinese_f1(prediction, references) == pytest.approx(shared)


@given(st.text("红楼梦a b", max_size=8), st.text("红楼梦a b", max_size=8))
def test_the_longest_run_is_that_of_every_run_tried(first: str, second: str) -> None:
    one, other = chinese_units(first), chinese_units(second)

    def runs(units: list[str]) -> set[tuple[str, ...]]:
        spans = ((i, j) for i in range(len(units)) for j in range(i + 1, len(units) + 1))
        return {tuple(units[i:j]) for i, j in spans}

    longest = max(map(len, runs(one) & runs(other)), default=0)
    expected = 2 * longest / (len(one) + len(other)) if longest else 0.0
    assert chinese_f1(first, [second]) == pytest.approx(expected)


@pytest.mark.parametrize("score", [exact_match, f1, chinese_exact_match, chinese_f1])
def test_an_answer_needs_a_reference(score: object) -> None:
    assert callable(score)
    with pytest.raises(InputError, match="no reference"):
        score("x", [])


@pytest.mark.parametrize(
    ("text", "references", "expected"),
    [
        ("The fee is 15 euros.", ["5 euros"], 0),
        ("The fee is 5 euros.", ["5 euros"], 1),
        ("The fee is 5.5 euros.", ["5 euros"], 0),
        ("It costs 1,200 Euros!", ["1200 euros"], 1),
        ("Anna leads the sales team.", ["a sales team"], 1),
        ("Anna leads sales.", ["Jonas", "ANNA"], 1),
        ("保修期为十八个月。", ["十八个月"], 1),
        ("保修期为十八个月。", ["八个月"], 0),
        ("保修期为18个月。", ["8个月"], 0),
        ("价格：１２００元", ["1200元"], 1),
        ("Backups run at night.", ["Backups run at night. They end at 2."], 1),
        ("Backups run.", ["Backups run at night, and they end at 2 if all goes well."], 0),
        ("", ["anything"], 0),
        ("anything", ["?"], 0),
        ("...", ["?"], 0),
    ],
)
def test_a_text_contains_an_answer_if_it_has_its_words_in_a_row(
    text: str, references: list[str], expected: float
) -> None:
    assert contains_answer(text, references) == expected
