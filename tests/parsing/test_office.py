"""Office files, written here by libraries that share no code with the parsers."""

import copy
import datetime
import io
import re
import zipfile
from pathlib import Path

import docx
import openpyxl
import pptx
import pytest
from docx.oxml import OxmlElement, parse_xml
from openpyxl.comments import Comment
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches

from moli.parsing import parse_file
from moli.parsing.parse import parse_bytes
from moli.records.documents import page_at

BOX = """<w:r xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"
 xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"
 xmlns:v="urn:schemas-microsoft-com:vml"
 xmlns:wps="http://schemas.microsoft.com/office/word/2010/wordprocessingShape">
 <mc:AlternateContent><mc:Choice Requires="wps"><w:drawing><wps:wsp><wps:txbx><w:txbxContent>
 <w:p><w:r><w:t>In a box</w:t></w:r></w:p></w:txbxContent></wps:txbx></wps:wsp></w:drawing>
 </mc:Choice><mc:Fallback>
 <w:pict><v:textbox><w:txbxContent><w:p><w:r><w:t>In a box</w:t></w:r></w:p>
 </w:txbxContent></v:textbox></w:pict></mc:Fallback></mc:AlternateContent></w:r>"""


def test_word(tmp_path: Path) -> None:
    made = docx.Document()
    made.core_properties.title, made.core_properties.author = "The Title", "An Author"
    made.add_heading("First part", 1)
    made.add_paragraph("A plain\tparagraph.\nSecond line.")
    made.add_heading("Inside", 2)
    made.add_paragraph("one", style="List Bullet")
    made.add_paragraph("two", style="List Bullet")
    made.add_paragraph("after")
    made.add_paragraph("first", style="List Number")
    made.add_paragraph("second", style="List Number")
    table = made.add_table(2, 3)
    for column, text in enumerate(("a", "b", "c")):
        table.cell(0, column).text = text
    table.cell(0, 0).merge(table.cell(1, 0))
    table.cell(1, 2).add_table(1, 2).cell(0, 0).text = "nested"
    made.add_paragraph("with a box")._p.append(parse_xml(BOX))
    path = tmp_path / "made.docx"
    made.save(str(path))
    document = parse_file(path)
    assert document.text.split("\n\n") == [
        "First part",
        "A plain paragraph.\nSecond line.",
        "Inside",
        "- one\n- two",
        "after",
        "1. first\n2. second",
        "a | b | c\na",
        "nested",
        "with a box",
        "In a box",
    ]
    assert [(h.text, h.level) for h in document.headings] == [("First part", 1), ("Inside", 2)]
    assert (document.title, document.metadata["author"]) == ("The Title", "An Author")


def test_word_leaves_out_what_is_deleted_or_hidden(tmp_path: Path) -> None:
    made = docx.Document()
    paragraph = made.add_paragraph("kept ")
    for tag in ("w:del", "w:ins"):
        change = OxmlElement(tag)
        change.append(made.add_paragraph().add_run(f"{tag} ")._r)
        paragraph._p.append(change)
    paragraph.add_run("hidden").font.hidden = True
    field = paragraph.add_run()._r
    code = OxmlElement("w:instrText")
    code.text = "PAGE"
    field.append(code)
    path = tmp_path / "made.docx"
    made.save(str(path))
    assert parse_file(path).text == "kept w:ins"


def test_word_numbers_headings_as_word_does(tmp_path: Path) -> None:
    made = docx.Document()
    numbering = made.part.numbering_part.element
    levels = "".join(
        f'<w:lvl w:ilvl="{n}"><w:start w:val="1"/><w:numFmt w:val="{kind}"/>'
        f'<w:lvlText w:val="{text}"/></w:lvl>'
        for n, (kind, text) in enumerate((("chineseCounting", "第%1章"), ("decimal", "%1.%2")))
    )
    space = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    numbering.insert(
        0, parse_xml(f'<w:abstractNum {space} w:abstractNumId="77">{levels}</w:abstractNum>')
    )
    numbering.append(
        parse_xml(f'<w:num {space} w:numId="77"><w:abstractNumId w:val="77"/></w:num>')
    )
    for text, level in (("总则", 0), ("目的", 1), ("范围", 1), ("附则", 0), ("解释", 1)):
        paragraph = made.add_heading(text, level + 1)
        properties = paragraph._p.get_or_add_pPr()
        properties.append(parse_xml(
            f'<w:numPr {space}><w:ilvl w:val="{level}"/><w:numId w:val="77"/></w:numPr>'
        ))  # fmt: skip
    path = tmp_path / "made.docx"
    made.save(str(path))
    headings = [heading.text for heading in parse_file(path).headings]
    assert headings[0] == "第一章 总则" and headings[3] == "第二章 附则"
    assert [text.split()[1] for text in headings] == ["总则", "目的", "范围", "附则", "解释"]


