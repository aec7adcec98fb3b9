"""PDF, against pages whose text and layout are known because they are made here."""

import hashlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pypdfium2 as pdfium
import pytest
from parsing.pdf_writer import write_pdf

from moli.parsing import Limits, Sandbox, parse_bytes, parse_file
from moli.parsing.pages.running import is_page_number
from moli.records.documents import page_at
from moli.records.errors import DocumentError

MakePdf = Callable[[list[list[tuple[float, float, float, str]]]], Path]

LEFT = [
    "The left column begins with a sentence that is long",
    "enough to fill the line and goes on to the following",
    "lines without any break, so that a reader who quotes",
    "it would write it as a single sentence, as we do now.",
    "A second sentence of the left column then follows it",
    "and ends the column with a word that no other has: x.",
]
RIGHT = [line.replace("left", "right").replace(": x", ": y") for line in LEFT]
PADDING = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")


def columns(order: str) -> list[tuple[float, float, float, str]]:
    left = [(50.0, 700.0 - 12 * n, 10.0, line) for n, line in enumerate(LEFT)]
    right = [(320.0, 700.0 - 12 * n, 10.0, line) for n, line in enumerate(RIGHT)]
    title = [(50.0, 730.0, 18.0, "A title across both columns")]
    if order == "by column":
        return title + left + right
    if order == "title last":
        return left + right + title
    return title + [line for pair in zip(left, right, strict=True) for line in pair]


@pytest.mark.parametrize("order", ["by column", "by line", "title last"])
def test_columns_are_read_one_after_the_other(make_pdf: MakePdf, order: str) -> None:
    document = parse_file(make_pdf([columns(order)]))
    expected = ["A title across both columns", " ".join(LEFT), " ".join(RIGHT)]
    assert document.text == "\n\n".join(expected)
    assert [heading.text for heading in document.headings] == expected[:1]


def test_a_table_is_read_by_row(make_pdf: MakePdf) -> None:
    rows = [["Item", "Price", "Stock"], ["Bolt", "0.20", "1000"], ["Nut", "0.10", "250"]]
    page = [
        (60.0 + 150 * column, 600.0 - 14 * row, 10.0, cell)
        for row, cells in enumerate(rows)
        for column, cell in enumerate(cells)
    ]
    text = parse_file(make_pdf([page])).text
    assert text == "Item | Price | Stock\nBolt | 0.20 | 1000\nNut | 0.10 | 250"


def test_divided_words_are_joined(make_pdf: MakePdf) -> None:
    lines = [
        "The establishment of this rule was an impor-",
        "tant step; the well-known state-of-the-art re-",
        "mains as it was in the years 1990-1995 and it",
        "is still short.",
    ]
    page = [(50.0, 700.0 - 12 * n, 10.0, line) for n, line in enumerate(lines)]
    assert parse_file(make_pdf([page])).text == (
        "The establishment of this rule was an important step; the well-known state-of-the-art "
        "remains as it was in the years 1990-1995 and it is still short."
    )


def test_paragraphs_and_lists(make_pdf: MakePdf) -> None:
    lines = [
        (50, 700, "This paragraph fills its first line from one side to the other and"),
        (50, 688, "then ends early."),
        (50, 676, "The next begins without an indent, and since the line above had all the"),
        (50, 664, "room for its first word it must be another paragraph."),
        (50, 640, "\x95 first item"),
        (50, 628, "\x95 second item"),
        (50, 604, "1. numbered"),
        (50, 592, "2. again"),
    ]
    document = parse_bytes(
        write_pdf([[(x, y, 10.0, text) for x, y, text in lines]], font=LATIN), "a"
    )
    assert document.text.split("\n\n") == [
        f"{lines[0][2]} {lines[1][2]}",
        f"{lines[2][2]} {lines[3][2]}",
        "- first item\n- second item",
        "1. numbered\n2. again",
    ]


LATIN = "/Encoding /WinAnsiEncoding"


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_turned_pages_read_the_same(turn: int) -> None:
    data = write_pdf([columns("by column")], extra=f"/Rotate {turn}")
    assert parse_bytes(data, "a.pdf").text.startswith("A title across both columns\n\nThe left")


def test_text_drawn_sideways() -> None:
    data = write_pdf([columns("by column")], matrix="0 1 -1 0 700 0")
    assert parse_bytes(data, "a.pdf").text.split("\n\n")[1:] == [" ".join(LEFT), " ".join(RIGHT)]


