"""Candidates: the pieces of passages that may be an answer, each with the words around it.

A candidate is a sentence, a row of a table, a line of a form, or a heading that states a fact. A
header row, a bare heading and a question are none, but tell what the pieces below them are about.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from moli.records.answers import Hit
from moli.records.documents import Heading, Outline
from moli.retrieval.chinese import CJK
from moli.retrieval.sentences import TextSpan, sentence_spans
from moli.retrieval.tables import CELL_END, header_of, read_row

Headings = Mapping[int, Sequence[Heading]]  # document ids to their headings

MAX_CHARACTERS = 600
_MAX_QUESTION = 60  # characters of a line that is read as one question
# A block of short lines is a list; one whose lines are about as wide as the page is wrapped text.
_MIN_WRAPPED, _MIN_WRAPPED_SHARE, _MIN_PARAGRAPH = 60, 0.6, 200

_BLOCK = re.compile(r"\S(?:.*\S)?(?:\n[ \t]*\S.*)*")
_LINE = re.compile(r"\S(?:.*\S)?")
_CLAUSE_END = re.compile(r"[;；。]\s*|[,，]\s*")
_QUESTION = re.compile(r"[?？][*_ ”\"'」』]*$")
_INTRODUCTION = re.compile(r"[:：][*_]*$")
_LIST_ITEM = re.compile(r"(?:[-*•·]|\d+[.)、]|[(（]?[一二三四五六七八九十]+[)）、])\s*\S")
# A name and a value: "Phone: 4417", but neither a time nor an address of the web.
_FORM_LINE = re.compile(
    r"[ \t]*(?:[-*•·][ \t]+)?[^\s:：][^:：\n]{0,38}[:：](?!//|$)(?<!\d[:：]).*\S"
)
# The name of a line that tells what the whole form is about: "Name", "设备名称".
_SUBJECT_NAME = re.compile(
    r"(?:\b(?:name|title|model|id|code|product|item)|名称|名稱|名字|姓名|品名|编号|編號|型号|型號)"
    r"\s*[:：]",
    re.IGNORECASE,
)
# A heading with one of these is mostly a sentence.
_VERB = re.compile(
    r"\b(?:is|are|was|were|has|have|had|will|must|may|can|cannot|shall|did|fell|falls|rose|rises"
    r"|grew|grows|won|lost|became|remains?|(?!need)\w{2,}ed)\b"
    r"|是|为|為|达|達|增长|增長|下降|上涨|上漲|不得|必须|必須|禁止|改为|改為|提高|降低|取消"
    r"|推迟|推遲|迁至|遷至",
    re.IGNORECASE,
)
_ASKING_HEADING = re.compile(
    r"(?:how|what|when|where|why|who|which|about|\w+ing)\b"
    r"|如何|怎|什么|什麼|为何|為何|关于|關於",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A piece of a passage that may be an answer.

    Attributes:
        hit: index of the passage among the hits.
        start, end: offsets into the passage's text.
        reading: the piece in words: a row has the names of its columns, and an answer below a
            question has the question.
        around: the path, and the header and neighbors that belong to the piece.
        is_record: whether it is a row or a line of a form, about which only `around` tells more;
            the subject of a sentence may be named anywhere in its passage.
        path: title of the document, and headings above the piece.
        subject: what a line of a form is about: the lines above it that name it.
        subject_name: the name itself, if it is such a line.
    """

    hit: int
    start: int
    end: int
    reading: str
    around: str
    is_record: bool = False
    path: str = ""
    subject: str = ""
    subject_name: str = ""

    @property
    def in_context(self) -> str:
        """The reading below its path and its subject."""
        above = f"{self.path}\n{self.subject}" if self.subject else self.path
        return f"{above}\n{self.reading}"


class _Piece(NamedTuple):
    """A candidate without the path, which depends on the whole document."""

    start: int
    end: int
    reading: str
    around: str = ""
    is_record: bool = False
    subject: str = ""
    subject_name: str = ""


