"""Rich Text Format: its text as Word shows it, without styles."""

import re
from dataclasses import dataclass, replace

from moli.parsing.blocks import Blocks
from moli.parsing.limits import Limits
from moli.parsing.pages.running import is_page_number
from moli.parsing.raised import raise_number

_TOKEN = re.compile(
    rb"\\([a-zA-Z]+)(-?\d+)? ?|\\'([0-9a-fA-F]{2})|\\([^a-zA-Z])|([{}])|[\r\n]+|([^\\{}\r\n]+)"
)
# Control words that begin groups of settings rather than text.
_SETTINGS_GROUPS = {
    "fonttbl", "colortbl", "stylesheet", "info", "pict", "object", "themedata",
    "colorschememapping", "latentstyles", "datastore", "listtable", "listoverridetable",
    "rsidtbl", "generator", "fldinst", "xmlnstbl", "filetbl", "revtbl", "pgptbl",
    "listtext", "pntext", "shppict", "nonshppict", "bkmkstart", "bkmkend", "xe", "tc",
}  # fmt: skip
# Control words that begin groups which state something about the document, or hold a note.
_PROPERTIES = {"title", "author", "subject", "keywords"}
_ASIDES = _PROPERTIES | {"footnote", "annotation"}
# Control words that begin the headers and footers of a section.
_RUNNING_GROUPS = {f"{kind}{pages}" for kind in ("header", "footer") for pages in ("", *"lrf")}
_SYMBOLS = {
    "chpgn": "1",  # The number of the page.
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
# Control words for the position of characters on the line; a number of 0 ends what they begin.
_RAISED = {"super": True, "up": True, "sub": False, "dn": False, "nosupersub": False}
_CODE_PAGES = {936: "gb18030", 950: "cp950", 932: "cp932", 949: "cp949", 65001: "utf-8"}


def read(data: bytes, blocks: Blocks, _limits: Limits) -> None:
    """Add the document in `data` to `blocks`."""
    reader = _TokenReader(blocks)
    for token in _TOKEN.finditer(data):
        reader.handle_token(token)
    reader.end_paragraph()


@dataclass(frozen=True, slots=True)
class _GroupState:
    """The settings of a group, which its end undoes.

    Attributes:
        in_settings: whether text is that of settings, and not of the document.
        fallback_length: number of bytes that stand for a Unicode character in older programs.
        in_running: whether text is that of a header or footer.
        is_raised: whether characters are in superscript.
        is_hidden: whether characters are formatted as hidden.
        is_deleted: whether characters are deleted in a tracked change.
    """

    in_settings: bool = False
    fallback_length: int = 1
    in_running: bool = False
    is_raised: bool = False
    is_hidden: bool = False
    is_deleted: bool = False


@dataclass(slots=True)
class _Aside:
    """A group whose text is not that of the paragraph around it: a note or a property.

    Attributes:
        word: the control word that begins it.
        depth: number of groups around its own.
        text: text of the paragraph before it.
        in_table: whether the paragraph is in a table.
    """

    word: str
    depth: int
    text: list[str]
    in_table: bool


class _TokenReader:
    """Adds paragraphs and table rows to `blocks`, and passes over groups that hold settings."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._state = _GroupState()
        self._groups: list[_GroupState] = []
        self._running: set[str] = set()
        self._asides: list[_Aside] = []
        self._notes: list[str] = []
        self._bytes_to_skip = 0
        self._encoding = "cp1252"
        self._bytes = bytearray()
        self._raised: list[str] = []
        self._text: list[str] = []
        self._cells: list[str] = []
        self._in_table = False

    def handle_token(self, token: re.Match[bytes]) -> None:
        """Process the next control word, symbol, brace or run of text."""
        word, number, code, symbol, brace, text = token.groups()
        if brace:
            self._handle_brace(brace)
        elif word:
            self._handle_control_word(word.decode(), int(number) if number else None)
        elif symbol == b"*":
            self._set(in_settings=True)
        elif self._bytes_to_skip and (code or text or symbol):
            # The replacement of a Unicode character for programs that do not know it.
            taken = min(self._bytes_to_skip, len(text) if text else 1)
            self._bytes_to_skip -= taken
            if text:
                self._add_bytes(text[taken:])
        elif code:
            self._add_bytes(bytes([int(code, 16)]))
        elif text:
            self._add_bytes(text)
        elif symbol:
            self._add_bytes({b"~": b" ", b"_": b"-", b"-": b""}.get(symbol, symbol))

    def _set(self, **changes: bool | int) -> None:
        """Change the state of the group; text so far is in the state before."""
        self._decode_bytes()
        self._state = replace(self._state, **changes)  # type: ignore[arg-type]

    def _handle_brace(self, brace: bytes) -> None:
        """Begin or end a group, which has its own settings."""
        self._decode_bytes()
        self._bytes_to_skip = 0
        if brace == b"{":
            self._groups.append(self._state)
        elif self._groups:
            if self._asides and self._asides[-1].depth == len(self._groups):
                self._end_aside()
            if self._state.in_running and not self._groups[-1].in_running:
                self.end_paragraph()
            self._state = self._groups.pop()

    def _handle_control_word(self, word: str, number: int | None) -> None:
        """Process a control word such as `par`, with its number if it has one."""
        if word in _ASIDES:
            self._begin_aside(word)
        elif word in _SETTINGS_GROUPS:
            self._set(in_settings=True)
        elif word == "ansicpg" and number is not None:
            self._encoding = _CODE_PAGES.get(number, f"cp{number}")
        elif word == "uc" and number is not None:
            self._set(fallback_length=number)
        elif self._state.in_settings:
            return
        elif word in _RUNNING_GROUPS:
            self.end_paragraph()
            self._set(in_running=True)
        elif word == "u" and number is not None:
            self._decode_bytes()
            self._add_text(chr(number % 0x10000))
            self._bytes_to_skip = self._state.fallback_length
        elif word in _SYMBOLS:
            self._decode_bytes()
            self._add_text(_SYMBOLS[word])
        elif word in ("par", "sect", "page"):
            self.end_paragraph()
        elif word in ("intbl", "pard", "cell", "row"):
            self._handle_table_word(word)
        else:
            self._handle_format(word, is_on=number != 0)

    def _handle_format(self, word: str, *, is_on: bool) -> None:
        """Process a control word for the format of characters."""
        if word in _RAISED:
            self._set(is_raised=_RAISED[word] and is_on)
        elif word == "v":
            self._set(is_hidden=is_on)
        elif word == "deleted":
            self._set(is_deleted=is_on)
            if is_on:
                self._blocks.warn("its tracked changes are read as if they were accepted")
        elif word == "plain":
            self._set(is_raised=False, is_hidden=False, is_deleted=False)

    def _handle_table_word(self, word: str) -> None:
        """Process a control word that begins or ends a table, a cell or a row."""
        if word == "intbl":
            self._in_table = True
        elif word == "pard":
            self._in_table = bool(self._asides)
        elif word == "cell":
            self._cells.append(self._take_text())
        else:
            self._blocks.add_row(self._cells)
            self._cells.clear()
            self._add_notes()

    def _begin_aside(self, word: str) -> None:
        """Begin to gather the text of a note or property apart."""
        self._set(in_settings=False, is_raised=False)
        self._end_raised()
        self._asides.append(_Aside(word, len(self._groups), self._text, self._in_table))
        self._text, self._in_table = [], True  # The paragraphs of a note are on one line.

    def _end_aside(self) -> None:
        """Keep a note until the end of the paragraph, and a property for the document."""
        aside = self._asides.pop()
        text = " ".join(self._take_text().split())
        self._text, self._in_table = aside.text, aside.in_table
        if aside.word == "title":
            self._blocks.title = self._blocks.title or text
        elif aside.word in _PROPERTIES:
            self._blocks.metadata.setdefault(aside.word, text)
        elif text:
            self._notes.append(f"[Comment: {text}]" if aside.word == "annotation" else text)

    def _add_notes(self) -> None:
        """Add the notes of the paragraph or row just added."""
        for note in self._notes:
            self._blocks.add_paragraph(note)
        self._notes.clear()

    def _add_bytes(self, text: bytes) -> None:
        """Gather encoded text, unless the group holds settings."""
        if not self._state.in_settings:
            self._bytes += text

    def _decode_bytes(self) -> None:
        """Decode the bytes gathered so far; a character of two bytes may come in two pieces."""
        if self._bytes:
            try:
                text = self._bytes.decode(self._encoding, "replace")
            except LookupError:
                text = self._bytes.decode("cp1252", "replace")
            self._bytes.clear()
            self._add_text(text)

    def _add_text(self, text: str) -> None:
        """Gather text, unless it is hidden or deleted."""
        if self._state.is_hidden or self._state.is_deleted:
            return
        if self._state.is_raised:
            self._raised.append(text)  # A number may come in several pieces.
        else:
            self._end_raised()
            self._text.append(text)

    def _end_raised(self) -> None:
        """Add the characters in superscript that have been gathered to the text."""
        if self._raised:
            self._text.append(raise_number("".join(self._raised)))
            self._raised.clear()

    def _take_text(self) -> str:
        """The gathered text, of which nothing is left."""
        self._decode_bytes()
        self._end_raised()
        text = "".join(self._text)
        self._text.clear()
        return text

    def end_paragraph(self) -> None:
        """Add the gathered text as a paragraph; in a table cell only end a line."""
        self._decode_bytes()
        if self._in_table:
            self._end_raised()
            self._text.append(" ")
            return
        text = self._take_text().encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if self._state.in_running:
            if text in self._running or is_page_number(text):
                return
            self._running.add(text)
        self._blocks.add_paragraph(text)
        self._add_notes()
