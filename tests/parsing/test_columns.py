"""The order in which recognized lines are read, on pages whose order is known."""

from moli.parsing.pages.columns import in_columns
from moli.parsing.pages.segments import Segment

PROSE = "a full line of prose in a column of a page"


def line(text: str, left: float, top: float, width: float = 200.0) -> Segment:
    return Segment(text, left, top, left + width, top + 10, 10.0)


def column(name: str, left: float, top: float, rows: int, width: float = 200.0) -> list[Segment]:
    return [line(f"{PROSE} {name}{row}", left, top + 14 * row, width) for row in range(rows)]


def order(segments: list[Segment]) -> list[str]:
    return [segment.text.removeprefix(PROSE + " ") for segment in in_columns(segments)]


def test_columns_come_one_after_the_other_at_any_height() -> None:
    for offset in (0, 5):
        left, right = column("a", 0, 100, 5), column("b", 220, 100 + offset, 5)
        mixed = [segment for pair in zip(right, left, strict=True) for segment in pair]
        assert order(mixed) == [f"{name}{row}" for name in "ab" for row in range(5)]


def test_three_columns() -> None:
    parts = [column(name, 220 * index, 100, 5) for index, name in enumerate("abc")]
    assert order([part for side in parts for part in reversed(side)]) == [
        f"{name}{row}" for name in "abc" for row in range(5)
    ]


def test_a_title_across_columns_divides_them() -> None:
    upper = [*column("a", 0, 0, 4), *column("b", 220, 0, 4)]
    lower = [*column("c", 0, 100, 4), *column("d", 220, 100, 4)]
    title = line("A title across both columns", 60, 70, 300)
    assert order([*lower, title, *upper]) == [
        *(f"{name}{row}" for name in "ab" for row in range(4)),
        "A title across both columns",
        *(f"{name}{row}" for name in "cd" for row in range(4)),
    ]


def test_a_caption_between_columns_comes_after_them() -> None:
    """The lines beside it are shorter, and still of the columns."""
    left = [*column("a", 0, 0, 4), *column("b", 0, 56, 4, 160), *column("c", 0, 112, 4)]
    right = [*column("d", 220, 0, 4), *column("e", 260, 56, 4, 160), *column("f", 220, 112, 4)]
    caption = line("The caption", 170, 70, 80)
    assert order([*left, *right, caption]) == [
        *(f"{name}{row}" for name in "abcdef" for row in range(4)),
        "The caption",
    ]


def test_the_rows_of_a_table_stay_rows() -> None:
    names = ["Whole milk", "Brown bread", "Green tea", "Notebook", "Total"]
    cells = [
        line(text, left, 14 * row, 80)
        for row, name in enumerate(names)
        for text, left in ((f"{row}.40", 300), (name, 0))
    ]
    assert order(cells) == [text for row, name in enumerate(names) for text in (name, f"{row}.40")]
