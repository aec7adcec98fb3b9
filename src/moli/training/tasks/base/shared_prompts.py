"""Answers to one prompt: rendered and tokenized as a server would, with the prompt in common.

A sample has the prompt as its first sequence, and each answer as one that continues it. The prompt
is computed once for all of them where the model's attention allows it.
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

_CHUNK = 500  # prompts that are tokenized at once


@dataclass(frozen=True, slots=True)
class PromptAnswers:
    """A prompt and answers to it; the last turn of an answer is the assistant's."""

    prompt: tuple[Message, ...]
    answers: tuple[tuple[Message, ...], ...]
    tools: tuple[Tool, ...] = ()

    def conversations(self) -> list[Conversation]:
        """The prompt with each answer; only the answers are supervised."""
        before = tuple(replace(turn, supervised=False) for turn in self.prompt)
        return [Conversation((*before, *answer), self.tools) for answer in self.answers]

    def shortened(self) -> PromptAnswers | None:
        """The same without the first request and what answers it; None if it is the only one.

        System messages at the beginning are kept.
        """
        roles = [turn.role for turn in self.prompt]
        begin = next((n for n, role in enumerate(roles) if role != "system"), len(roles))
        start = next((n for n in range(begin + 1, len(roles)) if roles[n] == "user"), None)
        if start is None:
            return None
        return replace(self, prompt=self.prompt[:begin] + self.prompt[start:])


class SharedPromptTask(ChatTask):
    """A task whose samples are answers to one prompt.

    If a prompt and its longest answer have more than `max_length` tokens together, the first turns
    of the prompt are left out; answers are never cut.
    """

    @property
    def too_long_reason(self) -> str:
        """The reason why an example that is too long has no samples."""
        most = f"{self.max_length:,}"
        return f"the last request and an answer to it are longer than max_length {most}"

    @abstractmethod
    def prompt_answers(self, example: Example) -> PromptAnswers:
        """The prompt and the answers of an example."""

    @abstractmethod
    def target(self, example: Example, masks: tuple[NDArray[np.bool_], ...]) -> Any:
        """The target of a sample.

        Args:
            masks: the supervised tokens of the prompt (none) and of each answer.
        """

    def conversations(self, example: Example) -> list[Conversation]:
        """The prompt with each of the answers."""
        return self.prompt_answers(example).conversations()

    def samples(self, examples: Sequence[Example], *, training: bool) -> list[list[Sample]]:  # noqa: ARG002
        """A sample for each example; none for one that is too long, or that answers no request."""
        groups: list[list[Sample]] = []
        for start in range(0, len(examples), _CHUNK):
            chunk = examples[start : start + _CHUNK]
            texts = self._texts([self.prompt_answers(example) for example in chunk])
            for example, own in zip(chunk, texts, strict=True):
                sample = self._sample(example, own) if own else None
                groups.append([sample] if sample else [])
        return groups

    def full_length(self, example: Example) -> int:
        """Tokens of the prompt with the longest answer."""
        return _length(self._texts([self.prompt_answers(example)])[0])

    def _sample(self, example: Example, texts: list[SupervisedText]) -> Sample | None:
        """The sample of an example, with as much of the prompt as fits; None if too little does."""
        full_length = _length(texts)
        shorter: PromptAnswers | None = self.prompt_answers(example)
        while _length(texts) > self.max_length:
            shorter = shorter.shortened() if shorter else None
            if shorter is None:
                return None
            texts = self._texts([shorter])[0]
        shared = _shared_length(texts)
        if not shared:
            return None
        masks = (texts[0].mask[:shared], *(each.mask[shared:] for each in texts))
        return Sample(
            (texts[0].ids[:shared], *(each.ids[shared:] for each in texts)),
            self.target(example, masks),
            truncated_tokens=full_length - _length(texts),
            continues=(-1, *(0 for _ in texts)),
        )

    def _texts(self, prompts: Sequence[PromptAnswers]) -> list[list[SupervisedText]]:
        """The text of each answer as tokens; empty if one of them answers no request.

        If the template writes earlier turns differently from the last one, only the last turn of an
        answer is supervised.
        """
        rendered = [
            [text for each in prompt.conversations() for text in self.render(each)[-1:]]
            for prompt in prompts
        ]
        rendered = [
            texts if len(texts) == len(prompt.answers) else []
            for texts, prompt in zip(rendered, prompts, strict=True)
        ]
        tokenized = self.tokenize([text for texts in rendered for text in texts])
        return [self._supervised(texts, [next(tokenized) for _ in texts]) for texts in rendered]

    def _supervised(
        self, rendered: list[RenderedConversation], tokenized: list[TokenizedText]
    ) -> list[SupervisedText]:
        """Tokens and masks of texts, in which no token spans the border of prompt and answer."""
        texts = list(zip(rendered, tokenized, strict=True))
        if any(_has_token_across(tokens, text.answer_spans[0][0]) for text, tokens in texts):
            # A server tokenizes a prompt before there is an answer that it could be joined to.
            rendered = [_split_at(text, text.answer_spans[0][0]) for text in rendered]
            texts = list(zip(rendered, self.tokenize(rendered), strict=True))
        return [self.supervise(text, tokens) for text, tokens in texts]


def _length(texts: Sequence[SupervisedText]) -> int:
    """Tokens of the longest text; 0 without any."""
    return max((len(each.ids) for each in texts), default=0)


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


def _shared_length(texts: Sequence[SupervisedText]) -> int:
    """Number of tokens at the beginning that all texts have and none supervises."""
    most = min(int(each.mask.argmax()) for each in texts)
    prompts = np.stack([each.ids[:most] for each in texts])
    differs = (prompts != prompts[0]).any(0)
    return int(differs.argmax()) if differs.any() else most
