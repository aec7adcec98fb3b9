"""Kinds of examples that compare or rate answers: pairs of answers, and single rated ones."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from moli.records.example import Example
from moli.records.messages import Message, Tool, last_request, message_text, transcript


@dataclass(frozen=True, slots=True)
class Preference(Example):
    """A prompt with two answers, of which people or a judge prefer one.

    Attributes:
        prompt: the conversation up to the answers.
        chosen, rejected: the turns of the better and of the worse answer; the last one is the
            assistant's.
        margin: how much better the chosen answer is, on the data's own scale; 0 if unknown.
        chosen_is_safe, rejected_is_safe: whether each answer is harmless; None if unknown.
        prompt_is_unsafe: whether the prompt asks for something harmful; None if unknown.
        tools: the tools that the assistant may call.
    """

    plural: ClassVar[str] = "pairs of a chosen and a rejected answer"
    has_one_target: ClassVar[bool] = True  # two pairs that prefer the opposite contradict

    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    margin: float = 0.0
    chosen_is_safe: bool | None = None
    rejected_is_safe: bool | None = None
    prompt_is_unsafe: bool | None = None
    tools: tuple[Tool, ...] = ()

    @property
    def model_input(self) -> str:
        """The prompt and both answers, in an order that does not tell which one is preferred."""
        answers = sorted(map(transcript, (self.chosen, self.rejected)))
        return "\n".join((transcript(self.prompt, self.tools), *answers))

    @property
    def expected_output(self) -> str:
        """The chosen answer."""
        return transcript(self.chosen)

    @property
    def summary(self) -> str:
        """The user's last message."""
        return last_request(self.prompt)

    @property
    def subject(self) -> Hashable:
        """The prompt, of which there may be several pairs."""
        return self.prompt

    @property
    def identity(self) -> Hashable:
        """The prompt and both answers; a repetition may have another margin or other tags."""
        return self.prompt, self.chosen, self.rejected


@dataclass(frozen=True, slots=True)
class RatedAnswer(Example):
    """A prompt with one answer that is good or not, such as a thumb up or down.

    Attributes:
        prompt: the conversation up to the answer.
        answer: the turns of the answer; the last one is the assistant's.
        is_good: whether the answer is desirable.
    """

    plural: ClassVar[str] = "answers that are rated as good or bad"
    has_one_target: ClassVar[bool] = True

    prompt: tuple[Message, ...]
    answer: tuple[Message, ...]
    is_good: bool

    @property
    def model_input(self) -> str:
        """The prompt and the answer."""
        return transcript((*self.prompt, *self.answer))

    @property
    def expected_output(self) -> str:
        """The rating."""
        return self.class_label

    @property
    def summary(self) -> str:
        """The user's last message."""
        return last_request(self.prompt)

    @property
    def subject(self) -> Hashable:
        """The prompt, of which there may be several answers."""
        return self.prompt

    @property
    def class_label(self) -> str:
        """The rating, so that both ratings are counted, and held out in equal shares."""
        return "good" if self.is_good else "bad"


def answer_length(turns: Sequence[Message]) -> int:
    """Number of characters of an answer."""
    return sum(len(message_text(turn)) for turn in turns)
