"""Headers of tables, and how their rows read."""

from __future__ import annotations

import pytest

from moli.retrieval.tables import header_of, read_row


@pytest.mark.parametrize(
    ("rows", "header"),
    [
        (["Part | Stock", "K010 | 31", "K095 | 4"], "Part | Stock"),
        (["Role | Person", "Director | Anna", "Clerk | Bob"], "Role | Person"),
        (["Region | 2023 | 2024", "North | 5 | 6", "South | 7 | 8"], "Region | 2023 | 2024"),
        (["Height | 12 m", "Width | 4 m"], ""),
        (["Model | Power | Note", "A1 | 5 W | ", "A2 | 7 W | red"], "Model | Power | Note"),
        (["Part | Stock"], ""),
        ([], ""),
    ],
)
def test_a_header_has_no_number_where_the_rows_have(rows: list[str], header: str) -> None:
    assert header_of(rows) == header


def test_a_row_reads_with_its_columns_and_without_blank_cells() -> None:
    assert read_row("Type | Power | Mass", "B |  | 3 kg") == "Type: B; Mass: 3 kg"
    assert read_row(" | Power", "B | 5 W") == "B; Power: 5 W"


def test_a_row_of_another_width_reads_without_columns() -> None:
    assert read_row("Type | Power", "B | 5 W | red") == "B; 5 W; red"
    assert read_row("", "B | 5 W") == "B; 5 W"
