"""Excel workbooks (.xlsx): each sheet is a page, each row a line, with the values last saved."""

import datetime
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from lxml import etree

from moli.parsing.archive import Archive
from moli.parsing.blocks import Blocks
from moli.parsing.limits import Limits
from moli.parsing.office.charts import add_chart_title
from moli.parsing.office.date_format import EPOCH_1900, EPOCH_1904
from moli.parsing.office.markup import (
    NO_RELATIONSHIP,
    add_core_properties,
    attribute,
    child,
    children,
    descendants,
    is_superscript,
    local_name,
    main_part,
    parse_xml,
    refuse_entities,
    relation_id,
    relationships,
    xml_error,
)
from moli.parsing.office.number_format import BUILT_IN_FORMATS, show_number, show_text
from moli.parsing.office.spreadsheet import Row, Rows, add_sheet_name, add_tables, repeat_merged
from moli.parsing.pages.running import is_page_number
from moli.parsing.raised import raise_number

# Codes in a header: font, size, colour, then alignment, and fields such as the page number.
_HEADER_CODES = re.compile(r'&"[^"]*"|&K[0-9A-Fa-f]{6}|&\d+|&[LCR]|&[A-Z]')
_HEADERS = ("oddHeader", "evenHeader", "firstHeader", "oddFooter", "evenFooter", "firstFooter")
_CELL_REFERENCE = re.compile(r"([A-Z]{1,3})(\d+)$")


def read(data: bytes, blocks: Blocks, limits: Limits) -> None:
    """Add the workbook in `data` to `blocks`."""
    archive = Archive(data, limits)
    add_core_properties(archive, blocks)
    main = main_part(archive, "xl/workbook.xml")
    root = parse_xml(archive.read(main))
    targets = relationships(archive, main)
    named = {target.kind: target.part for target in targets.values()}
    book = _Workbook(
        strings=_shared_strings(archive, named.get("sharedStrings", "")),
        formats=_formats(archive, named.get("styles", "")),
        epoch=_epoch(root),
    )
    sheets = child(root, "sheets")
    for sheet in children(sheets, "sheet") if sheets is not None else ():
        blocks.begin_page()
        name = attribute(sheet, "name")
        part = targets.get(relation_id(sheet), NO_RELATIONSHIP).part
        if attribute(sheet, "state") not in ("", "visible"):
            blocks.warn("hidden sheets are included")
        add_sheet_name(name, blocks)
        if part in archive:
            _add_sheet(archive, part, book, blocks)


@dataclass(frozen=True, slots=True)
class _Workbook:
    """Data that cells refer to, and the headers and footers of the sheets so far.

    Attributes:
        strings: texts that cells refer to by index.
        formats: format codes by cell style.
        epoch: the date of day 0.
    """

    strings: list[str]
    formats: list[str]
    epoch: datetime.datetime
    headers: set[str] = field(default_factory=set)


def _epoch(root: etree._Element) -> datetime.datetime:
    """The date from which the workbook counts days."""
    properties = child(root, "workbookPr")
    since_1904 = properties is not None and attribute(properties, "date1904") in ("1", "true")
    return EPOCH_1904 if since_1904 else EPOCH_1900


def _elements(archive: Archive, part: str, *names: str) -> Iterator[etree._Element]:
    """The elements with those names, one at a time, so that a large sheet needs little memory."""
    with archive.open(part) as stream:
        try:
            for _, element in etree.iterparse(
                stream, events=("end",), tag=[f"{{*}}{name}" for name in names],
                resolve_entities=False, no_network=True, remove_comments=True,
            ):  # fmt: skip
                if element.getprevious() is None:
                    refuse_entities(element)
                yield element
                element.clear()
                while element.getprevious() is not None:
                    del element.getparent()[0]
        except etree.XMLSyntaxError as error:
            raise xml_error(error) from error


def _shared_strings(archive: Archive, part: str) -> list[str]:
    """The texts that cells refer to by index; none if the part is missing."""
    return [_rich_text(item) for item in _elements(archive, part, "si")] if part in archive else []


def _rich_text(element: etree._Element) -> str:
    """The text of all runs, without phonetic guides."""
    runs = (run for run in descendants(element, "t") if local_name(run.getparent()) != "rPh")
    return "".join(_run_text(run) for run in runs)


def _run_text(text: etree._Element) -> str:
    """The text of a run; a number that is raised is in superscript."""
    characters = text.text or ""
    return raise_number(characters) if is_superscript(text.getparent()) else characters


