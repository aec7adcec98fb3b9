"""Two answers to one prompt: both rendered and tokenized as a server would, with a shared prompt.

A sample has three sequences: the prompt, and two answers that continue it. The prompt is computed
once for both where the model's attention allows it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moli.models.templates.chat_template import RenderedConversation
from moli.records.examples import Conversation, Example
from moli.records.messages import Message, Tool
from moli.training.batching.samples import Sample
from moli.training.tasks.base.chat import ChatTask, SupervisedText, TokenizedText

_CHUNK = 500  # pairs that are tokenized at once
CONTINUES = (-1, 0, 0)  # both answers continue the prompt


@dataclass(frozen=True, slots=True)
class AnswerPair:
    """A prompt and two answers to it, whose last turn is the assistant's."""

    prompt: tuple[Message, ...]
    answers: tuple[tuple[Message, ...], tuple[Message, ...]]
    tools: tuple[Tool, ...] = ()

    def conversations(self) -> list[Conversation]:
        """The prompt with each answer; only the answers are supervised."""
        before = tuple(replace(turn, supervised=False) for turn in self.prompt)
        return [Conversation((*before, *answer), self.tools) for answer in self.answers]

    def shortened(self) -> AnswerPair | None:
        """The pair without the first request and what answers it; None if it is the only one.

        System messages at the beginning are kept.
        """
        roles = [turn.role for turn in self.prompt]
        begin = next((n for n, role in enumerate(roles) if role != "system"), len(roles))
        later = (n for n in range(begin + 1, len(roles)) if roles[n] == "user")
        start = next(later, None)
        if start is None:
            return None
        return replace(self, prompt=self.prompt[:begin] + self.prompt[start:])


class AnswerPairTask(ChatTask):
    """A task whose samples are pairs of answers to one prompt.

    If a prompt and its longer answer have more than `max_length` tokens together, the first turns
    of the prompt are left out; answers are never cut.
    """

    supervised_unit = "pairs"

    @property
    def too_long_reason(self) -> str:
        """The reason why an example that is too long has no samples."""
        most = f"{self.max_length:,}"
        return f"the last request and an answer to it are longer than max_length {most}"

    @abstractmethod
    def answer_pair(self, example: Example) -> AnswerPair:
        """The prompt and the two answers of an example."""

    @abstractmethod
    def target(self, example: Example, masks: tuple[NDArray[np.bool_], ...]) -> Any:
        """The target of a sample.

        Args:
            masks: the supervised tokens of the prompt (none) and of each answer.
        """

    def conversations(self, example: Example) -> list[Conversation]:
        """The prompt with each of the two answers."""
        return self.answer_pair(example).conversations()

    def samples(self, examples: Sequence[Example], *, training: bool) -> list[list[Sample]]:  # noqa: ARG002
        """A sample for each example; none for one that is too long, or that answers no request."""
        groups: list[list[Sample]] = []
        for start in range(0, len(examples), _CHUNK):
            chunk = examples[start : start + _CHUNK]
            texts = self._texts([self.answer_pair(example) for example in chunk])
            for example, pair in zip(chunk, texts, strict=True):
                sample = self._sample(example, pair) if pair else None
                groups.append([sample] if sample else [])
        return groups

    def full_length(self, example: Example) -> int:
        """Tokens of the prompt with the longer answer."""
        texts = self._texts([self.answer_pair(example)])[0]
        return max((len(each.ids) for each in texts), default=0)

    def _sample(self, example: Example, texts: list[SupervisedText]) -> Sample | None:
        """The sample of an example, whose prompt is shortened until it fits; None if none does."""
        full_length = length = max(len(each.ids) for each in texts)
        pair: AnswerPair | None = self.answer_pair(example)
        while length > self.max_length:
            pair = pair.shortened() if pair else None
            if pair is None:
                return None
            texts = self._texts([pair])[0]
            length = max(len(each.ids) for each in texts)
        first, second = texts
        shared = _shared_length(first, second)
        if not shared:
            return None
        return Sample(
            (first.ids[:shared], first.ids[shared:], second.ids[shared:]),
            self.target(example, (first.mask[:shared], first.mask[shared:], second.mask[shared:])),
            truncated_tokens=full_length - length,
            continues=CONTINUES,
        )

    def _texts(self, pairs: Sequence[AnswerPair]) -> list[list[SupervisedText]]:
        """Both texts of each pair as tokens; empty if there is no answer to a request.

        If the template writes earlier turns differently from the last one, only the last turn of an
        answer is supervised.
        """
        rendered = [
            [text for each in pair.conversations() for text in self.render(each)[-1:]]
            for pair in pairs
        ]
        rendered = [texts if len(texts) == 2 else [] for texts in rendered]
        tokenized = self.tokenize([text for texts in rendered for text in texts])
        return [self._supervised(texts, [next(tokenized) for _ in texts]) for texts in rendered]

    def _supervised(
        self, rendered: list[RenderedConversation], tokenized: list[TokenizedText]
    ) -> list[SupervisedText]:
        """Tokens and masks of texts, in which no token spans the border of prompt and answer."""
        texts = list(zip(rendered, tokenized, strict=True))
        if any(_has_token_across(tokens, text.answer_spans[0][0]) for text, tokens in texts):
            # Elsewhere the prompt is tokenized as a server does anyway.
            rendered = [_split_at(text, text.answer_spans[0][0]) for text in rendered]
            texts = list(zip(rendered, self.tokenize(rendered), strict=True))
        return [self.supervise(text, tokens) for text, tokens in texts]


def _has_token_across(tokens: TokenizedText, border: int) -> bool:
    """Whether a token has characters on both sides of a border."""
    first, last = tokens.offsets[:, 0], tokens.offsets[:, 1]
    return bool(((first < border) & (last > border)).any())


def _split_at(text: RenderedConversation, border: int) -> RenderedConversation:
    """The text, with a part that begins at a border, so that no token spans it."""
    parts: list[str] = []
    for part in text.parts:
        cut = border - sum(map(len, parts))
        parts += [part[:cut], part[cut:]] if 0 < cut < len(part) else [part]
    return replace(text, parts=tuple(parts))


def _shared_length(first: SupervisedText, second: SupervisedText) -> int:
    """Number of tokens at the beginning that both have and that neither supervises."""
    most = min(int(first.mask.argmax()), int(second.mask.argmax()))
    differs = first.ids[:most] != second.ids[:most]
    return int(differs.argmax()) if differs.any() else most
