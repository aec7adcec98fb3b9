"""Numbers in superscript, in every format: 10⁻³ is not 10-3, and m² is not m2."""

import io
import zipfile

import pytest
import xlwt
from parsing.pdf_writer import write_pdf

from moli.parsing import parse_bytes

Shown = str | tuple[str, float]
"""A text of the usual size, or a smaller one with its rise beside the size of the text."""

UP, DOWN = 0.33, -0.1
LINE: list[Shown] = [
    "1,200 m", ("2", UP), " and 10", ("-3", UP), " of H", ("2", DOWN), "O on the 1", ("st", UP),
    " day.", ("12", UP), " See ", ("235", UP), "U.",
]  # fmt: skip
READ = "1,200 m² and 10⁻³ of H2O on the 1st day.¹² See ²³⁵U."


def drawn(texts: list[Shown], left: float, base: float, size: float = 12.0) -> str:
    """The operators that draw texts one after the other."""
    operators = [f"BT {left} {base} Td"]
    for text, rise in (each if isinstance(each, tuple) else (each, 0.0) for each in texts):
        operators.append(f"/F1 {size * 0.58 if rise else size} Tf {rise * size} Ts ({text}) Tj")
    return " ".join([*operators, "ET"])


def test_on_a_page_of_a_pdf() -> None:
    page = write_pdf([[]], drawn=drawn(LINE, 72, 400))
    assert parse_bytes(page, "a.pdf").text == READ


@pytest.mark.parametrize("matrix", ["0 1 -1 0 612 0", "0 -1 1 0 0 792"])
def test_in_text_drawn_sideways(matrix: str) -> None:
    texts: list[Shown] = ["1,200 m", ("2", UP), " and 10", ("-3", UP), " of it"]
    page = write_pdf([[]], drawn=drawn(texts, 72, 400), matrix=matrix)
    assert parse_bytes(page, "a.pdf").text == "1,200 m² and 10⁻³ of it"


def test_in_a_table_and_a_note_of_a_pdf() -> None:
    rows = [(["10", ("-12", UP)], ["Pump"]), (["10", ("-9", UP)], ["Valve 2"])]
    shown = [
        drawn(texts, left, 400 - 14 * number)
        for number, row in enumerate(rows)
        for texts, left in zip(row, (72, 272), strict=True)
    ]
    shown.append(drawn([("12", UP), " See the annual report."], 72, 100, 9))
    text = parse_bytes(write_pdf([[]], drawn="\n".join(shown)), "a.pdf").text
    assert text == "10⁻¹² | Pump\n10⁻⁹ | Valve 2\n\n¹² See the annual report."


def test_what_is_merely_small_or_higher_in_a_pdf_is_not_raised() -> None:
    lines = [
        drawn(["Room 12", ("3", DOWN), " x"], 72, 400),
        drawn(["A drill of ", ("1", UP), "/", ("4", DOWN), " inch"], 72, 350),
        "BT /F1 12 Tf 72 300 Td (Total) Tj /F1 8 Tf ( 42 pieces) Tj ET",  # smaller print
        "BT /F1 24 Tf 72 200 Td (A title) Tj ET BT /F1 8 Tf 300 210 Td (17) Tj ET",  # far away
    ]
    text = parse_bytes(write_pdf([[]], drawn="\n".join(lines)), "a.pdf").text
    assert not set(text) & set("⁰¹²³⁴⁵⁶⁷⁸⁹")


def test_in_rich_text() -> None:
    text = (
        r"{\rtf1\ansi 1,200 m\super 2\nosupersub  and 10{\super\u8722?3} of H{\sub 2}O on the "
        r"1{\super st} day.{\up6 1}{\up6 2}\up0  See {\super 235\super0 U}.\par}"
    )
    assert parse_bytes(text.encode(), "a.rtf").text == READ


def test_in_an_old_workbook() -> None:
    book = xlwt.Workbook()
    raised, lowered = xlwt.Font(), xlwt.Font()
    raised.escapement = xlwt.Font.ESCAPEMENT_SUPERSCRIPT
    lowered.escapement = xlwt.Font.ESCAPEMENT_SUBSCRIPT
    sheet = book.add_sheet("Sheet1")
    sheet.write_rich_text(
        0, 0,
        ["1,200 m", ("2", raised), " and 10", ("-3", raised), " of H", ("2", lowered), "O on the 1",
         ("st", raised), " day.", ("12", raised), " See "],
    )  # fmt: skip
    sheet.write_rich_text(0, 1, [("235", raised), "U."])
    buffer = io.BytesIO()
    book.save(buffer)
    assert parse_bytes(buffer.getvalue(), "a.xls").text == READ.replace("See ", "See | ")


STYLES = """<s:styles xmlns:s="s" xmlns:t="t">
  <s:style s:name="Superscript" s:family="text">
    <s:text-properties s:text-position="super 58%"/></s:style>
  <s:style s:name="Like" s:family="text" s:parent-style-name="Superscript"/></s:styles>"""
CONTENT = """<o:document-content xmlns:o="o" xmlns:s="s" xmlns:t="t"><s:automatic-styles>
  <s:style s:name="T1" s:family="text"><s:text-properties s:text-position="33% 58%"/></s:style>
  <s:style s:name="T2" s:family="text"><s:text-properties s:text-position="-8% 58%"/></s:style>
  <s:style s:name="T3" s:family="text"><s:text-properties t:display="none"/></s:style>
  <s:style s:name="T3" s:family="paragraph"/>
</s:automatic-styles><o:body><o:text><t:p t:style-name="T3">1,200 m<t:span
  t:style-name="T1">2</t:span> and 10<t:span t:style-name="Superscript">-3</t:span> of H<t:span
  t:style-name="T2">2</t:span>O on the 1<t:span t:style-name="T1">st</t:span> day.<t:span
  t:style-name="Like">12</t:span><t:span t:style-name="T3"> or never</t:span> See <t:span
  t:style-name="T1">235</t:span>U.</t:p></o:text></o:body></o:document-content>"""


def test_in_an_open_document_and_hidden_text_there() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.text")
        archive.writestr("styles.xml", STYLES)
        archive.writestr("content.xml", CONTENT)
    assert parse_bytes(buffer.getvalue(), "a.odt").text == READ
