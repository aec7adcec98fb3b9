"""Tasks on conversations: rendered by the base's chat template, and tokenized, as a server does.

Of a rendered conversation, only the assistant's messages are supervised, and of these only those
that count in the loss.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
from moli.records.examples import Conversation, Example, Pair
from moli.records.messages import Message, Tool
from moli.training.tasks.base.tool_calls import check_template, tool_call_problems
from moli.training.tasks.base.transformer import TransformerTask

# The tag with which some templates say that the assistant's words begin.
_GENERATION_TAG = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """A rendered text as tokens.

    Attributes:
        ids: token ids.
        offsets: first and last (exclusive) character of each token, [T, 2].
    """

    ids: list[int]
    offsets: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SupervisedText:
    """A rendered text as token ids, [T], and the mask of those that count in the loss, [T]."""

    ids: NDArray[np.int32]
    mask: NDArray[np.bool_]


class ChatTask(TransformerTask):
    """A task whose examples are conversations, or pairs of them."""

    default_max_length = 2048

    def conversations(self, example: Example) -> list[Conversation]:
        """The conversations that an example is made of, each up to the assistant's last message.

        Empty for an example that is plain text.
        """
        raise NotImplementedError

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

    def check_tokenizer(self, examples: Sequence[Example]) -> None:
        """Check that the tokenizer and the chat template can write the examples.

        Raises:
            InputError: they cannot.
        """
        if self.tokenizer.eos_token_id is None:
            raise InputError(
                "the tokenizer has no token that ends a text, so the model could not learn to stop",
                where=self.recipe.base,
                fix="Set eos_token in its tokenizer_config.json.",
            )
        with_tools = [
            conversation
            for example in examples
            for conversation in self.conversations(example)
            if conversation.tools
        ]
        if with_tools:
            roles = {message.role for each in with_tools for message in each.messages}
            check_template(self.tokenizer, has_results="tool" in roles)

    def render(self, conversation: Conversation) -> list[RenderedConversation]:
        """The texts that a conversation is trained on, with their supervised spans.

        Raises:
            InputError: the chat template cannot write its messages.
        """
        try:
            return render_for_training(self.tokenizer, conversation.messages, conversation.tools)
        except InputError as error:
            fix = f"{error.fix} 'moli tune --check' lists the rows."
            raise InputError(error.what, error.where, fix) from error

    def tokenize(self, rendered: Sequence[RenderedConversation]) -> Iterator[TokenizedText]:
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
            yield TokenizedText(ids, np.concatenate(offsets))

    def supervise(self, rendered: RenderedConversation, tokens: TokenizedText) -> SupervisedText:
        """A rendered text's tokens and the mask of the supervised ones, with the end of a text."""
        ids, offsets = tokens.ids, tokens.offsets
        mask = np.zeros(len(ids), bool)
        for start, end in rendered.answer_spans:
            mask |= (offsets[:, 0] >= start) & (offsets[:, 1] <= end) & (offsets[:, 1] > start)
        if not rendered.ends_with_eos:  # whatever the template does, the model learns to stop
            ids = [*ids, self.tokenizer.eos_token_id]
            mask = np.append(mask, True)
        return SupervisedText(np.asarray(ids, np.int32), mask)

    def unusable_examples(self, examples: Sequence[Example]) -> list[int]:
        """Indices of the examples that the chat template cannot write."""
        indices = []
        for index, example in enumerate(examples):
            try:
                for conversation in self.conversations(example):
                    self.render(conversation)
            except InputError:
                indices.append(index)
        return indices

    def count_broken_tokens(self, examples: Sequence[Example]) -> dict[str, int]:
        """Number of examples in which users or tools write each special token."""
        return dict(
            Counter(
                token
                for example in examples
                for token in sorted(
                    {
                        token
                        for conversation in self.conversations(example)
                        for token in broken_special_tokens(self.tokenizer, conversation.messages)
                    }
                )
            )
        )

    def control_tokens(self, example: Example) -> set[str]:
        """Control tokens of chat templates in an example's texts, except where they are in place.

        The assistant's texts may have special tokens of the base that do not part turns.
        """
        allowed = {*self.recipe.special_tokens}
        return {
            token
            for conversation in self.conversations(example)
            for message in conversation.messages
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
            for conversation in self.conversations(example):
                problems += self._problems_of(conversation)
        return sorted(set(problems))

    def _problems_of(self, conversation: Conversation) -> Iterator[str]:
        """Differences between a conversation as it is trained on and as it is served."""
        # Turns outside of the loss are written by the template like all others.
        messages = [replace(turn, supervised=True) for turn in conversation.messages]
        if len(messages) < 2:  # an answer without a request
            return
        tools = conversation.tools
        rendered = render_for_training(self.tokenizer, messages, tools)
        yield from self._prompt_problems(rendered, messages, tools)
        yield from tool_call_problems(self.tokenizer, rendered, messages, tools)
        # The template's own tags take a token in a text for a turn's.
        if not broken_special_tokens(self.tokenizer, messages):
            yield from self._mask_problems(rendered, messages, tools)

    def _prompt_problems(
        self,
        rendered: Sequence[RenderedConversation],
        messages: list[Message],
        tools: Sequence[Tool],
    ) -> Iterator[str]:
        """Differences between the texts trained on and the prompts that a server answers."""
        replies = (n for n, each in enumerate(messages) if each.role == "assistant" and n)
        for text, tokens in zip(rendered, self.tokenize(rendered), strict=True):
            for start, end in text.answer_spans:
                prompt = prompt_ids(self.tokenizer, messages[: next(replies)], tools)
                if tokens.ids[: len(prompt)] != prompt:
                    yield "a prompt is tokenized differently by itself than before its answer"
                if self.tokenizer.eos_token not in text.text[start:end]:
                    yield "the template does not end an answer; Moli adds the end"

    def _mask_problems(
        self,
        rendered: Sequence[RenderedConversation],
        messages: list[Message],
        tools: Sequence[Tool],
    ) -> Iterator[str]:
        """Differences between supervised tokens and those that the template's own tags enclose."""
        if not rendered or not _GENERATION_TAG.search(self.tokenizer.chat_template):
            return
        tagged = self.tokenizer.apply_chat_template(
            **template_inputs(self.tokenizer, messages, tools),
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
        ids = np.asarray(tagged["input_ids"]).reshape(-1)
        theirs = np.asarray(tagged["assistant_masks"]).reshape(-1).astype(bool)
        last = rendered[-1:]
        ours = self.supervise(last[0], next(self.tokenize(last))).mask[: len(ids)]
        ids, theirs = ids[: len(ours)], theirs[: len(ours)]
        # The token that ends a message is supervised whether or not it is within the tags.
        differs = (ours != theirs) & (ids != self.tokenizer.eos_token_id)
        differs &= ids != (ids[-1] if not theirs[-1] else -1)
        if differs.any():
            yield "the template marks different tokens as the assistant's"


def conversation_of(example: Example) -> Conversation:
    """The conversation of an example, up to and including the assistant's last message."""
    if isinstance(example, Conversation):
        last = max(n for n, each in enumerate(example.messages) if each.role == "assistant")
        return Conversation(example.messages[: last + 1], example.tools)
    if not isinstance(example, Pair):
        raise TypeError(f"{type(example).__name__} has no turns")
    return Conversation((Message("user", example.source), Message("assistant", example.target)))
