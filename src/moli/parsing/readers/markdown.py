"""Markdown, read as the web page that it renders to."""

import re
from copy import copy
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

from moli.parsing.blocks import Blocks
from moli.parsing.encodings import decode
from moli.parsing.limits import Limits
from moli.parsing.readers.front_matter import take_front_matter
from moli.parsing.readers.web import read_html

# A code span, an escaped character, or the bar between two cells.
_BAR = re.compile(r"(?<!`)(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)|\\.|(?P<bar>\|)")
_PLAIN_BAR = re.compile(r"\\.|(?P<bar>\|)")
_QUOTED = re.compile(r"^[\s>]+")  # before the line of a table in a quotation


def read(data: bytes, blocks: Blocks, _limits: Limits) -> None:
    """Add the Markdown text in `data` to `blocks`."""
    read_markdown(decode(data, blocks=blocks), blocks)


def read_markdown(text: str, blocks: Blocks) -> None:
    """Add Markdown text; the fields of its front matter become the title and attributes."""
    text = take_front_matter(text, blocks)
    renderer = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    renderer.core.ruler.before("inline", "whole_rows", _keep_whole_rows)
    read_html(renderer.render(text), blocks)


def _keep_whole_rows(state: StateCore) -> None:
    """Give the rows of tables all their cells: the parser drops those that the header lacks.

    A bar in a code span is taken for one between cells only if the row has too few otherwise.
    """
    lines = state.src.split("\n")
    tokens: list[Token] = []
    row: list[Token] = []
    for token in state.tokens:
        if not (row or token.type == "tr_open"):
            tokens.append(token)
            continue
        row.append(token)
        if token.type == "tr_close":
            tokens += _with_all_cells(row, lines[row[0].map[0]]) if row[0].map else row
            row = []
    state.tokens = tokens


def _with_all_cells(row: list[Token], line: str) -> list[Token]:
    """The tokens of a row, with as many cells as its line has.

    Args:
        row: the tokens from `tr_open` to `tr_close`, with three for each column of the header.
    """
    columns = (len(row) - 2) // 3
    cells = _split(line, _PLAIN_BAR)
    if len(cells) <= columns:
        return row
    outside_code = _split(line, _BAR)
    cells = outside_code if len(outside_code) >= columns else cells
    begin, content, end = row[-4:-1]
    result = [row[0]]
    for cell in cells:
        inline = copy(content)
        inline.content, inline.children = cell, []
        result += [begin, inline, end]
    return [*result, row[-1]]


def _split(line: str, pattern: re.Pattern[str]) -> list[str]:
    """The cells of a line, in which the bars between them are those that `pattern` finds."""
    line = _QUOTED.sub("", line).rstrip()
    bars = [match.start() for match in pattern.finditer(line) if match["bar"]]
    bars = [-1, *bars, len(line)]
    cells = [line[bar + 1 : following] for bar, following in pairwise(bars)]
    if not cells[0]:
        cells.pop(0)
    if cells and not cells[-1]:
        cells.pop()
    return [cell.strip().replace("\\|", "|") for cell in cells]
