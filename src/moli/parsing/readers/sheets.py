"""Excel workbooks: each sheet is a page, each row a line, values as they were last saved."""

import datetime
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from lxml import etree

from moli.parsing.archive import Archive
from moli.parsing.blocks import Blocks
from moli.parsing.limits import Limits
from moli.parsing.office.charts import add_title
from moli.parsing.office.markup import (
    attribute,
    child,
    children,
    core_properties,
    descendants,
    local,
    parse_xml,
    refuse_entities,
    relation_id,
    relations,
    xml_error,
)

_DATE_FORMATS = {*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)}
_PERCENT_FORMATS = {9: 0, 10: 2}
# What is left of a number format once quoted text, colours and escapes are gone.
_DECORATION = re.compile(r'"[^"]*"|\[[^\]]*\]|\\.|_.')
_CELL = re.compile(r"([A-Z]{1,3})(\d+)$")
_MAX_SPAN = 1000
_DEFAULT_NAME = re.compile(r"(sheet|工作表|feuil|tabelle|hoja|シート)\s*\d*$", re.IGNORECASE)


def read(data: bytes, blocks: Blocks, limits: Limits) -> None:
    """Add the workbook in `data` to `blocks`."""
    archive = Archive(data, limits)
    blocks.title, blocks.metadata = core_properties(archive)
    parts = [part for kind, part in relations(archive, "").values() if kind == "officeDocument"]
    main = parts[0] if parts else "xl/workbook.xml"
    root = parse_xml(archive.read(main))
    targets = relations(archive, main)
    named = dict(targets.values())
    book = _Workbook(
        strings=_shared_strings(archive, named.get("sharedStrings", "")),
        formats=_formats(archive, named.get("styles", "")),
        epoch=_epoch(root),
    )
    sheets = child(root, "sheets")
    for sheet in children(sheets, "sheet") if sheets is not None else ():
        blocks.page()
        name = attribute(sheet, "name")
        _, part = targets.get(relation_id(sheet), ("", ""))
        if attribute(sheet, "state") not in ("", "visible"):
            blocks.warn("hidden sheets are included")
        if not _DEFAULT_NAME.match(name):
            blocks.heading(name, 1)
        if part in archive:
            _sheet(archive, part, book, blocks)


@dataclass(frozen=True, slots=True)
class _Workbook:
    """What cells refer to: shared strings, the kind of each style, the day that counts as 0."""

    strings: list[str]
    formats: list[tuple[str, int]]
    epoch: datetime.datetime


def _epoch(root: etree._Element) -> datetime.datetime:
    properties = child(root, "workbookPr")
    since_1904 = properties is not None and attribute(properties, "date1904") in ("1", "true")
    return datetime.datetime(1904, 1, 1) if since_1904 else datetime.datetime(1899, 12, 30)


def _elements(archive: Archive, part: str, *names: str) -> Iterator[etree._Element]:
    """The elements of those names, one at a time, so that a large sheet is never whole."""
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
    return [_rich_text(item) for item in _elements(archive, part, "si")] if part in archive else []


def _rich_text(element: etree._Element) -> str:
    """The text of all runs, without phonetic guides."""
    return "".join(
        text.text or "" for text in descendants(element, "t") if local(text.getparent()) != "rPh"
    )


def _formats(archive: Archive, part: str) -> list[tuple[str, int]]:
    """For each cell style its kind (number, date, percent) and its decimals."""
    if part not in archive:
        return []
    root = parse_xml(archive.read(part))
    codes = {
        int(attribute(code, "numFmtId") or 0): attribute(code, "formatCode")
        for code in descendants(root, "numFmt")
    }
    styles = child(root, "cellXfs")
    return [
        _kind(int(attribute(style, "numFmtId") or 0), codes)
        for style in (children(styles, "xf") if styles is not None else ())
    ]


def _kind(identifier: int, codes: dict[int, str]) -> tuple[str, int]:
    code = _DECORATION.sub("", codes.get(identifier, "").partition(";")[0]).lower()
    if identifier in _PERCENT_FORMATS:
        return "percent", _PERCENT_FORMATS[identifier]
    if "%" in code:
        return "percent", len(code.partition("%")[0].partition(".")[2])
    if identifier in codes:
        is_date = "general" not in code and bool(set("ymdhs") & set(code))
        return ("date" if is_date else "number"), 0
    return ("date" if identifier in _DATE_FORMATS else "number"), 0


def _sheet(archive: Archive, part: str, book: _Workbook, blocks: Blocks) -> None:
    """Add the rows of a sheet, then what is attached to it."""
    rows: dict[int, dict[int, str]] = {}
    without_value = 0
    for element in _elements(archive, part, "row", "mergeCell"):
        if local(element) == "mergeCell":
            _repeat(attribute(element, "ref"), rows)
            continue
        cells: dict[int, str] = {}
        for position, cell in enumerate(children(element, "c")):
            text = _cell(cell, book)
            if text.strip():
                cells[_column(attribute(cell, "r"), position)] = text
            elif child(cell, "f") is not None and attribute(cell, "t") != "str":
                without_value += 1
        number = attribute(element, "r")
        rows[int(number) if number.isdigit() else max(rows, default=0) + 1] = cells
    if without_value:
        blocks.warn(f"{without_value} formulas have no saved value; save the file in Excel first")
    for region in _regions(rows):
        _table(region, blocks)
    _attached(archive, part, blocks)


