"""Rich Text Format: its text, without styles."""

import re

from moli.parsing.blocks import Blocks
from moli.parsing.limits import Limits

_TOKEN = re.compile(
    rb"\\([a-zA-Z]+)(-?\d+)? ?|\\'([0-9a-fA-F]{2})|\\([^a-zA-Z])|([{}])|[\r\n]+|([^\\{}\r\n]+)"
)
# Groups that hold settings rather than text.
_SILENT = {"fonttbl", "colortbl", "stylesheet", "info", "pict", "object", "header", "footer",
           "headerl", "headerr", "headerf", "footerl", "footerr", "footerf", "themedata",
           "colorschememapping", "latentstyles", "datastore", "listtable", "listoverridetable",
           "rsidtbl", "generator", "fldinst", "xmlnstbl", "filetbl", "revtbl", "pgptbl",
           "listtext", "pntext", "shppict", "nonshppict", "bkmkstart", "bkmkend"}  # fmt: skip
_SYMBOLS = {
    "tab": " ",
    "line": "\n",
    "emdash": "—",
    "endash": "–",
    "lquote": "‘",
    "rquote": "’",
    "ldblquote": "“",
    "rdblquote": "”",
    "bullet": "•",
    "enspace": " ",
    "emspace": " ",
}
_PAGES = {936: "gb18030", 950: "cp950", 932: "cp932", 949: "cp949", 65001: "utf-8"}


def read(data: bytes, blocks: Blocks, _limits: Limits) -> None:
    """Add the document in `data` to `blocks`."""
    reader = _Reader(blocks)
    for found in _TOKEN.finditer(data):
        reader.token(found)
    reader.paragraph()


class _Reader:
    """Follows groups, skipping the silent ones, and gathers paragraphs and table rows."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._groups: list[tuple[bool, int]] = []
        self._silent, self._fallback = False, 1
        self._skip = 0
        self._page = "cp1252"
        self._bytes = bytearray()
        self._text: list[str] = []
        self._cells: list[str] = []
        self._in_table = False

    def token(self, found: re.Match[bytes]) -> None:
        """Take the next word, symbol, brace or run of text."""
        word, number, code, symbol, brace, text = found.groups()
        if brace:
            self._brace(brace)
        elif word:
            self._word(word.decode(), int(number) if number else None)
        elif symbol == b"*":
            self._silent = True
        elif self._skip and (code or text or symbol):
            # What stands in for a Unicode character in programs that do not know it.
            taken = min(self._skip, len(text) if text else 1)
            self._skip -= taken
            if text:
                self._put(text[taken:])
        elif code:
            self._put(bytes([int(code, 16)]))
        elif text:
            self._put(text)
        elif symbol:
            self._put({b"~": b" ", b"_": b"-", b"-": b""}.get(symbol, symbol))

    def _brace(self, brace: bytes) -> None:
        self._settle()
        self._skip = 0
        if brace == b"{":
            self._groups.append((self._silent, self._fallback))
        elif self._groups:
            self._silent, self._fallback = self._groups.pop()

    def _word(self, word: str, number: int | None) -> None:
        if word in _SILENT:
            self._silent = True
        elif word == "ansicpg" and number is not None:
            self._page = _PAGES.get(number, f"cp{number}")
        elif word == "uc" and number is not None:
            self._fallback = number
        elif self._silent:
            return
        elif word == "u" and number is not None:
            self._settle()
            self._text.append(chr(number % 0x10000))
            self._skip = self._fallback
        elif word in _SYMBOLS:
            self._settle()
            self._text.append(_SYMBOLS[word])
        elif word in ("par", "sect", "page"):
            self.paragraph()
        elif word == "intbl":
            self._in_table = True
        elif word == "pard":
            self._in_table = False
        elif word == "cell":
            self._settle()
            self._cells.append("".join(self._text))
            self._text.clear()
        elif word == "row":
            self._blocks.row(self._cells)
            self._cells.clear()

    def _put(self, text: bytes) -> None:
        if not self._silent:
            self._bytes += text

    def _settle(self) -> None:
        """Decode the bytes so far: a character of two bytes may come in two pieces."""
        if self._bytes:
            try:
                self._text.append(self._bytes.decode(self._page, "replace"))
            except LookupError:
                self._text.append(self._bytes.decode("cp1252", "replace"))
            self._bytes.clear()

    def paragraph(self) -> None:
        """End a paragraph; in a table cell it only ends a line."""
        self._settle()
        if self._in_table:
            self._text.append(" ")
            return
        text = "".join(self._text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        self._text.clear()
        self._blocks.paragraph(text)
