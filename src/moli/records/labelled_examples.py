"""Examples with classes: texts, pairs of texts and images with a label, and texts with several."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Self

from moli.records.example import Example
from moli.records.hashing import hash_file


class SingleLabelExample(Example):
    """Base class of the kinds with a `label`, the only class that an example belongs to."""

    __slots__ = ()

    has_one_target: ClassVar[bool] = True

    label: str

    @property
    def expected_output(self) -> str:
        """The label."""
        return self.label

    @property
    def class_label(self) -> str:
        """The label."""
        return self.label

    def with_labels(self, names: Mapping[str, str]) -> Self:
        """The same example with other names for some of its classes."""
        label = names.get(self.label, self.label)
        return replace(self, label=label)  # type: ignore[type-var]  # all kinds are dataclasses


@dataclass(frozen=True, slots=True)
class Labelled(SingleLabelExample):
    """A text and its class.

    Attributes:
        classes: all classes of a data set that numbers them, in the order of their numbers.
    """

    plural: ClassVar[str] = "texts with a label"

    text: str
    label: str
    classes: tuple[str, ...] = field(default=(), compare=False, repr=False)

    @property
    def model_input(self) -> str:
        """The text."""
        return self.text

    @property
    def subject(self) -> Hashable:
        """The text."""
        return self.text


@dataclass(frozen=True, slots=True)
class LabelledPair(SingleLabelExample):
    """Two texts and the class of their relation, such as a premise, a hypothesis, and whether the
    one follows from the other.

    Attributes:
        classes: all classes of a data set that numbers them, in the order of their numbers.
    """

    plural: ClassVar[str] = "pairs of texts with a label"

    first: str
    second: str
    label: str
    classes: tuple[str, ...] = field(default=(), compare=False, repr=False)

    @property
    def model_input(self) -> str:
        """Both texts."""
        return f"{self.first}\n{self.second}"

    @property
    def subject(self) -> Hashable:
        """The first text, which several second ones may share."""
        return self.first


@dataclass(frozen=True, slots=True)
class MultiLabelled(Example):
    """A text and all classes that it belongs to, which may be none.

    Attributes:
        classes: all classes of a data set that numbers them, in the order of their numbers.
    """

    plural: ClassVar[str] = "texts with a list of labels"
    has_one_target: ClassVar[bool] = True

    text: str
    labels: tuple[str, ...]
    classes: tuple[str, ...] = field(default=(), compare=False, repr=False)

    @property
    def model_input(self) -> str:
        """The text."""
        return self.text

    @property
    def expected_output(self) -> str:
        """The labels, one a line, in alphabetical order."""
        return "\n".join(sorted(self.labels))

    @property
    def subject(self) -> Hashable:
        """The text."""
        return self.text

    @property
    def class_labels(self) -> tuple[str, ...]:
        """The labels."""
        return self.labels

    def with_labels(self, names: Mapping[str, str]) -> Self:
        """The same example with other names for some of its classes."""
        renamed = dict.fromkeys(names.get(label, label) for label in self.labels)
        return replace(self, labels=tuple(renamed))


@dataclass(frozen=True, slots=True)
class LabelledImage(SingleLabelExample):
    """An image file and its class. Files with equal bytes are the same image.

    Attributes:
        classes: all classes of a data set that numbers them, in the order of their numbers.
    """

    plural: ClassVar[str] = "images with a label"
    input_is_text: ClassVar[bool] = False

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
    def files(self) -> tuple[Path, ...]:
        """The image file."""
        return (self.path,)

    def with_files_in(self, folder: Path) -> Self:
        """The same example with the image's path relative to a folder made absolute."""
        return replace(self, path=(folder / self.path).absolute())
