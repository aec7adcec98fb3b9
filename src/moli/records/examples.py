"""Examples to train on and to evaluate with: one class for each kind.

A new kind touches three files: its class here (or in `labelled_examples` or `preferences`), its
format in `workspace.datasets.formats`, and the task that learns from it.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

from moli.records.example import Example, LocatedExample, MalformedRow, UnreadLines
from moli.records.labelled_examples import (
    Labelled,
    LabelledImage,
    LabelledPair,
    MultiLabelled,
)
from moli.records.messages import Message, Tool, last_request, message_text, transcript
from moli.records.preferences import Preference, RatedAnswer

__all__ = [
    "Conversation",
    "Example",
    "Labelled",
    "LabelledImage",
    "LabelledPair",
    "LocatedExample",
    "MalformedRow",
    "Match",
    "MultiLabelled",
    "Pair",
    "Preference",
    "RatedAnswer",
    "Scored",
    "Span",
    "Text",
    "UnreadLines",
]


@dataclass(frozen=True, slots=True)
class Conversation(Example):
    """Turns between a person and an assistant; the assistant's are the supervised ones.

    Attributes:
        tools: the tools that the assistant may call.
    """

    plural: ClassVar[str] = "conversations"

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()

    @property
    def model_input(self) -> str:
        """The tools, and all turns but the last."""
        return transcript(self.messages[:-1], self.tools)

    @property
    def expected_output(self) -> str:
        """The last turn."""
        return message_text(self.messages[-1])

    @property
    def summary(self) -> str:
        """The user's last message; "" if there is none."""
        return last_request(self.messages)


@dataclass(frozen=True, slots=True)
class Text(Example):
    """Plain text; all of its tokens are supervised."""

    plural: ClassVar[str] = "plain texts"

    text: str

    @property
    def model_input(self) -> str:
        """The text."""
        return self.text

    @property
    def expected_output(self) -> str:
        """No text: every token is both input and target."""
        return ""


@dataclass(frozen=True, slots=True)
class Pair(Example):
    """A source text and the target text that follows it or that it is turned into."""

    plural: ClassVar[str] = "pairs of a source and a target"

    source: str
    target: str

    @property
    def model_input(self) -> str:
        """The source."""
        return self.source

    @property
    def expected_output(self) -> str:
        """The target."""
        return self.target

    @property
    def subject(self) -> Hashable:
        """The source, or the target if the source is empty."""
        return self.source or self.target


@dataclass(frozen=True, slots=True)
class Span(Example):
    """A question and a context that contains its answers, each at its offset in characters."""

    plural: ClassVar[str] = "questions on a text with the answers in it"

    question: str
    context: str
    answers: tuple[str, ...]
    starts: tuple[int, ...]

    @property
    def model_input(self) -> str:
        """The question and the context."""
        return f"{self.question}\n{self.context}"

    @property
    def expected_output(self) -> str:
        """The answers, one a line."""
        return "\n".join(self.answers)

    @property
    def subject(self) -> Hashable:
        """The context, which several questions may share."""
        return self.context

    @property
    def summary(self) -> str:
        """The question."""
        return self.question


@dataclass(frozen=True, slots=True)
class Scored(Example):
    """Two texts and their similarity, on the data set's own scale."""

    plural: ClassVar[str] = "pairs of texts with a score"
    has_one_target: ClassVar[bool] = True

    first: str
    second: str
    score: float

    @property
    def model_input(self) -> str:
        """Both texts."""
        return f"{self.first}\n{self.second}"

    @property
    def expected_output(self) -> str:
        """The score as text."""
        return repr(self.score)

    @property
    def summary(self) -> str:
        """The first text."""
        return self.first


@dataclass(frozen=True, slots=True)
class Match(Example):
    """A query, a text that is relevant to it, and hard negatives: texts that only seem to be."""

    plural: ClassVar[str] = "queries with a match"

    query: str
    positive: str
    negatives: tuple[str, ...] = ()

    @property
    def model_input(self) -> str:
        """The query and its positive."""
        return f"{self.query}\n{self.positive}"

    @property
    def expected_output(self) -> str:
        """The negatives, so that only matches with equal negatives count as repetitions."""
        return "\n".join(self.negatives)

    @property
    def summary(self) -> str:
        """The query."""
        return self.query

    @property
    def subject(self) -> Hashable:
        """The query."""
        return self.query
