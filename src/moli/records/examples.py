"""Examples to train on and to evaluate with: one class for each kind.

A new kind touches three files: its class here, its format in `workspace.datasets.formats`, and the
task that learns from it.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Self

from moli.records.hashing import hash_file
from moli.records.messages import Message, Tool


class Example:
    """Base class of all kinds, with what data sets and their checks need to know of an example.

    Attributes:
        plural: what messages to people call examples of this kind.
        input_is_text: whether inputs that differ only in case or punctuation count as equal.
        has_one_target: whether two examples with equal inputs and different targets contradict
            each other.
    """

    __slots__ = ()

    plural: ClassVar[str]
    input_is_text: ClassVar[bool] = True
    has_one_target: ClassVar[bool] = False

    @property
    def model_input(self) -> str:
        """The text that the model reads."""
        raise NotImplementedError

    @property
    def expected_output(self) -> str:
        """The text that the model is trained to give for its input; "" if there is none."""
        raise NotImplementedError

    @property
    def summary(self) -> str:
        """The text that shows people which example it is; by default what the model reads."""
        return self.model_input

    @property
    def subject(self) -> Hashable:
        """The text or image that the example is about, which other examples may share.

        All examples of one subject go to the same side of a split: a model that was trained on a
        text knows more about other questions on it than about questions on any other text.
        """
        return self

    @property
    def identity(self) -> Hashable:
        """A value that two examples share if they are duplicates; by default the example."""
        return self

    @property
    def class_label(self) -> str | None:
        """The class that the example belongs to; None if its kind has no classes."""
        return None

    @property
    def class_labels(self) -> tuple[str, ...]:
        """All classes that the example belongs to; empty if its kind has no classes."""
        return () if self.class_label is None else (self.class_label,)

    def with_labels(self, names: Mapping[str, str]) -> Self:  # noqa: ARG002
        """The same example with other names for some of its classes."""
        return self

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that belong to the example besides the data file, such as its image."""
        return ()

    def with_files_in(self, folder: Path) -> Self:  # noqa: ARG002
        """The same example with its files looked up in the data file's folder."""
        return self


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
        turns = (f"{each.role}: {_message_text(each)}" for each in self.messages[:-1])
        return "\n".join((*map(_tool_text, self.tools), *turns))

    @property
    def expected_output(self) -> str:
        """The last turn."""
        return _message_text(self.messages[-1])

    @property
    def summary(self) -> str:
        """The user's last message; "" if there is none."""
        user = (each.content for each in reversed(self.messages) if each.role == "user")
        return next(user, "")


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
class Labelled(Example):
    """A text and its class.

    Attributes:
        classes: all classes of a data set that numbers them, in the order of their numbers.
    """

    plural: ClassVar[str] = "texts with a label"
    has_one_target: ClassVar[bool] = True

    text: str
    label: str
    classes: tuple[str, ...] = field(default=(), compare=False, repr=False)

    @property
    def model_input(self) -> str:
        """The text."""
        return self.text

    @property
    def expected_output(self) -> str:
        """The label."""
        return self.label

    @property
    def subject(self) -> Hashable:
        """The text."""
        return self.text

    @property
    def class_label(self) -> str:
        """The label."""
        return self.label

    def with_labels(self, names: Mapping[str, str]) -> Self:
        """The same example with other names for some of its classes."""
        return replace(self, label=names.get(self.label, self.label))


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


@dataclass(frozen=True, slots=True)
class LabelledImage(Example):
    """An image file and its class. Files with equal bytes are the same image.

    Attributes:
        classes: all classes of a data set that numbers them, in the order of their numbers.
    """

    plural: ClassVar[str] = "images with a label"
    input_is_text: ClassVar[bool] = False
    has_one_target: ClassVar[bool] = True

    path: Path
    label: str
    classes: tuple[str, ...] = field(default=(), compare=False, repr=False)

    @property
    def model_input(self) -> str:
        """SHA-256 of the image's bytes, in hexadecimal; its path if the file cannot be read."""
        try:
            return hash_file(self.path).hex()
        except OSError:
            return str(self.path)

    @property
    def expected_output(self) -> str:
        """The label."""
        return self.label

    @property
    def summary(self) -> str:
        """The path of the image."""
        return str(self.path)

    @property
    def subject(self) -> Hashable:
        """The hash of the image."""
        return self.model_input

    @property
    def identity(self) -> Hashable:
        """The hash of the image and the class; the file's name does not matter."""
        return self.model_input, self.label

    @property
    def class_label(self) -> str:
        """The label."""
        return self.label

    def with_labels(self, names: Mapping[str, str]) -> Self:
        """The same example with other names for some of its classes."""
        return replace(self, label=names.get(self.label, self.label))

    @property
    def files(self) -> tuple[Path, ...]:
        """The image file."""
        return (self.path,)

    def with_files_in(self, folder: Path) -> Self:
        """The same example with the image's path relative to a folder made absolute."""
        return replace(self, path=(folder / self.path).absolute())


@dataclass(frozen=True, slots=True)
class LocatedExample:
    """An example and its origin: `file:line`, or `file row n` in files without lines."""

    where: str
    example: Example


@dataclass(frozen=True, slots=True)
class MalformedRow:
    """A row that is no example: its origin, what is wrong with it, and what to do."""

    where: str
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}. {self.fix}"


@dataclass(frozen=True, slots=True)
class UnreadLines(MalformedRow):
    """Lines of a file that are no rows because of a fault in the first of them.

    Attributes:
        lines: number of the lines, the first included.
    """

    lines: int = 1


def _message_text(message: Message) -> str:
    """The message's content and its tool calls."""
    calls = (f"{each.name} {each.arguments}" for each in message.calls)
    return "\n".join((message.content, *calls))


def _tool_text(tool: Tool) -> str:
    """A tool's name, description and parameters."""
    return f"{tool.name}: {tool.description} {json.dumps(dict(tool.parameters))}"