def test_bookmarks_become_headings() -> None:
    page = [(50.0, 700.0, 10.0, "1 Scope"), (50.0, 688.0, 10.0, "This is about scope."),
            (50.0, 676.0, 10.0, "1.1 Terms"), (50.0, 664.0, 10.0, "Terms are words.")]  # fmt: skip
    document = parse_bytes(
        write_pdf([page, page], bookmarks=[("1 Scope", 0), ("1.1 Terms", 1)]), "a"
    )
    headings = [(heading.text, heading.level) for heading in document.headings]
    assert headings == [("1 Scope", 1), ("1.1 Terms", 1)]
    pages = [page_at(document.pages, heading.offset) for heading in document.headings]
    assert pages == [1, 2]
    assert all(document.text[h.offset :].startswith(h.text + "\n\n") for h in document.headings)


@pytest.mark.slow
def test_many_pages_in_little_memory(tmp_path: Path) -> None:
    count = 700
    path = tmp_path / "long.pdf"
    empty = {7, 699}
    path.write_bytes(write_pdf([
        [] if number in empty else
        [(50.0, 700.0 - 12 * n, 10.0, f"{line} {number}") for n, line in enumerate(LEFT * 4)]
        for number in range(count)
    ]))  # fmt: skip
    with Sandbox(Limits(memory_bytes=400 << 20)) as sandbox:
        document = sandbox.parse(path)
    assert len(document.pages) == count
    truth = pdfium.PdfDocument(path)
    for number in range(0, count, 33):
        text = truth[number].get_textpage().get_text_range()
        if not text:
            continue
        assert document.text[document.pages[number] :].startswith(text[:40])
        assert page_at(document.pages, document.text.index(f"now. {number} ")) == number + 1
    assert document.pages[7] == document.pages[8]


@pytest.mark.slow
def test_passwords() -> None:
    plain = [[(50.0, 700.0, 12.0, "A secret sentence for your eyes.")]]
    assert "secret sentence" in parse_bytes(encrypted(plain, b""), "open.pdf").text
    with pytest.raises(DocumentError) as caught:
        parse_bytes(encrypted(plain, b"password"), "locked.pdf")
    assert caught.value.reason == "encrypted"


def rc4(key: bytes, data: bytes) -> bytes:
    state = list(range(256))
    j = 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    out, i, j = bytearray(), 0, 0
    for byte in data:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) % 256])
    return bytes(out)


def encrypted(pages: list[list[tuple[float, float, float, str]]], user: bytes) -> bytes:
    """A PDF under the standard security handler, revision 2: RC4 with 40 bits."""
    identifier, permissions = bytes(16), -44
    padded = (user + PADDING)[:32]
    owner = rc4(hashlib.md5((b"owner" + PADDING)[:32]).digest()[:5], padded)
    seed = padded + owner + permissions.to_bytes(4, "little", signed=True) + identifier
    key = hashlib.md5(seed).digest()[:5]
    trailer = (
        f"/Encrypt << /Filter /Standard /V 1 /R 2 /P {permissions} /O <{owner.hex()}>"
        f" /U <{rc4(key, PADDING).hex()}> >> /ID [<{identifier.hex()}> <{identifier.hex()}>]"
    )

    def cipher(number: int, stream: bytes) -> bytes:
        return rc4(hashlib.md5(key + number.to_bytes(3, "little") + bytes(2)).digest()[:10], stream)

    return write_pdf(pages, trailer=trailer, cipher=cipher)


GRID_X, GRID_Y = (50, 140, 220, 300, 380), (600, 580, 560, 540)
GRID = "\n".join(
    [f"{x} {GRID_Y[0]} m {x} {GRID_Y[-1]} l S" for x in GRID_X]
    + [f"{GRID_X[0]} {y} m {GRID_X[-1]} {y} l S" for y in GRID_Y]
)
GRID_CELLS = [["Type", "Power", "Voltage", "Mass"], ["B", "1500 W", "230 V", ""],
              ["C", "", "400 V", "12 kg"]]  # fmt: skip
GRID_ROWS = "Type | Power | Voltage | Mass\nB | 1500 W | 230 V\nC |  | 400 V | 12 kg"