def _formats(archive: Archive, part: str) -> list[str]:
    """The format code of every cell style; none if the part is missing."""
    if part not in archive:
        return []
    root = parse_xml(archive.read(part))
    codes = BUILT_IN_FORMATS | {
        int(attribute(code, "numFmtId") or 0): attribute(code, "formatCode")
        for code in descendants(root, "numFmt")
    }
    styles = child(root, "cellXfs")
    return [
        codes.get(int(attribute(style, "numFmtId") or 0), "")
        for style in (children(styles, "xf") if styles is not None else ())
    ]


def _add_sheet(archive: Archive, part: str, book: _Workbook, blocks: Blocks) -> None:
    """Add the tables of a sheet, then its comments, text boxes and charts."""
    rows: Rows = {}
    without_value = 0
    headers: list[str] = []
    for element in _elements(archive, part, "row", "mergeCell", *_HEADERS):
        if local_name(element) == "mergeCell":
            _repeat_merged(attribute(element, "ref"), rows)
            continue
        if local_name(element) in _HEADERS:
            headers.append(header_text(element.text or ""))
            continue
        cells: Row = {}
        for position, cell in enumerate(children(element, "c")):
            text = _cell_text(cell, book)
            if text.strip():
                cells[_column(attribute(cell, "r"), position)] = text
            elif child(cell, "f") is not None and attribute(cell, "t") != "str":
                without_value += 1
        number = attribute(element, "r")
        rows[int(number) if number.isdigit() else max(rows, default=0) + 1] = cells
    if without_value:
        blocks.warn(f"{without_value} formulas have no saved value; save the file in Excel first")
    add_tables(rows, blocks)
    for text in headers:
        if text not in book.headers:
            blocks.add_paragraph(text)
            book.headers.add(text)
    _add_attachments(archive, part, blocks)


def header_text(code: str) -> str:
    """The text of a header or footer; empty if it only numbers pages or names the file."""
    fields = code.replace("&&", "\0").replace("&P", "1").replace("&N", "1")
    text = " ".join(_HEADER_CODES.sub(" ", fields).replace("\0", "&").split())
    return "" if is_page_number(text) else text


def _repeat_merged(reference: str, rows: Rows) -> None:
    """Copy a merged range such as `A1:B3` into the rows below that it spans."""
    first, _, last = reference.partition(":")
    top, bottom = _CELL_REFERENCE.match(first), _CELL_REFERENCE.match(last)
    if top and bottom:
        repeat_merged(rows, int(top[2]), int(bottom[2]), _column(first, 0))


def _column(reference: str, default: int) -> int:
    """The column of a cell reference such as `B3`, from 0; `default` if it is not one."""
    match = _CELL_REFERENCE.match(reference)
    if not match:
        return default
    number = 0
    for letter in match[1]:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1


def _cell_text(cell: etree._Element, book: _Workbook) -> str:
    """A cell as it is shown; empty if it has no value."""
    kind, style = attribute(cell, "t"), attribute(cell, "s")
    index = int(style) if style.isdigit() else 0
    code = book.formats[index] if index < len(book.formats) else ""
    if kind == "inlineStr":
        inline = child(cell, "is")
        return show_text(_rich_text(inline), code) if inline is not None else ""
    value = child(cell, "v")
    text = (value.text or "") if value is not None else ""
    if kind == "s":
        is_known = text.isdigit() and int(text) < len(book.strings)
        return show_text(book.strings[int(text)], code) if is_known else ""
    if kind == "b":
        return {"1": "TRUE", "0": "FALSE"}.get(text, text)
    if kind in ("str", "e", "d") or not text:
        return show_text(text, code) if kind == "str" else text
    try:
        return show_number(float(text), code, book.epoch)
    except ValueError:
        return text


def _add_attachments(archive: Archive, part: str, blocks: Blocks) -> None:
    """Add the comments, text boxes and chart titles of a sheet."""
    for target in relationships(archive, part).values():
        if target.part not in archive:
            continue
        if target.kind == "comments":
            for comment in descendants(parse_xml(archive.read(target.part)), "comment"):
                # Excel puts a notice to older versions before the text of a thread.
                _, _, thread = _rich_text(comment).rpartition("\nComment:\n")
                text = " ".join(thread.split())
                blocks.add_paragraph(f"[Comment at {attribute(comment, 'ref')}: {text}]")
        elif target.kind == "drawing":
            _add_drawing(archive, target.part, blocks)


def _add_drawing(archive: Archive, part: str, blocks: Blocks) -> None:
    """Add the text boxes of a drawing and the titles of its charts."""
    root = parse_xml(archive.read(part))
    for body in descendants(root, "txBody"):
        for paragraph in children(body, "p"):
            blocks.add_paragraph(_rich_text(paragraph))
    for target in relationships(archive, part).values():
        if target.kind == "chart" and target.part in archive:
            add_chart_title(parse_xml(archive.read(target.part)), blocks)