def test_presentation(tmp_path: Path) -> None:
    made = pptx.Presentation()
    first = made.slides.add_slide(made.slide_layouts[1])
    first.shapes.title.text = "Opening"
    first.placeholders[1].text = "point one\npoint two"
    first.notes_slide.notes_text_frame.text = "Say hello."
    made.slides.add_slide(made.slide_layouts[6])  # An empty one.
    second = made.slides.add_slide(made.slide_layouts[6])
    group = second.shapes.add_group_shape()
    group.shapes.add_textbox(0, 0, Inches(1), Inches(1)).text_frame.text = "Grouped"
    table = second.shapes.add_table(2, 2, 0, 0, Inches(4), Inches(1)).table
    for number, text in enumerate("abcd"):
        table.cell(number // 2, number % 2).text = text
    chart = CategoryChartData()
    chart.categories = ["east", "west"]
    chart.add_series("sales", (1.5, 2))
    second.shapes.add_chart(XL_CHART_TYPE.BAR_CLUSTERED, 0, 0, Inches(3), Inches(3), chart)
    path = tmp_path / "made.pptx"
    made.save(str(path))
    document = parse_file(path)
    assert document.text.split("\n\n") == [
        "Opening",
        "- point one\n- point two",
        "Say hello.",
        "Grouped",
        "a | b\nc | d",
        " | sales\neast | 1.5\nwest | 2",
    ]
    assert len(document.pages) == 3
    assert [h.text for h in document.headings] == ["Opening"]
    assert page_at(document.pages, document.text.index("Grouped")) == 3


def test_workbook(tmp_path: Path) -> None:
    made = openpyxl.Workbook()
    sheet = made.active
    sheet.title = "Prices"
    sheet.append(["item", "price", "rate", "since", "at", "ok"])
    row = ["螺栓", 0.1 + 0.2, 0.125, datetime.date(2024, 2, 29)]
    sheet.append([*row, datetime.datetime(2024, 2, 29, 13, 5), True])
    sheet["C2"].number_format = "0.0%"
    sheet["XFD40"] = 12345678901234
    sheet["A1"].comment = Comment("in English", "Editor")
    other = made.create_sheet("Sheet2")
    other["B2"], other["C2"], other["B3"], other["C3"] = "x", "y", 1, 2
    other.merge_cells("B3:B5")
    other["C4"], other["C5"] = 3, 4
    made.create_sheet("Empty")
    path = tmp_path / "made.xlsx"
    made.save(path)
    document = parse_file(path)
    assert re.split(r"\n+", document.text) == [
        "Prices",
        "item | price | rate | since | at | ok",
        "螺栓 | 0.3 | 12.5% | 2024-02-29 | 2024-02-29 13:05:00 | TRUE",
        "12345678901234",
        "[Comment at A1: in English]",
        "x | y",
        "1 | 2",
        "1 | 3",
        "1 | 4",
        "Empty",
    ]
    assert [heading.text for heading in document.headings] == ["Prices", "Empty"]
    assert len(document.pages) == 3


def test_elapsed_time_may_exceed_a_day(tmp_path: Path) -> None:
    made = openpyxl.Workbook()
    made.active.append([datetime.timedelta(hours=30, minutes=15)] * 3)
    for cell, code in zip("ABC", ("[h]:mm", "[h]:mm:ss", "[mm]:ss"), strict=True):
        made.active[f"{cell}1"].number_format = code
    path = tmp_path / "made.xlsx"
    made.save(path)
    assert parse_file(path).text == "30:15 | 30:15:00 | 1815:00"


def test_a_formula_without_a_value_is_mentioned(tmp_path: Path) -> None:
    made = openpyxl.Workbook()
    made.active.append([1, "=A1*2"])
    path = tmp_path / "made.xlsx"
    made.save(path)
    document = parse_file(path)
    assert document.text == "1"
    assert "1 formulas have no saved value" in document.warnings[0]


@pytest.mark.parametrize("system", ["windows", "mac"])
def test_dates_count_from_the_day_of_the_workbook(tmp_path: Path, system: str) -> None:
    made = openpyxl.Workbook()
    if system == "mac":
        made.epoch = openpyxl.utils.datetime.CALENDAR_MAC_1904
    made.active.append([datetime.date(1999, 12, 31)])
    path = tmp_path / "made.xlsx"
    made.save(path)
    assert parse_file(path).text == "1999-12-31"


def test_word_headers_and_notes_in_cells(tmp_path: Path) -> None:
    made = docx.Document()
    section = made.sections[0]
    section.header.paragraphs[0].text = "Contract LX-5521"
    section.footer.paragraphs[0].text = "Page 1 of 3"
    table = made.add_table(1, 2)
    table.cell(0, 0).text = "Gearbox"
    runs = table.cell(0, 1).paragraphs[0]
    runs.add_run("12 May")
    made.add_comment(runs.runs, text="The date is in doubt.", author="Pavlov")
    second = made.add_section()
    second.header.is_linked_to_previous = False
    second.header.paragraphs[0].text = "Contract LX-5521"
    second.footer.is_linked_to_previous = False
    second.footer.paragraphs[0].text = "Confidential"
    path = tmp_path / "made.docx"
    made.save(str(path))
    assert parse_file(path).text.split("\n\n") == [
        "Contract LX-5521",
        "Gearbox | 12 May [Comment by Pavlov: The date is in doubt.]",
        "Confidential",
    ]


def test_the_header_of_a_section_stands_before_it(tmp_path: Path) -> None:
    made = docx.Document()
    for part in ("Terms", "Prices", "Annex"):
        section = made.sections[0] if part == "Terms" else made.add_section()
        made.add_paragraph(f"The {part.lower()} of it.")
        if part != "Prices":  # which has the header of the section before it
            section.header.is_linked_to_previous = False
            section.header.paragraphs[0].text = f"Part {part}"
            section.footer.is_linked_to_previous = False
            section.footer.paragraphs[0].text = f"{part} LX-5521"
    path = tmp_path / "made.docx"
    made.save(str(path))
    assert parse_file(path).text.split("\n\n") == [
        "Part Terms", "The terms of it.", "The prices of it.", "Part Annex", "The annex of it.",
        "Terms LX-5521", "Annex LX-5521",
    ]  # fmt: skip


def test_slide_footers_stand_once(tmp_path: Path) -> None:
    made = pptx.Presentation()
    layout = made.slide_layouts[5]
    for title in ("One", "Two"):
        slide = made.slides.add_slide(layout)
        slide.shapes.title.text = title
        footer = next(s for s in layout.placeholders if s.placeholder_format.type == 15)
        element = copy.deepcopy(footer._element)
        slide.shapes._spTree.append(element)
        slide.shapes[-1].text_frame.text = "Internal use"
    path = tmp_path / "made.pptx"
    made.save(str(path))
    assert parse_file(path).text == "One\n\nInternal use\n\nTwo"


def test_cells_as_excel_shows_them(tmp_path: Path) -> None:
    made = openpyxl.Workbook()
    sheet = made.active
    for column, (value, code) in enumerate(
        [(417, "00000"), (82.5, '0.0" kg"'), (1490, "[$€-407] #,##0.00"), (0.125, "0.0%"),
         (datetime.timedelta(hours=30.25), "[h]:mm"), ("X", '"No. "@')], start=1,
    ):  # fmt: skip
        sheet.cell(1, column, value).number_format = code
    sheet.cell(2, 1, "end")
    sheet.oddHeader.center.text, sheet.oddFooter.center.text = "Q&&A 2026", "Page &P of &N"
    path = tmp_path / "made.xlsx"
    made.save(path)
    assert parse_file(path).text == (
        "00417 | 82.5 kg | € 1,490.00 | 12.5% | 30:15 | No. X\nend\n\nQ&A 2026"
    )


def test_a_row_whose_deletion_is_tracked_is_left_out(tmp_path: Path) -> None:
    made = docx.Document()
    table = made.add_table(2, 2)
    for row, texts in zip(table.rows, (("Rotor", "May"), ("Gone", "June")), strict=True):
        for cell, text in zip(row.cells, texts, strict=True):
            cell.text = text
    table.rows[1]._tr.get_or_add_trPr().append(OxmlElement("w:del"))
    path = tmp_path / "made.docx"
    made.save(str(path))
    document = parse_file(path)
    assert document.text == "Rotor | May"
    assert document.warnings == ("its tracked changes are read as if they were accepted",)


W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
FIELD = '<w:r><w:fldChar w:fldCharType="begin"><w:ffData>{}</w:ffData></w:fldChar></w:r>'
BOX_FIELD = FIELD.format("<w:checkBox>{}</w:checkBox>")
LIST_FIELD = FIELD.format("<w:ddList>{}</w:ddList>")
SYMBOL = '<w:r><w:sym w:font="{}" w:char="{}"/></w:r>'
RAISED = '<w:r><w:rPr><w:vertAlign w:val="superscript"/></w:rPr><w:t>{}</w:t></w:r>'
ENTRIES = '<w:listEntry w:val="low"/><w:listEntry w:val="high"/>'


@pytest.mark.parametrize(
    ("runs", "text"),
    [
        (BOX_FIELD.format('<w:default w:val="0"/><w:checked/>'), "☒"),
        (BOX_FIELD.format('<w:default w:val="0"/>'), "☐"),
        (BOX_FIELD.format('<w:default w:val="1"/><w:checked w:val="0"/>'), "☐"),
        (LIST_FIELD.format(f'<w:result w:val="1"/>{ENTRIES}'), "high"),
        (SYMBOL.format("Symbol", "F0B3"), "≥"),
        (SYMBOL.format("Symbol", "F061"), "α"),
        (SYMBOL.format("Wingdings", "F0E0"), "→"),
        (RAISED.format("-6"), "⁻⁶"),
        (RAISED.format("st"), "st"),
    ],
)
def test_what_word_shows_without_text_of_its_own(tmp_path: Path, runs: str, text: str) -> None:
    made = docx.Document()
    made.element.body.insert(0, parse_xml(f"<w:p {W}><w:r><w:t>State: </w:t></w:r>{runs}</w:p>"))
    path = tmp_path / "made.docx"
    made.save(str(path))
    assert parse_file(path).text.removeprefix("State:").strip() == text


def test_raised_numbers_on_slides(tmp_path: Path) -> None:
    made = pptx.Presentation()
    slide = made.slides.add_slide(made.slide_layouts[6])
    line = slide.shapes.add_textbox(0, 0, Inches(2), Inches(1)).text_frame.paragraphs[0]
    line.add_run().text = "12 m"
    raised = line.add_run()
    raised.text = "2"
    raised.font._element.set("baseline", "30000")
    path = tmp_path / "made.pptx"
    made.save(str(path))
    assert parse_file(path).text == "12 m²"


def test_a_row_with_one_cell_keeps_its_column(tmp_path: Path) -> None:
    made = openpyxl.Workbook()
    for row in (["", "Staff of May"], ["Name", "Unit", "Phone"], ["Li", "Lab", None],
                [None, None, 8012], ["Wu", None, None]):  # fmt: skip
        made.active.append([cell or None for cell in row])
    path = tmp_path / "made.xlsx"
    made.save(path)
    assert parse_file(path).text == "Staff of May\nName | Unit | Phone\nLi | Lab\n |  | 8012\nWu"


ODF = "urn:oasis:names:tc:opendocument:xmlns:"
NAMES = " ".join(f'xmlns:{name}="{ODF}{name}:1.0"' for name in ("office", "style", "table", "text"))


def test_merged_cells_and_page_headers_of_a_calc_workbook() -> None:
    cell = "<table:table-cell>{p}%s{q}</table:table-cell>"
    merged = '<table:table-cell table:number-rows-spanned="2">{p}Fang{q}</table:table-cell>'
    rows = (
        merged + cell % "Lab",
        "<table:covered-table-cell/>" + cell % "8012",
        "<table:table-cell/>" + cell % "8013",
    )
    table = "".join(f"<table:table-row>{row}</table:table-row>" for row in rows)
    content = (
        f'<office:document-content {NAMES}><style:style style:name="t" style:family="table" '
        'style:master-page-name="Used"/><office:body><office:spreadsheet><table:table '
        f'table:name="Staff">{table}</table:table></office:spreadsheet></office:body>'
        "</office:document-content>"
    ).format(p="<text:p>", q="</text:p>")
    line = "<text:p>{}</text:p>"
    pages = (
        f'<style:master-page style:name="Used"><style:header>{line}</style:header>'
        f'<style:footer>{line}</style:footer><style:header-left style:display="false">{line}'
        f'</style:header-left></style:master-page><style:master-page style:name="Report">'
        f"<style:header>{line}</style:header></style:master-page>"
    ).format("Harbour office", "<text:sheet-name>???</text:sheet-name>", "Off", "Nobody")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as book:
        book.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        book.writestr("content.xml", content)
        book.writestr("styles.xml", f"<office:document-styles {NAMES}>{pages}"
                      "</office:document-styles>")  # fmt: skip
    document = parse_bytes(buffer.getvalue(), "a.ods")
    assert document.text == "Staff\n\nFang | Lab\nFang | 8012\n | 8013\n\nHarbour office"