@pytest.mark.parametrize("style", ["lines", "boxes", "shades", "inner lines"])
def test_a_ruled_table_keeps_its_columns(style: str) -> None:
    boxes = [(x, y, right - x, y - below) for x, right in pairwise(GRID_X)
             for y, below in pairwise(GRID_Y)]  # fmt: skip
    drawn = {
        "lines": GRID,
        "boxes": "\n".join(f"{x} {y - h} {w} {h} re S" for x, y, w, h in boxes),
        "shades": "0.9 g\n" + "\n".join(
            f"{x + 1} {y - h + 1} {w - 2} {h - 2} re f" for x, y, w, h in boxes) + "\n0 g",
        "inner lines": "\n".join(
            [f"{x} 600 m {x} 540 l S" for x in GRID_X[1:-1]]
            + [f"50 {y} m 380 {y} l S" for y in GRID_Y[1:-1]]),
    }[style]  # fmt: skip
    # Right-aligned, so that neighbours nearly touch.
    cells = [
        (GRID_X[n + 1] - 4 - 5.2 * len(cell), y - 14, 10, cell)
        for y, row in zip(GRID_Y, GRID_CELLS, strict=False)
        for n, cell in enumerate(row)
    ]
    page = [(50, 700, 10, "A sentence above."), *cells, (50, 500, 10, "A sentence below.")]
    text = parse_bytes(write_pdf([page], drawn=drawn), "a.pdf").text
    assert text == f"A sentence above.\n\n{GRID_ROWS}\n\nA sentence below."


def test_lines_of_a_cell_are_joined_and_merged_cells_repeated() -> None:
    drawn = ("50 600 m 300 600 l S 50 560 m 300 560 l S 150 580 m 300 580 l S 50 540 m 300 540 l S "
             "50 600 m 50 540 l S 150 600 m 150 540 l S 300 600 m 300 540 l S")  # fmt: skip
    page = [(55, 588, 9, "Heavy duty"), (55, 577, 9, "type D"), (155, 586, 9, "400 V"),
            (155, 566, 9, "black"), (55, 546, 9, "E"), (155, 546, 9, "grey")]  # fmt: skip
    text = parse_bytes(write_pdf([page], drawn=drawn), "a.pdf").text
    assert text == "Heavy duty type D | 400 V\nHeavy duty type D | black\nE | grey"


def test_a_frame_around_prose_is_no_table() -> None:
    drawn = "40 712 m 600 712 l S 40 600 m 600 600 l S 40 712 m 40 600 l S 600 712 m 600 600 l S"
    text = parse_bytes(write_pdf([columns("by line")], drawn=drawn), "a.pdf").text
    assert " ".join(LEFT) in text and " ".join(RIGHT) in text


def house_rules(
    count: int, *, number: str = "Page {} of 9"
) -> list[list[tuple[float, float, float, str]]]:
    pages = []
    for page in range(1, count + 1):
        lines = [
            f"Page {page} begins here and says in two lines of text that go across the page that",
            f"the keys of house {page} are kept in the cellar, and that whoever needs them asks",
            f"the porter of house {page}, who writes down who took them and when they are back in",
        ]
        if page > 1:
            lines.insert(
                0,
                f"Cabinet {page - 1}. It is locked at night, and nobody else has its code,",
            )
        pages.append([
            (50, 760, 9, "House rules, revision 9"), (500, 30, 9, number.format(page)),
            *((50, 700 - 12 * n, 10, line) for n, line in enumerate(lines)),
        ])  # fmt: skip
    return pages


@pytest.mark.parametrize("number", ["{}", "- {} -", "Page {} of 9", "Flat rules - {}"])
def test_running_heads_stand_once_and_sentences_run_on(make_pdf: MakePdf, number: str) -> None:
    document = parse_file(make_pdf(house_rules(4, number=number)))
    assert document.text.count("House rules, revision 9") == 1
    assert " of 9" not in document.text and "- 1 -" not in document.text
    for page in range(1, 4):
        sentence = f"when they are back in Cabinet {page}. It is locked"
        assert sentence in document.text
        start = document.text.index(f"Cabinet {page}.")
        assert page_at(document.pages, start) == page + 1
        assert page_at(document.pages, start - 1) == page


def test_a_word_runs_on_over_the_page_break(make_pdf: MakePdf) -> None:
    pages = [
        [(50, 100, 10, "The rules of the house were changed in the year of the great reno-")],
        [(50, 700, 10, "vation of the cellar, which took place in 1995, and again later on.")],
    ]
    document = parse_file(make_pdf(pages))
    assert document.text == (
        "The rules of the house were changed in the year of the great renovation of the cellar, "
        "which took place in 1995, and again later on."
    )
    assert document.pages == (0, document.text.index("vation"))