Region = list[dict[int, str]]


def _repeat(reference: str, rows: dict[int, dict[int, str]]) -> None:
    """Repeat a cell that spans rows in those that hold more, so that each can stand alone."""
    first, _, last = reference.partition(":")
    top, bottom = _CELL.match(first), _CELL.match(last)
    if not top or not bottom or int(bottom[2]) - int(top[2]) > _MAX_SPAN:
        return
    column = _column(first, 0)
    text = rows.get(int(top[2]), {}).get(column, "")
    for number in range(int(top[2]) + 1, int(bottom[2]) + 1):
        if text and rows.get(number):
            rows[number][column] = text


def _regions(rows: dict[int, dict[int, str]]) -> Iterator[Region]:
    """Tables parted by empty rows, and those side by side parted by empty columns."""
    region: Region = []
    previous = 0
    for number, cells in rows.items():
        if region and (not cells or number > previous + 1):
            yield from _side_by_side(region)
            region = []
        if cells:
            region.append(cells)
        previous = number
    if region:
        yield from _side_by_side(region)


def _side_by_side(region: Region) -> Iterator[Region]:
    columns = sorted({column for cells in region for column in cells})
    gaps = [right for left, right in pairwise(columns) if right > left + 1]
    parts = []
    for start, end in zip([columns[0], *gaps], [*gaps, columns[-1] + 1], strict=True):
        part = [
            {column: text for column, text in cells.items() if start <= column < end}
            for cells in region
        ]
        parts.append([cells for cells in part if cells])
    if len(parts) > 1 and all(_is_dense(part) for part in parts):
        yield from parts
    else:
        yield region  # A form, whose labels and values stand apart.


def _is_dense(region: Region) -> bool:
    """Whether cells fill a rectangle of at least two by two."""
    columns = {column for cells in region for column in cells}
    filled = sum(len(cells) for cells in region)
    return min(len(region), len(columns)) > 1 and filled > 0.8 * len(region) * len(columns)


def _table(region: Region, blocks: Blocks) -> None:
    columns = sorted({column for cells in region for column in cells})
    blocks.end()
    for cells in region:
        if len(cells) == 1:
            blocks.row(cells.values())  # A title or a note, not a row of the table.
        else:
            blocks.row(cells.get(column, "") for column in columns)
    blocks.end()


def _column(reference: str, position: int) -> int:
    found = _CELL.match(reference)
    if not found:
        return position
    number = 0
    for letter in found[1]:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1


def _cell(cell: etree._Element, book: _Workbook) -> str:
    kind = attribute(cell, "t")
    if kind == "inlineStr":
        inline = child(cell, "is")
        return _rich_text(inline) if inline is not None else ""
    value = child(cell, "v")
    text = (value.text or "") if value is not None else ""
    if kind == "s":
        return book.strings[int(text)] if text.isdigit() and int(text) < len(book.strings) else ""
    if kind == "b":
        return {"1": "TRUE", "0": "FALSE"}.get(text, text)
    if kind in ("str", "e", "d") or not text:
        return text
    style = attribute(cell, "s")
    position = int(style) if style.isdigit() else 0
    shown, decimals = book.formats[position] if position < len(book.formats) else ("number", 0)
    return _number(text, shown, decimals, book.epoch)


def _number(text: str, kind: str, decimals: int, epoch: datetime.datetime) -> str:
    """A number as Excel shows it: at most 15 digits, as a percentage, or as a date."""
    try:
        number = float(text)
        if kind == "date" and 0 <= number < 2_958_466:
            return _date(number, epoch)
    except ValueError:
        return text
    if kind == "percent":
        return f"{number * 100:.{decimals}f}%"
    short = f"{number:.15g}"
    return (
        str(int(number)) if "e" in short and abs(number) < 1e21 and number == int(number) else short
    )


def _date(number: float, epoch: datetime.datetime) -> str:
    moment = epoch + datetime.timedelta(seconds=round(number * 86_400))
    if number < 1:
        return moment.strftime("%H:%M:%S")
    midnight = moment.hour == moment.minute == moment.second == 0
    return moment.strftime("%Y-%m-%d") if midnight else moment.strftime("%Y-%m-%d %H:%M:%S")


def _attached(archive: Archive, part: str, blocks: Blocks) -> None:
    """Comments, text boxes and charts of a sheet."""
    for kind, target in relations(archive, part).values():
        if target not in archive:
            continue
        if kind == "comments":
            for comment in descendants(parse_xml(archive.read(target)), "comment"):
                # Excel puts a notice to older versions before the text of a thread.
                _, _, thread = _rich_text(comment).rpartition("\nComment:\n")
                text = " ".join(thread.split())
                blocks.paragraph(f"[Comment at {attribute(comment, 'ref')}: {text}]")
        elif kind == "drawing":
            _drawing(archive, target, blocks)


def _drawing(archive: Archive, part: str, blocks: Blocks) -> None:
    root = parse_xml(archive.read(part))
    for body in descendants(root, "txBody"):
        for paragraph in children(body, "p"):
            blocks.paragraph(_rich_text(paragraph))
    for kind, target in relations(archive, part).values():
        if kind == "chart" and target in archive:
            add_title(parse_xml(archive.read(target)), blocks)
