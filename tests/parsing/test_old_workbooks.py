"""Workbooks of the old Excel format, written here by a library that shares no code with ours."""

import datetime
import io
import re
from pathlib import Path

import openpyxl
import pytest
import xlwt

from moli.parsing import detect, parse_bytes
from moli.records.documents import ParsedDocument
from moli.records.errors import DocumentError

DAY = datetime.date(2024, 2, 29)


def saved(book: xlwt.Workbook) -> bytes:
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def with_format(code: str) -> xlwt.XFStyle:
    return xlwt.easyxf(num_format_str=code)


def sheet_of(*values: tuple[object, str], since_1904: bool = False) -> ParsedDocument:
    book = xlwt.Workbook()
    book.dates_1904 = since_1904
    sheet = book.add_sheet("Sheet1")
    for column, (value, code) in enumerate(values):
        sheet.write(0, column, value, with_format(code))
    return parse_bytes(saved(book), "a.xls")


def test_sheets_and_tables() -> None:
    book = xlwt.Workbook()
    prices = book.add_sheet("Prices")
    for column, text in enumerate(("item", "price", "ok")):
        prices.write(0, column, text)
    prices.write(1, 0, "螺栓")
    prices.write(1, 1, 0.1 + 0.2)
    prices.write(1, 2, True)
    prices.write(4, 0, "a note below")
    other = book.add_sheet("Sheet2")
    other.write_merge(1, 3, 1, 1, 1)
    for row, text in enumerate((2, 3, 4), start=1):
        other.write(row, 2, text)
    for row in (1, 2):
        other.write(row, 5, "r")
        other.write(row, 6, "s")
    book.add_sheet("Empty")
    hidden = book.add_sheet("Secret")
    hidden.visibility = 1
    hidden.write(0, 0, "not shown")
    document = parse_bytes(saved(book), "a.xls")
    assert re.split(r"\n+", document.text) == [
        "Prices",
        "item | price | ok",
        "螺栓 | 0.3 | TRUE",
        "a note below",
        "1 | 2",
        "1 | 3",
        "1 | 4",
        "r | s",
        "r | s",
        "Empty",
        "Secret",
        "not shown",
    ]
    assert [heading.text for heading in document.headings] == ["Prices", "Empty", "Secret"]
    assert len(document.pages) == 4
    assert document.warnings == ("hidden sheets are included",)


def test_page_headers_stand_once() -> None:
    book = xlwt.Workbook()
    for name in ("Prices", "Parts"):
        sheet = book.add_sheet(name)
        sheet.write(0, 0, f"the {name.lower()}")
        sheet.header_str = b"&LContract LX-5521&RDraft &A"
        sheet.footer_str = b"&CPage &P of &N" if name == "Prices" else b"&8R&&D department"
    assert re.split(r"\n+", parse_bytes(saved(book), "a.xls").text) == [
        "Prices", "the prices", "Contract LX-5521 Draft", "Parts", "the parts", "R&D department",
    ]  # fmt: skip


def test_numbers_as_they_are_shown() -> None:
    document = sheet_of(
        (0.125, "0.0%"),
        (DAY, "dd.mm.yyyy"),
        (datetime.datetime(2024, 2, 29, 13, 5), "yyyy-mm-dd hh:mm"),
        (datetime.time(6, 30), "hh:mm"),
        (30.25 / 24, "[h]:mm"),
        (12345678901234, "General"),
        (1 / 3, "General"),
        (82.5, '0.0" days"'),
    )
    assert document.text == (
        "12.5% | 29.02.2024 | 2024-02-29 13:05 | 06:30 | 30:15 | 12345678901234"
        " | 0.333333333333333 | 82.5 days"
    )


@pytest.mark.parametrize("since_1904", [False, True])
def test_dates_count_from_the_day_of_the_workbook(since_1904: bool) -> None:
    assert sheet_of((DAY, "yyyy-mm-dd"), since_1904=since_1904).text == "2024-02-29"


@pytest.mark.slow
def test_a_corner_cell_costs_little() -> None:
    book = xlwt.Workbook()
    for number in range(6):
        sheet = book.add_sheet(f"Sheet{number}")
        sheet.write(0, 0, "start")
        sheet.write(65_535, 255, "corner")
    assert parse_bytes(saved(book), "a.xls").text.count("corner") == 6


def refusal(data: bytes) -> DocumentError:
    with pytest.raises(DocumentError) as caught:
        parse_bytes(data, "a.xls")
    assert caught.value.fix
    return caught.value


def workbook() -> bytes:
    book = xlwt.Workbook()
    sheet = book.add_sheet("Sheet1")
    for row in range(200):
        sheet.write(row, 0, f"text {row}")
    return saved(book)


def test_a_password_is_reported() -> None:
    # Its record 0x19 (windows are protected) becomes 0x2F (contents are encrypted).
    locked = workbook().replace(b"\x19\0\x02\0", b"\x2f\0\x02\0", 1)
    assert refusal(locked).reason == "encrypted"


def test_damage_is_reported() -> None:
    whole = workbook()
    for length in range(600, len(whole) - 1000, 997):
        assert refusal(whole[:length]).reason in ("broken", "unsupported", "misnamed")
    for position in range(512, len(whole), 331):
        damaged = bytearray(whole)
        damaged[position : position + 40] = b"\xee" * 40
        try:
            parse_bytes(bytes(damaged), "a.xls")
        except DocumentError as error:
            assert error.reason in ("broken", "encrypted", "empty", "misnamed")


def test_the_suffix_is_often_given_to_other_files(tmp_path: Path) -> None:
    assert parse_bytes(b"<html><body><table><tr><td>a<td>b", "a.xls").text == "a | b"
    assert parse_bytes(b"a\tb\n1\t2\n", "a.xls").text
    path = tmp_path / "new.xlsx"
    made = openpyxl.Workbook()
    made.active.append(["a", "b"])
    made.save(path)
    assert parse_bytes(path.read_bytes(), "a.xls").text == "a | b"
    with pytest.raises(DocumentError, match=r"is named \.xlsx but is an old workbook.*\.xls"):
        detect(workbook(), "a.xlsx")
    assert detect(workbook(), "a") == "xls"
