"""Workbooks of Excel 97 and older (.xls): each sheet is a page, with the values last saved."""

import io
import struct
from itertools import pairwise

import xlrd
from xlrd.compdoc import CompDocError

from moli.parsing.archive import DECRYPT, REPAIR
from moli.parsing.blocks import Blocks
from moli.parsing.limits import Limits
from moli.parsing.office.biff import headers_of
from moli.parsing.office.date_format import EPOCH_1900, EPOCH_1904
from moli.parsing.office.number_format import BUILT_IN_FORMATS, show_number, show_text
from moli.parsing.office.spreadsheet import Row, Rows, add_sheet_name, add_tables, repeat_merged
from moli.parsing.raised import raise_number
from moli.parsing.readers.sheets import header_text
from moli.records.errors import DocumentError

# Errors of the library on damaged files, which it checks little.
_DAMAGED = (xlrd.XLRDError, CompDocError, struct.error, AssertionError, LookupError,
            ValueError, TypeError, OverflowError)  # fmt: skip

_SUPERSCRIPT = 1  # the escapement of a font


def read(data: bytes, blocks: Blocks, _limits: Limits) -> None:
    """Add the workbook in `data` to `blocks`."""
    try:
        book = xlrd.open_workbook(
            file_contents=data, formatting_info=True, ragged_rows=True, logfile=io.StringIO()
        )
        reader = _BookReader(book, blocks)
        headers = _headers_by_sheet(data, book, blocks)
        for number, sheet in enumerate(book.sheets()):
            reader.add_sheet(sheet, headers.get(number, []))
    except _DAMAGED as error:
        if "encrypted" in str(error):
            raise DocumentError(
                "encrypted", "it is protected by a password", fix=DECRYPT
            ) from error
        raise DocumentError("broken", f"it is damaged ({error})", fix=REPAIR) from error


def _headers_by_sheet(data: bytes, book: xlrd.Book, blocks: Blocks) -> dict[int, list[str]]:
    """The codes of the headers and footers by the number of the sheet; none if damaged."""
    try:
        return dict(enumerate(headers_of(data, book.encoding or "cp1252")))
    except _DAMAGED:
        blocks.warn("its page headers could not be read")
        return {}


class _BookReader:
    """Adds the sheets of one workbook to `blocks`."""

    def __init__(self, book: xlrd.Book, blocks: Blocks) -> None:
        self._blocks = blocks
        self._epoch = EPOCH_1904 if book.datemode else EPOCH_1900
        self._fonts = book.font_list
        self._headers: set[str] = set()
        self._formats = [
            BUILT_IN_FORMATS.get(style.format_key, book.format_map[style.format_key].format_str)
            for style in book.xf_list
        ]

    def add_sheet(self, sheet: xlrd.sheet.Sheet, headers: list[str]) -> None:
        """Add a sheet as a page: its tables, then its headers, footers and comments.

        Args:
            headers: the codes of its headers and footers.
        """
        self._blocks.begin_page()
        if sheet.visibility:
            self._blocks.warn("hidden sheets are included")
        add_sheet_name(sheet.name, self._blocks)
        rows: Rows = {number: self._row_texts(sheet, number) for number in range(sheet.nrows)}
        for top, below, column, _ in sheet.merged_cells:
            repeat_merged(rows, top, below - 1, column)
        add_tables(rows, self._blocks)
        for text in map(header_text, headers):
            if text not in self._headers:
                self._blocks.add_paragraph(text)
                self._headers.add(text)
        for (row, column), note in sorted(sheet.cell_note_map.items()):
            text = " ".join(note.text.split())
            self._blocks.add_paragraph(f"[Comment at {xlrd.cellname(row, column)}: {text}]")

    def _row_texts(self, sheet: xlrd.sheet.Sheet, number: int) -> Row:
        """The texts of the cells of a row that are not empty, by column."""
        runs = sheet.rich_text_runlist_map
        texts = {
            column: self._cell_text(cell, runs.get((number, column), []))
            for column, cell in enumerate(sheet.row(number))
        }
        return {column: text for column, text in texts.items() if text.strip()}

    def _cell_text(self, cell: xlrd.sheet.Cell, runs: list[tuple[int, int]]) -> str:
        """A cell as it is shown; empty if it has no value.

        Args:
            runs: for each change of font inside the cell, its offset and the number of the font.
        """
        if cell.ctype == xlrd.XL_CELL_BOOLEAN:
            return "TRUE" if cell.value else "FALSE"
        if cell.ctype == xlrd.XL_CELL_ERROR:
            return str(xlrd.error_text_from_code[cell.value])
        code = self._formats[cell.xf_index]
        if cell.ctype in (xlrd.XL_CELL_NUMBER, xlrd.XL_CELL_DATE):
            return show_number(cell.value, code, self._epoch)
        return show_text(self._with_raised_numbers(str(cell.value), runs), code)

    def _with_raised_numbers(self, text: str, runs: list[tuple[int, int]]) -> str:
        """A text in which the runs whose font is in superscript are, if they are numbers."""
        pieces = [text[: runs[0][0]] if runs else text]
        for (start, font), (end, _) in pairwise([*runs, (len(text), 0)]):
            is_raised = self._fonts[font].escapement == _SUPERSCRIPT
            pieces.append(raise_number(text[start:end]) if is_raised else text[start:end])
        return "".join(pieces)