def test_what_repeats_without_standing_apart_is_no_running_head(make_pdf: MakePdf) -> None:
    pages = [[(50.0, 700.0 - 12 * n, 10.0, f"{line} {page}") for n, line in enumerate(LEFT)]
             for page in range(4)]  # fmt: skip
    assert parse_file(make_pdf(pages)).text.count("The left column begins") == 4


@pytest.mark.parametrize("line", ["Invoice {}", "Week {}"])
def test_numbers_of_another_kind_are_kept(make_pdf: MakePdf, line: str) -> None:
    pages = [[(50.0, 760.0, 9.0, line.format(page)), (50.0, 600.0, 10.0, f"Sum of sheet {page}.")]
             for page in range(1, 6)]  # fmt: skip
    text = parse_file(make_pdf(pages)).text
    assert all(line.format(page) in text for page in range(1, 6))


def test_a_table_at_the_end_of_every_page_is_no_running_foot(make_pdf: MakePdf) -> None:
    pages = []
    for month, count in enumerate(("200", "201", "202"), start=1):
        table = (("Item", "Count"), ("Boxes", count), ("Tape", "roll"))
        pages.append([
            (50.0, 500.0, 10.0, f"The stock of month {month}, as counted by the clerk on duty."),
            *((left, 110.0 - 20 * row, 10.0, text) for row, cells in enumerate(table)
              for left, text in zip((50.0, 200.0), cells, strict=True)),
            (280.0, 30.0, 9.0, f"Page {month} of 3"),
        ])  # fmt: skip
    text = parse_file(make_pdf(pages)).text
    for count in ("200", "201", "202"):
        assert f"Item | Count\nBoxes | {count}\nTape | roll" in text


def test_comments_follow_the_text_of_their_page() -> None:
    place = "/Type /Annot /Rect [9 9 20 20]"
    notes = (
        f"/Annots [<< {place} /Subtype /Text /T (Ruth) /Contents (Paid.) >>"
        f" << {place} /Subtype /Highlight /Contents <FEFF4ED86B3E> >>"
        f" << {place} /Subtype /Link /Contents (a link) >>]"
    )
    data = write_pdf([[(50, 700, 10, "The fee is due.")]], extra=notes)
    text = parse_bytes(data, "a.pdf").text
    assert text == "The fee is due.\n\n[Comment by Ruth: Paid.]\n\n[Comment: 付款]"


def test_the_label_of_a_figure_is_no_running_foot(make_pdf: MakePdf) -> None:
    pages = [
        [(50.0, 600.0, 10.0, f"The pay of person {n} for the month of May."),
         (50.0, 60.0, 10.0, "Net pay"), (300.0, 60.0, 10.0, amount)]
        for n, amount in enumerate(("1,204.50", "998.00", "2,310.75"))
    ]  # fmt: skip
    text = parse_file(make_pdf(pages)).text
    assert text.count("Net pay") == 3


def test_the_title_of_several_slides_is_no_running_head(make_pdf: MakePdf) -> None:
    pages = [[(50.0, 700.0, 20.0, "Results"), (50.0, 600.0, 10.0, f"Those of the region {page}.")]
             for page in range(5)]  # fmt: skip
    assert parse_file(make_pdf(pages)).text.count("Results") == 5


@pytest.mark.parametrize(
    ("text", "is_number"),
    [
        ("12", True), ("- 3 -", True), ("Page 3 of 12", True), ("第3页", True), ("xiv", True),
        ("第 3 页 共 12 页", True), ("3/12", True), ("Seite 4 von 9", True),
        ("Rule 3", False), ("Page", False), ("2026 plan", False), ("", False),
    ],
)  # fmt: skip
def test_page_numbers(text: str, is_number: bool) -> None:
    assert is_page_number(text) is is_number


def test_a_table_goes_on_over_the_page_break() -> None:
    pages = [
        [(x + 4, y - 14, 10, letters[n]) for y in GRID_Y[:-1] for n, x in enumerate(GRID_X[:3])]
        for letters in ("abc", "xyz")
    ]
    document = parse_bytes(write_pdf(pages, drawn=GRID), "a.pdf")
    assert document.text == "\n".join(["a | b | c"] * 3 + ["x | y | z"] * 3)
    assert document.pages == (0, len("a | b | c\n" * 3))
