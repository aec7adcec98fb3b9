"""Instruction tuning: of a conversation, only the assistant's messages are supervised.

Those that the data mark, with a weight of 0 for example, are read but not supervised.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from moli.metrics.language import perplexity
from moli.models.templates.chat_template import (
    DEFAULT_CHAT_TEMPLATE,
    RenderedConversation,
    prompt_ids,
    render_for_training,
)
from moli.models.templates.control_tokens import control_tokens
from moli.models.templates.special_tokens import (
    allow_special_tokens,
    broken_special_tokens,
    special_tokens,
    turn_tokens,
)
from moli.models.templates.template_inputs import template_inputs
from moli.models.tokenizers import load_tokenizer
from moli.records.errors import InputError
from moli.records.examples import Conversation, Example, Pair, Text
from moli.records.messages import Message, Tool
from moli.training.batching.samples import Sample
from moli.training.tasks.base.causal import CausalTask
from moli.training.tasks.base.tool_calls import check_template, tool_call_problems

_CHUNK = 1000  # texts that are tokenized at once
# The tag with which some templates say that the assistant's words begin.
_GENERATION_TAG = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")


@dataclass(frozen=True, slots=True)
class _TokenizedText:
    """Token ids of a text, and the first and last (exclusive) character of each token, [T, 2]."""

    ids: list[int]
    offsets: NDArray[np.int64]


class Instruction(CausalTask):
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
    default_max_length = 2048

    @cached_property
    def tokenizer(self) -> Any:
        """The base's tokenizer, with the recipe's chat template if it names one."""
        tokenizer = load_tokenizer(self.recipe.base)
        if self.recipe.template:
            try:
                tokenizer.chat_template = self.recipe.template.read_text(encoding="utf-8")
            except OSError as error:
                raise InputError(
                    f"cannot be read ({error})", where=str(self.recipe.template), fix="Check it."
                ) from error
        elif not tokenizer.chat_template:
            tokenizer.chat_template = DEFAULT_CHAT_TEMPLATE
        if self.recipe.special_tokens:
            allow_special_tokens(tokenizer, self.recipe.special_tokens)
        return tokenizer

    def prepare(self, examples: Sequence[Example]) -> None:
        """Check that the tokenizer and the chat template can write the examples."""
        super().prepare(examples)
        if self.tokenizer.eos_token_id is None:
            raise InputError(
                "the tokenizer has no token that ends a text, so the model could not learn to stop",
                where=self.recipe.base,
                fix="Set eos_token in its tokenizer_config.json.",
            )
        conversations = [example for example in examples if isinstance(example, Conversation)]
        if any(conversation.tools for conversation in conversations):
            roles = {message.role for each in conversations for message in each.messages}
            check_template(self.tokenizer, has_results="tool" in roles)

    def samples(self, examples: Sequence[Example], *, training: bool) -> list[list[Sample]]:  # noqa: ARG002
        """The samples of each example: one for each text that is rendered from it."""
        rendered = [
            (row, text) for row, example in enumerate(examples) for text in self._render(example)
        ]
        groups: list[list[Sample]] = [[] for _ in examples]
        for start in range(0, len(rendered), _CHUNK):
            chunk = rendered[start : start + _CHUNK]
            tokenized = self._tokenize([text for _, text in chunk])
            for (row, text), tokens in zip(chunk, tokenized, strict=True):
                sample = self._sample(text, tokens)
                if sample.supervised:
                    groups[row].append(sample)
        return groups

    def full_length(self, example: Example) -> int:
        """Tokens of the longest text rendered from an example, the end of its answer included."""
        rendered = self._render(example)
        if not rendered:  # no turn of it is supervised
            return 0
        tokenized = zip(rendered, self._tokenize(rendered), strict=True)
        return max(len(tokens.ids) + (not text.ends_with_eos) for text, tokens in tokenized)

    def prompt_tokens(self, example: Example) -> list[int]:
        """Tokens of the conversation up to the assistant's last message."""
        return prompt_ids(self.tokenizer, _messages(example)[:-1], _tools(example))

    def _tokenize(self, rendered: Sequence[RenderedConversation]) -> Iterator[_TokenizedText]:
        """The tokens of each rendered text, whose parts are tokenized separately."""
        encoded = self.tokenizer(
            [part for text in rendered for part in text.parts],
            add_special_tokens=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
        )
        encoded_parts = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        for text in rendered:
            ids: list[int] = []
            offsets, start = [], 0
            for part in text.parts:
                part_ids, part_offsets = next(encoded_parts)
                ids += part_ids
                offsets.append(np.asarray(part_offsets, np.int64).reshape(-1, 2) + start)
                start += len(part)
            yield _TokenizedText(ids, np.concatenate(offsets))

    def _render(self, example: Example) -> list[RenderedConversation]:
        """The texts that an example is trained on, with their supervised spans.

        Raises:
            InputError: the chat template cannot write its messages.
        """
        text = _continued_text(example)
        if text:
            return [RenderedConversation((text,), ((0, len(text)),), ends_with_eos=False)]
        try:
            return render_for_training(self.tokenizer, _messages(example), _tools(example))
        except InputError as error:
            fix = f"{error.fix} 'moli tune --check' lists the rows."
            raise InputError(error.what, error.where, fix) from error

    def unusable_examples(self, examples: Sequence[Example]) -> list[int]:
        """Indices of the examples that the chat template cannot write."""
        indices = []
        for index, example in enumerate(examples):
            try:
                self._render(example)
            except InputError:
                indices.append(index)
        return indices

    def _sample(self, rendered: RenderedConversation, tokens: _TokenizedText) -> Sample:
        """The sample of a text: its tokens, truncated, and the mask of the supervised ones."""
        ids, offsets = tokens.ids, tokens.offsets
        mask = np.zeros(len(ids), bool)
        for start, end in rendered.answer_spans:
            mask |= (offsets[:, 0] >= start) & (offsets[:, 1] <= end) & (offsets[:, 1] > start)
        if not rendered.ends_with_eos:  # whatever the template does, the model learns to stop
            ids = [*ids, self.tokenizer.eos_token_id]
            mask = np.append(mask, True)
        truncated = max(0, len(ids) - self.max_length)
        kept, mask = np.asarray(ids, np.int32)[: self.max_length], mask[: self.max_length]
        return Sample((kept,), mask, int(mask[1:].sum()), truncated)

    def count_broken_tokens(self, examples: Sequence[Example]) -> dict[str, int]:
        """Number of examples in which users or tools write each special token."""
        conversations = (_messages(each) for each in examples if not _continued_text(each))
        return dict(
            Counter(
                token
                for messages in conversations
                for token in sorted(broken_special_tokens(self.tokenizer, messages))
            )
        )

    def control_tokens(self, example: Example) -> set[str]:
        """Control tokens of chat templates in an example's texts, except where they are in place.

        A text that answers no request may have all special tokens of the base, and the assistant
        those that do not part turns.
        """
        if text := _continued_text(example):
            return control_tokens(text) - special_tokens(self.tokenizer)
        allowed = {*self.recipe.special_tokens}
        return {
            token
            for message in _messages(example)
            for token in control_tokens(message.content) - allowed
            if message.role != "assistant" or token not in self._assistant_tokens
        }

    @cached_property
    def _assistant_tokens(self) -> set[str]:
        """Special tokens that the assistant's texts may use: those that do not part turns."""
        return special_tokens(self.tokenizer) - turn_tokens(self.tokenizer)

    @property
    def turn_tokens(self) -> Sequence[str]:
        """Special tokens that the chat template writes around turns."""
        template = self.tokenizer.chat_template or ""
        return [token for token in special_tokens(self.tokenizer) if token in template]

    def template_problems(self, examples: Sequence[Example]) -> list[str]:
        """Reasons why the served model would read a different text from the trained one."""
        problems: list[str] = []
        for example in examples:
            turns = [] if _continued_text(example) else _messages(example)
            # Turns outside of the loss are written by the template like all others.
            messages = [replace(turn, supervised=True) for turn in turns]
            if len(messages) < 2:  # an answer without a request
                continue
            tools = _tools(example)
            rendered = render_for_training(self.tokenizer, messages, tools)
            problems += self._prompt_problems(rendered, messages, tools)
            problems += tool_call_problems(self.tokenizer, rendered, messages, tools)
            # The template's own tags take a token in a text for a turn's.
            if not broken_special_tokens(self.tokenizer, messages):
                problems += self._mask_problems(messages, tools)
        return sorted(set(problems))

    def _prompt_problems(
        self,
        rendered: Sequence[RenderedConversation],
        messages: list[Message],
        tools: Sequence[Tool],
    ) -> Iterator[str]:
        """Differences between the texts trained on and the prompts that a server answers."""
        replies = (n for n, each in enumerate(messages) if each.role == "assistant" and n)
        for text, tokens in zip(rendered, self._tokenize(rendered), strict=True):
            for start, end in text.answer_spans:
                prompt = prompt_ids(self.tokenizer, messages[: next(replies)], tools)
                if tokens.ids[: len(prompt)] != prompt:
                    yield "a prompt is tokenized differently by itself than before its answer"
                if self.tokenizer.eos_token not in text.text[start:end]:
                    yield "the template does not end an answer; Moli adds the end"

    def _mask_problems(self, messages: list[Message], tools: Sequence[Tool]) -> list[str]:
        """Differences between supervised tokens and those that the template's own tags enclose."""
        if not _GENERATION_TAG.search(self.tokenizer.chat_template):
            return []
        tagged = self.tokenizer.apply_chat_template(
            **template_inputs(self.tokenizer, messages, tools),
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
        ids = np.asarray(tagged["input_ids"]).reshape(-1)
        theirs = np.asarray(tagged["assistant_masks"]).reshape(-1).astype(bool)
        conversation = Conversation(tuple(messages), tuple(tools))
        ours = np.zeros(0, bool)
        for sample in self.samples([conversation], training=True)[0][-1:]:
            ours = sample.target[: len(ids)]
        if not len(ours):
            return []
        ids, theirs = ids[: len(ours)], theirs[: len(ours)]  # the part within max_length
        # The token that ends a message is supervised whether or not it is within the tags.
        differs = (ours != theirs) & (ids != self.tokenizer.eos_token_id)
        differs &= ids != (ids[-1] if not theirs[-1] else -1)
        return ["the template marks different tokens as the assistant's"] if differs.any() else []

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


def _tools(example: Example) -> tuple[Tool, ...]:
    """The tools that an example offers; none outside of conversations."""
    return example.tools if isinstance(example, Conversation) else ()


def _messages(example: Example) -> list[Message]:
    """The messages of an example up to and including the assistant's last one."""
    if isinstance(example, Conversation):
        last = max(n for n, each in enumerate(example.messages) if each.role == "assistant")
        return list(example.messages[: last + 1])
    if not isinstance(example, Pair):
        raise TypeError(f"{type(example).__name__} has no turns")
    return [Message("user", example.source), Message("assistant", example.target)]
