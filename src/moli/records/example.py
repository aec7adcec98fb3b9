"""The base class of all kinds of examples, and an example with its origin in a data set."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self


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