def candidates(hits: Sequence[Hit], headings: Headings) -> list[Candidate]:
    """The candidates of all passages, in order."""
    outlines = {id_: Outline(of_document) for id_, of_document in headings.items()}
    results = []
    for number, hit in enumerate(hits):
        titles = {heading.offset - hit.start for heading in headings[hit.document_id]}
        for piece in _pieces(hit, titles):
            above = outlines[hit.document_id].path(hit.start + piece.start)
            path = above if above.startswith(hit.title) else f"{hit.title}\n{above}".strip()
            of_piece = piece._replace(around=f"{path}\n{piece.around}")._asdict()
            results.append(Candidate(hit=number, path=path, **of_piece))
    return results


def states_a_fact(heading: str) -> bool:
    """Whether a heading says something, and does not only name the text below it."""
    words = len(re.findall(rf"[{CJK}]", heading)) / 2 + len(re.findall(rf"[^\W{CJK}]+", heading))
    is_asking = _ASKING_HEADING.match(heading) or _QUESTION.search(heading)
    return words >= 4 and not is_asking and bool(_VERB.search(heading))


def _pieces(hit: Hit, titles: set[int]) -> Iterator[_Piece]:
    """The candidates of a passage, block by block.

    Args:
        titles: offsets of headings into the passage's text.
    """
    text = hit.text
    blocks = [match.span() for match in _BLOCK.finditer(text)]
    # A passage that begins inside of a table has the table's header in its heading.
    header = hit.heading.rpartition(" > ")[2]
    header = header if CELL_END in header else ""
    lead = ""  # a question, or the line before a list or a table
    for (start, end), following in pairwise([*blocks, (len(text), len(text))]):
        block = text[start:end]
        if start in titles:
            heading, _, block = block.partition("\n")
            if states_a_fact(heading):
                yield _Piece(start, start + len(heading), heading)
            lead = heading if _QUESTION.search(heading) else ""
            if not block.strip():
                continue
            start = end - len(block)
        if CELL_END in block:
            yield from _rows(block, start, header if start == 0 else "", lead)
        elif _is_form(block):
            yield from _form_lines(block, start, lead)
        else:
            yield from _sentences(text, (start, end), following, lead)
        last = block.rpartition("\n")[2]
        lead = last if _QUESTION.search(last) or _INTRODUCTION.search(last) else ""


def _rows(block: str, offset: int, header: str, lead: str) -> Iterator[_Piece]:
    """The rows of a table, without its header, and the lines around it."""
    lines = _lines(block)
    texts = [block[start:end] for start, end in lines]
    header = header or header_of([text for text in texts if CELL_END in text])
    for (start, end), text in zip(lines, texts, strict=True):
        if CELL_END not in text:
            yield _Piece(offset + start, offset + end, text, lead)
            lead = text
        elif text != header:
            reading = read_row(header, text)
            yield _Piece(offset + start, offset + end, reading, f"{lead}\n{header}", True)


def _is_form(block: str) -> bool:
    """Whether a block consists of lines with a name and a value: "Phone: 4417"."""
    lines = block.split("\n")
    named = sum(bool(_FORM_LINE.fullmatch(line)) for line in lines)
    # Lines such as "Q: May I pay by cheque?" are questions and answers.
    has_question = any(_QUESTION.search(line) for line in lines)
    return len(lines) > 1 and named > len(lines) / 2 and not has_question


def _form_lines(block: str, offset: int, lead: str) -> Iterator[_Piece]:
    """The lines of a form, each with the whole form around it."""
    naming: dict[str, str] = {}  # lines above that name the subject, by what they call it
    for start, end in _lines(block):
        line = block[start:end]
        label, *value = re.split("[:：]", line, maxsplit=1)
        if label in naming:  # the next record begins
            naming.clear()
        subject = "\n".join(naming.values())
        name = value[0] if _names_subject(line) else ""
        span = offset + start, offset + end
        yield _Piece(*span, line, f"{lead}\n{block}", True, subject, name)
        if name:
            naming[label] = line


