"""Documents as they are read, cut and stored.

Every position is an offset in characters (Unicode code points) into `text`.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

EVERYONE = "everyone"


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading that stands in the text at `offset`; level 1 is the highest."""

    offset: int
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """What a parser recovers from a file.

    Attributes:
        text: the whole text; blocks are separated by a blank line, table rows by a newline.
        pages: offset at which each page (slide, sheet) begins; empty if the format has no pages.
        headings: in order of offset.
        title: the document's own title, or empty.
        metadata: what the file says about itself (author, date, sender, ...).
        warnings: what could not be recovered, for people to read.
    """

    text: str
    pages: tuple[int, ...] = ()
    headings: tuple[Heading, ...] = ()
    title: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of a document: `text[start:end]`, and the headings it stands under."""

    start: int
    end: int
    heading: str


class Outline:
    """The headings of a document, read once to be looked up at many offsets."""

    def __init__(self, headings: Sequence[Heading]) -> None:
        self._starts = [heading.offset for heading in headings]
        self._paths = [""]
        above: list[Heading] = []
        for heading in headings:
            above = [each for each in above if each.level < heading.level] + [heading]
            self._paths.append(" > ".join(each.text for each in above))

    def path(self, offset: int) -> str:
        """The headings `offset` stands under, from the highest to the lowest, joined by " > "."""
        return self._paths[bisect_right(self._starts, offset)]


def page_at(pages: tuple[int, ...], offset: int) -> int | None:
    """The page (from 1) that holds `offset`, or None in a document without pages."""
    return bisect_right(pages, offset) or 1 if pages else None


@dataclass(frozen=True, slots=True)
class Document:
    """A stored document. `added_at` is in seconds since the epoch; `pages` and `headings` are as in
    ParsedDocument.
    """

    id: int
    source: str
    title: str
    format: str
    language: str
    sha256: str
    bytes: int
    characters: int
    pages: tuple[int, ...]
    headings: tuple[Heading, ...]
    warnings: tuple[str, ...]
    added_at: float
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Passage:
    """A stored passage: the document's text at `start:end`."""

    id: int
    document_id: int
    source: str
    title: str
    heading: str
    page: int | None
    start: int
    end: int
    text: str

    @property
    def in_context(self) -> str:
        """What the indexes see of the passage; see `in_context`."""
        return in_context(self.title, self.heading, self.text)


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the change log: a range of passages came or went."""

    seq: int
    kind: str
    document_id: int
    first_passage: int
    last_passage: int


@dataclass(frozen=True, slots=True)
class Removal:
    """The receipt of a removal: how many of each went; `traces` had their quotes redacted."""

    documents: int
    passages: int
    vectors: int
    traces: int


def in_context(title: str, heading: str, text: str) -> str:
    """A passage's text led by the title and headings it stands under, unless it holds them."""
    parts = (heading,) if heading.startswith(title) else (title, heading)
    lead = [part for part in parts if part and part not in text]
    return "\n".join([*lead, text.strip()])
