"""Documents as they are parsed, chunked and stored.

Every position is an offset in characters (Unicode code points) into `text`.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

EVERYONE = "everyone"


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading in the text at `offset`; level 1 is the highest."""

    offset: int
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Timestamp:
    """The time in a recording at which the text at `offset` begins, in seconds."""

    offset: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """The text and structure that a parser extracts from a file.

    Attributes:
        text: the whole text; blocks are separated by a blank line, table rows by a newline.
        pages: offset at which each page (slide, sheet) begins; empty if the format has no pages.
        headings: in order of offset.
        times: when each part is said, in order of offset; empty if nothing is known of that.
        title: the document's own title, or empty.
        metadata: properties from the file (author, date, sender, ...), some with several values.
        warnings: messages to people about content that could not be extracted.
    """

    text: str
    pages: tuple[int, ...] = ()
    headings: tuple[Heading, ...] = ()
    title: str = ""
    metadata: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    times: tuple[Timestamp, ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a document, `text[start:end]`, and the path of headings above it."""

    start: int
    end: int
    heading: str


class Outline:
    """An index of a document's headings, for lookups by offset."""

    def __init__(self, headings: Sequence[Heading]) -> None:
        self._starts = [heading.offset for heading in headings]
        self._paths = [""]
        above: list[Heading] = []
        for heading in headings:
            above = [each for each in above if each.level < heading.level] + [heading]
            self._paths.append(" > ".join(each.text for each in above))

    def path(self, offset: int) -> str:
        """The headings above `offset`, from the highest to the lowest level, joined by " > "."""
        return self._paths[bisect_right(self._starts, offset)]


def page_at(pages: tuple[int, ...], offset: int) -> int | None:
    """The page (from 1) that contains `offset`; None in a document without pages."""
    return bisect_right(pages, offset) or 1 if pages else None


def time_at(times: tuple[Timestamp, ...], offset: int) -> str | None:
    """The time at which `offset` is said, such as 03:12 or 1:03:12; None without times."""
    if not times:
        return None
    last = max(bisect_right(times, offset, key=lambda each: each.offset) - 1, 0)
    minutes, seconds = divmod(int(times[last].seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes:02}:{seconds:02}"


@dataclass(frozen=True, slots=True)
class Document:
    """A stored document.

    Attributes:
        source: the path or name that it was added by.
        sha256: hash of the file.
        bytes, characters: size of the file, and length of the text.
        pages, headings, warnings, times: see `ParsedDocument`.
        added_at: seconds since 1970.
        groups: access groups that may see the document.
        date: 2024-03-01, 2024-03 or 2024, as far as the document or its name tells; or "".
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
    times: tuple[Timestamp, ...] = ()
    date: str = ""


@dataclass(frozen=True, slots=True)
class Passage:
    """A stored chunk of a document: the document's text from `start` to `end`.

    Attributes:
        page, time: where `start` is; see `page_at` and `time_at`.
    """

    id: int
    document_id: int
    source: str
    title: str
    heading: str
    page: int | None
    start: int
    end: int
    text: str
    time: str | None = None

    @property
    def text_with_context(self) -> str:
        """The text after its title and headings, as it is indexed."""
        return text_with_context(self.title, self.heading, self.text)


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the change log: a range of passages that was added or removed.

    Search indexes read the log to follow the database.

    Attributes:
        seq: number of the entry.
        kind: "add" or "remove".
    """

    seq: int
    kind: str
    document_id: int
    first_passage: int
    last_passage: int


@dataclass(frozen=True, slots=True)
class Removal:
    """Numbers of removed documents, passages and vectors, and of traces that were redacted."""

    documents: int
    passages: int
    vectors: int
    traces: int


def text_with_context(title: str, heading: str, text: str) -> str:
    """A passage's text after the title and headings above it, unless the text contains them."""
    context = (heading,) if heading.startswith(title) else (title, heading)
    missing = [part for part in context if part and part not in text]
    return "\n".join([*missing, text.strip()])