def _names_subject(line: str) -> bool:
    """Whether a line of a form tells what the whole form is about."""
    return bool(_FORM_LINE.fullmatch(line) and _SUBJECT_NAME.search(line))


def _sentences(text: str, block: TextSpan, following: TextSpan, lead: str) -> Iterator[_Piece]:
    """The sentences of a block of prose or of a list.

    Args:
        following: the next block, which belongs to a sentence that introduces it.
        lead: a question or an introduction before the block.
    """
    spans = list(_sentence_spans(text, block))
    texts = [text[start:end] for start, end in spans]
    for number, ((start, end), sentence) in enumerate(zip(spans, texts, strict=True)):
        if _QUESTION.search(sentence):
            lead = text[_start_of_question(text, start, end) : end]
            continue
        if _begins_question(text, end, block[1]) or not re.search(r"\w", sentence):
            continue
        around = "\n".join(
            [lead, *texts[max(number - 1, 0) : number], *texts[number + 1 : number + 2]]
        )
        is_introduction = bool(_INTRODUCTION.search(sentence))
        if is_introduction:
            end = _end_of_list(text, end, following)
            yield _Piece(start, end, text[start:end], around)
            lead = sentence
            continue
        reading = f"{lead} {sentence}" if _QUESTION.search(lead) else sentence
        yield _Piece(start, end, reading, around)
        lead = lead if _LIST_ITEM.match(sentence) else ""


def _start_of_question(text: str, start: int, end: int) -> int:
    """The start of the line of a question if the line is short, else of its sentence."""
    line = text.rfind("\n", 0, start) + 1
    return line if end - line < _MAX_QUESTION else start


def _begins_question(text: str, end: int, block_end: int) -> bool:
    """Whether the sentence that ends at `end` begins a short line that puts a question.

    The line "I lost my key. What now?" does, and has its answer in the line below.
    """
    start, stop = text.rfind("\n", 0, end) + 1, text.find("\n", end, block_end)
    return stop - start in range(_MAX_QUESTION) and bool(_QUESTION.search(text[start:stop]))


def _end_of_list(text: str, end: int, following: TextSpan) -> int:
    """The end of the list that the sentence which ends at `end` introduces."""
    limit = end + MAX_CHARACTERS
    rest = text[end : following[0]].rstrip()
    list_end = end + len(rest) if rest else following[1]
    if list_end <= limit:
        return list_end
    cut = text.rfind("\n", end, limit)
    return cut if cut > end else end


def _sentence_spans(text: str, block: TextSpan) -> Iterator[TextSpan]:
    """Spans of the sentences of a block; those that are too long are cut between clauses."""
    block_start, block_end = block
    for start, end in _unwrapped(text[block_start:block_end]):
        line_start = block_start + start
        for first, last in sentence_spans(text[line_start : block_start + end]):
            yield from _cut(text, line_start + first, line_start + last)


def _unwrapped(block: str) -> list[TextSpan]:
    """Spans of the lines if each is a text of its own, or of the block if it is wrapped text."""
    lines = _lines(block)
    lengths = [end - start for start, end in lines]
    width = max(lengths, default=0)
    all_full = all(length > _MIN_WRAPPED_SHARE * width for length in lengths[:-1])
    is_wrapped = width >= _MIN_WRAPPED and all_full
    if len(lines) < 2 or is_wrapped or any(length > _MIN_PARAGRAPH for length in lengths[:-1]):
        return [(0, len(block))]
    return lines


def _cut(text: str, start: int, end: int) -> Iterator[TextSpan]:
    """A sentence in pieces of at most `MAX_CHARACTERS`."""
    while end - start > MAX_CHARACTERS:
        limit = start + MAX_CHARACTERS
        cuts = [match.end() for match in _CLAUSE_END.finditer(text, start, limit)]
        cut = cuts[-1] if cuts else limit
        yield start, start + len(text[start:cut].rstrip())
        start = cut
    yield start, end


def _lines(block: str) -> list[TextSpan]:
    """Spans of the lines that are not blank, without white space around them."""
    return [match.span() for match in _LINE.finditer(block)]
