"""Instruction tuning: the assistant's turns of conversations, and nothing else, are learnt."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
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
from moli.models.templates.template_inputs import template_inputs
from moli.models.tokenizers import load_tokenizer
from moli.records.errors import InputError
from moli.records.examples import Conversation, Example, Pair, Text
from moli.records.messages import Message, Tool
from moli.training.batching.samples import Sample
from moli.training.tasks.base import tool_calls
from moli.training.tasks.base.causal import CausalTask

_AT_ONCE = 1000
# Where some templates say that the assistant's words begin.
_MARKER = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")


class Instruction(CausalTask):
    """Conversations, requests with their answers, or plain texts."""

    example_types = (Conversation, Pair, Text)
    prediction_formats: ClassVar = {
        "messages": {},
        "sharegpt": {},
        "alpaca": {"output": "?"},
        "pair": {"target": "?"},
    }
    text_column = "source"
    default_max_length = 2048

    @cached_property
    def tokenizer(self) -> Any:
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
        return tokenizer

    def prepare(self, examples: Sequence[Example]) -> None:
        super().prepare(examples)
        if self.tokenizer.eos_token_id is None:
            raise InputError(
                "the tokenizer has no token that ends a text, so the model could not learn to stop",
                where=self.recipe.base,
                fix="Set eos_token in its tokenizer_config.json.",
            )
        talks = [each for each in examples if isinstance(each, Conversation)]
        if any(each.tools for each in talks):
            roles = {each.role for talk in talks for each in talk.messages}
            tool_calls.check_template(self.tokenizer, answered="tool" in roles)

    def samples(self, examples: Sequence[Example], *, training: bool) -> list[list[Sample]]:  # noqa: ARG002
        rendered = [self._rendered(each) for each in examples]
        flat = [(row, each) for row, group in enumerate(rendered) for each in group]
        groups: list[list[Sample]] = [[] for _ in examples]
        for first in range(0, len(flat), _AT_ONCE):
            part = flat[first : first + _AT_ONCE]
            encoded = self._encoded([each for _, each in part])
            for (row, each), (ids, offsets) in zip(part, encoded, strict=True):
                sample = self._sample(each, ids, offsets)
                if sample.supervised:
                    groups[row].append(sample)
        return groups

    def prompt_tokens(self, example: Example) -> list[int]:
        return prompt_ids(self.tokenizer, _messages(example)[:-1], _tools(example))

    def _encoded(
        self, rendered: Sequence[RenderedConversation]
    ) -> Iterator[tuple[list[int], NDArray[np.int64]]]:
        """Tokens of texts, and the first and last (exclusive) character of each, [T, 2]."""
        encoded = self.tokenizer(
            [part for each in rendered for part in each.parts],
            add_special_tokens=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
        )
        read = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        for each in rendered:
            ids: list[int] = []
            offsets, begin = [], 0
            for part in each.parts:
                own, places = next(read)
                ids += own
                offsets.append(np.asarray(places, np.int64).reshape(-1, 2) + begin)
                begin += len(part)
            yield ids, np.concatenate(offsets)

    def _rendered(self, example: Example) -> list[RenderedConversation]:
        text = _alone(example)
        if text:
            return [RenderedConversation((text,), ((0, len(text)),), ends_with_eos=False)]
        try:
            return render_for_training(self.tokenizer, _messages(example), _tools(example))
        except InputError as error:
            fix = f"{error.fix} 'moli tune --check' lists the rows."
            raise InputError(error.what, error.where, fix) from error

    def unusable_examples(self, examples: Sequence[Example]) -> list[int]:
        """The numbers of the examples that the chat template does not write."""
        numbers = []
        for number, example in enumerate(examples):
            try:
                self._rendered(example)
            except InputError:
                numbers.append(number)
        return numbers

    def _sample(self, rendered: RenderedConversation, ids: list[int], offsets: Any) -> Sample:
        learnt = np.zeros(len(ids), bool)
        for start, end in rendered.answer_spans:
            learnt |= (offsets[:, 0] >= start) & (offsets[:, 1] <= end) & (offsets[:, 1] > start)
        if not rendered.ends_with_eos:  # whatever the template does, the model learns to stop
            ids = [*ids, self.tokenizer.eos_token_id]
            learnt = np.append(learnt, True)
        cut = max(0, len(ids) - self.max_length)
        kept, learnt = np.asarray(ids, np.int32)[: self.max_length], learnt[: self.max_length]
        return Sample((kept,), learnt, int(learnt[1:].sum()), cut)

    def template_problems(self, examples: Sequence[Example]) -> list[str]:
        """What would make the served model see a different text from the trained one."""
        problems: list[str] = []
        for example in examples:
            messages = [] if _alone(example) else _messages(example)
            if len(messages) < 2:  # they end with an answer, if not with one to nobody
                continue
            tools = _tools(example)
            rendered = render_for_training(self.tokenizer, messages, tools)
            problems += self._against_prompts(rendered, messages, tools)
            problems += tool_calls.problems(self.tokenizer, rendered, messages, tools)
            problems += self._against_markers(messages, tools)
        return sorted(set(problems))

    def _against_prompts(
        self,
        rendered: Sequence[RenderedConversation],
        messages: list[Message],
        tools: Sequence[Tool],
    ) -> Iterator[str]:
        """Compare with the prompts that a server answers."""
        asked = (n for n, each in enumerate(messages) if each.role == "assistant" and n)
        for each, (inside, _) in zip(rendered, self._encoded(rendered), strict=True):
            for start, end in each.answer_spans:
                alone = prompt_ids(self.tokenizer, messages[: next(asked)], tools)
                if inside[: len(alone)] != alone:
                    yield "a prompt is tokenized differently by itself than before its answer"
                if self.tokenizer.eos_token not in each.text[start:end]:
                    yield "the template does not end an answer; Moli adds the end"

    def _against_markers(self, messages: list[Message], tools: Sequence[Tool]) -> list[str]:
        """Compare with the marks that some templates have around what the assistant says."""
        if not _MARKER.search(self.tokenizer.chat_template):
            return []
        marked = self.tokenizer.apply_chat_template(
            **template_inputs(self.tokenizer, messages, tools),
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
        ids = np.asarray(marked["input_ids"]).reshape(-1)
        theirs = np.asarray(marked["assistant_masks"]).reshape(-1).astype(bool)
        talk = Conversation(tuple(messages), tuple(tools))
        ours = np.zeros(0, bool)
        for sample in self.samples([talk], training=True)[0][-1:]:
            ours = sample.target[: len(ids)]
        if not len(ours):
            return []
        ids, theirs = ids[: len(ours)], theirs[: len(ours)]  # of what max_length leaves
        # What ends a turn is learnt here whether or not the template has it within its marks.
        differs = (ours != theirs) & (ids != self.tokenizer.eos_token_id)
        differs &= ids != (ids[-1] if not theirs[-1] else -1)
        return ["the template marks different tokens as the assistant's"] if differs.any() else []

    def metrics(self, answers: Sequence[Any], examples: Sequence[Example]) -> dict[str, float]:  # noqa: ARG002
        nats, tokens = np.sum(answers, axis=0)
        return {"perplexity": perplexity(float(nats), int(tokens))}

    def to_row(self, answer: Any) -> dict[str, Any]:
        nats, tokens = answer
        return {"perplexity": perplexity(float(nats), int(tokens)), "tokens": int(tokens)}


def _alone(example: Example) -> str:
    """A text that is no answer to anything."""
    if isinstance(example, Text):
        return example.text
    return example.target if isinstance(example, Pair) and not example.source.strip() else ""


def _tools(example: Example) -> tuple[Tool, ...]:
    return example.tools if isinstance(example, Conversation) else ()


def _messages(example: Example) -> list[Message]:
    if isinstance(example, Conversation):
        last = max(n for n, each in enumerate(example.messages) if each.role == "assistant")
        return list(example.messages[: last + 1])
    if not isinstance(example, Pair):
        raise TypeError(f"{type(example).__name__} has no turns")
    return [Message("user", example.source), Message("assistant", example.target)]
