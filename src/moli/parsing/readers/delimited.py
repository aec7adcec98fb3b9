"""Tables as text: values separated by commas, tabs, semicolons or bars."""

import csv
import io
import re
from collections import Counter

from moli.parsing.archive import REPAIR
from moli.parsing.blocks import Blocks
from moli.parsing.encodings import decode
from moli.parsing.limits import Limits
from moli.records.errors import DocumentError

_DELIMITERS = ",\t;|"
_SAMPLE_ROWS = 50
_STATED_DELIMITER = re.compile(r'"?sep=([^\r\n"])"?\r?\n')  # A first line for Excel.


def read(data: bytes, blocks: Blocks, _limits: Limits) -> None:
    """Add the table in `data` to `blocks`."""
    text = decode(data, blocks=blocks).replace("\0", "")
    csv.field_size_limit(1 << 24)
    try:
        stated = _STATED_DELIMITER.match(text)
        delimiter = stated[1] if stated else _guess_delimiter(text)
        table = text[stated.end() :] if stated else text
        for row in csv.reader(io.StringIO(table, newline=""), delimiter=delimiter):
            blocks.add_row(row)
    except csv.Error as error:
        raise DocumentError("broken", f"its rows cannot be read ({error})", fix=REPAIR) from error


def _guess_delimiter(text: str) -> str:
    """The delimiter that gives most rows the same number of cells, and more than one."""
    sample = "".join(text.splitlines(keepends=True)[: _SAMPLE_ROWS * 4])

    def agreement(delimiter: str) -> tuple[float, int]:
        """Share of rows with the commonest number of cells, and that number; zeros if it is 1."""
        rows = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter)
        try:
            widths = Counter(len(row) for row in rows if row)
        except csv.Error:
            return 0.0, 0
        width, count = max(widths.items(), key=lambda item: (item[0] > 1, item[1]), default=(0, 0))
        return (count / widths.total(), width) if width > 1 else (0.0, 0)

    return max(_DELIMITERS, key=agreement)
