"""Instruction tuning: of a conversation, only the assistant's messages are supervised.

Those that the data mark, with a weight of 0 for example, are read but not supervised.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from moli.metrics.language import perplexity
from moli.models.templates.chat_template import RenderedConversation, prompt_ids
from moli.models.templates.control_tokens import control_tokens
from moli.models.templates.special_tokens import special_tokens
from moli.records.examples import Conversation, Example, Pair, Text
from moli.training.batching.samples import Sample
from moli.training.tasks.base.causal import CausalTask
from moli.training.tasks.base.chat import ChatTask, SupervisedText, conversation_of

_CHUNK = 1000  # texts that are tokenized at once


class Instruction(ChatTask, CausalTask):
    """Instruction tuning on conversations, requests with their answers, or plain texts.

    A sample is a rendered text, and its target the mask of its supervised tokens.
    """

    example_types = (Conversation, Pair, Text)
    prediction_formats: ClassVar = {
        "messages": {},
        "alpaca": {"output": "?"},
        "pair": {"target": "?"},
    }
    text_column = "source"

    def conversations(self, example: Example) -> list[Conversation]:
        """The conversation of an example; none for one that is plain text."""
        return [] if _continued_text(example) else [conversation_of(example)]

    def prepare(self, examples: Sequence[Example]) -> None:
        """Check that the tokenizer and the chat template can write the examples."""
        super().prepare(examples)
        self.check_tokenizer(examples)

    def samples(self, examples: Sequence[Example], *, training: bool) -> list[list[Sample]]:  # noqa: ARG002
        """The samples of each example: one for each text that is rendered from it."""
        rendered = [
            (row, text) for row, example in enumerate(examples) for text in self._render(example)
        ]
        groups: list[list[Sample]] = [[] for _ in examples]
        for start in range(0, len(rendered), _CHUNK):
            chunk = rendered[start : start + _CHUNK]
            tokenized = self.tokenize([text for _, text in chunk])
            for (row, text), tokens in zip(chunk, tokenized, strict=True):
                sample = self._sample(self.supervise(text, tokens))
                if sample.supervised:
                    groups[row].append(sample)
        return groups

    def full_length(self, example: Example) -> int:
        """Tokens of the longest text rendered from an example, the end of its answer included."""
        rendered = self._render(example)
        if not rendered:  # no turn of it is supervised
            return 0
        tokenized = zip(rendered, self.tokenize(rendered), strict=True)
        return max(len(tokens.ids) + (not text.ends_with_eos) for text, tokens in tokenized)

    def prompt_tokens(self, example: Example) -> list[int]:
        """Tokens of the conversation up to the assistant's last message."""
        conversation = conversation_of(example)
        return prompt_ids(self.tokenizer, conversation.messages[:-1], conversation.tools)

    def _render(self, example: Example) -> list[RenderedConversation]:
        """The texts that an example is trained on, with their supervised spans."""
        if text := _continued_text(example):
            return [RenderedConversation((text,), ((0, len(text)),), ends_with_eos=False)]
        return self.render(conversation_of(example))

    def _sample(self, text: SupervisedText) -> Sample:
        """The sample of a text: its tokens, truncated, and the mask of the supervised ones."""
        kept, mask = text.ids[: self.max_length], text.mask[: self.max_length]
        truncated = max(0, len(text.ids) - self.max_length)
        return Sample((kept,), mask, int(mask[1:].sum()), truncated)

    def control_tokens(self, example: Example) -> set[str]:
        """Control tokens of chat templates in an example's texts, except where they are in place.

        A text that answers no request may have all special tokens of the base.
        """
        if text := _continued_text(example):
            return control_tokens(text) - special_tokens(self.tokenizer)
        return super().control_tokens(example)

    def metrics(self, answers: Sequence[Any], examples: Sequence[Example]) -> dict[str, float]:  # noqa: ARG002
        """Perplexity of the supervised tokens."""
        nats, tokens = np.sum(answers, axis=0)
        return {"perplexity": perplexity(float(nats), int(tokens))}

    def to_row(self, answer: Any) -> dict[str, Any]:
        """Perplexity of one example, and the number of its supervised tokens."""
        nats, tokens = answer
        return {"perplexity": perplexity(float(nats), int(tokens)), "tokens": int(tokens)}


def _continued_text(example: Example) -> str:
    """The text of an example that answers no request; "" for all others."""
    if isinstance(example, Text):
        return example.text
    return example.target if isinstance(example, Pair) and not example.source.strip() else ""
