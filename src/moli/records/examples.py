"""What models are trained on and judged by: one class for each kind of example."""

from dataclasses import dataclass
from pathlib import Path

from moli.records.messages import Message, Tool


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns between a person and an assistant; the assistant's are to be learnt.

    Attributes:
        tools: those that the assistant may call.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()


@dataclass(frozen=True, slots=True)
class Text:
    """Plain text, all of which is to be learnt."""

    text: str


@dataclass(frozen=True, slots=True)
class Pair:
    """A text and what it is to be turned into or followed by."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text and its class."""

    text: str
    label: str


@dataclass(frozen=True, slots=True)
class Span:
    """A question whose answers stand in a text, each at its offset in characters."""

    question: str
    context: str
    answers: tuple[str, ...]
    starts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Scored:
    """Two texts and how alike they are, on the data set's own scale."""

    first: str
    second: str
    score: float


@dataclass(frozen=True, slots=True)
class Match:
    """A text, one that belongs to it, and some that only seem to."""

    query: str
    positive: str
    negatives: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """An image file and its class."""

    path: Path
    label: str


Example = Conversation | Text | Pair | Labelled | Span | Scored | Match | LabelledImage


@dataclass(frozen=True, slots=True)
class Located:
    """An example and where it came from: `file:line`, or `file row n` where there are no lines."""

    where: str
    example: Example


@dataclass(frozen=True, slots=True)
class Malformed:
    """A row that is not an example: where, what is wrong with it, and what to do."""

    where: str
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}. {self.fix}"
