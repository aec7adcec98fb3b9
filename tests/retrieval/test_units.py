"""Units that questions ask for, and texts that have them."""

from __future__ import annotations

import pytest

from moli.retrieval.tokens import fold
from moli.retrieval.units import has_unit, is_quantity, requested_unit


@pytest.mark.parametrize(
    ("question", "unit"),
    [
        ("How many litres does it hold?", ("litres", ("volume",))),
        ("How long is the tunnel in miles?", ("miles", ("length",))),
        ("這輛車重多少公斤？", ("公斤", ("mass",))),
        ("油压是多少磅？", ("磅", ("mass", "pressure"))),
        ("How many people came?", None),
        ("一共有几个人？", None),
    ],
)
def test_a_question_asks_for_a_unit(
    question: str, unit: tuple[str, tuple[str, ...]] | None
) -> None:
    assert requested_unit(question) == unit


@pytest.mark.parametrize(
    ("family", "has", "lacks"),
    [
        ("length", "It is 4 km long.", "It weighs 40 kg."),
        ("length", "全长3.5米", "重三百公斤"),
        ("volume", "Holds 12 litres", "Holds 12 people"),
        ("temperature", "at 40 °C", "at 40 kg"),
        ("speed", "80 km/h", "80 km"),
    ],
)
def test_a_text_has_a_unit_of_a_family(family: str, has: str, lacks: str) -> None:
    assert has_unit(family, fold(has))
    assert not has_unit(family, fold(lacks))


def test_quantities_are_numbers_with_a_unit_or_an_ending() -> None:
    assert all(map(is_quantity, ["5km", "20th", "1990s", "3pm", "2.5KG", "50%"]))
    assert not any(map(is_quantity, ["12b", "B7", "5", "km"]))
