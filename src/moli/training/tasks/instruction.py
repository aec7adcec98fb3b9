"""Instruction tuning: the assistant's turns of conversations, and nothing else, are learnt."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from moli.metrics.language import perplexity
from moli.models.template import PLAIN, Rendered, prompt, render
from moli.models.text import load_tokenizer
from moli.records.errors import InputError
from moli.records.examples import Conversation, Example, Pair, Text
from moli.records.messages import Message
from moli.training.samples import Sample
from moli.training.tasks.causal import Causal

_AT_ONCE = 1000


class Instruction(Causal):
    """Conversations, requests with their answers, or plain texts."""

    accepts = (Conversation, Pair, Text)
    longest = 2048

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
            tokenizer.chat_template = PLAIN
        return tokenizer

    def prepare(self, examples: Sequence[Example]) -> None:
        super().prepare(examples)
        if self.tokenizer.eos_token_id is None:
            raise InputError(
                "the tokenizer has no token that ends a text, so the model could not learn to stop",
                where=self.recipe.base,
                fix="Set eos_token in its tokenizer_config.json.",
            )

    def samples(self, examples: Sequence[Example], *, training: bool) -> list[list[Sample]]:  # noqa: ARG002
        rendered = [self._rendered(each) for each in examples]
        flat = [(row, each) for row, group in enumerate(rendered) for each in group]
        groups: list[list[Sample]] = [[] for _ in examples]
        for first in range(0, len(flat), _AT_ONCE):
            part = flat[first : first + _AT_ONCE]
            encoded = self.tokenizer(
                [each.text for _, each in part],
                add_special_tokens=False,
                return_offsets_mapping=True,
                return_attention_mask=False,
            )
            for (row, each), ids, offsets in zip(
                part, encoded["input_ids"], encoded["offset_mapping"], strict=True
            ):
                sample = self._sample(each, ids, np.asarray(offsets))
                if sample.supervised:
                    groups[row].append(sample)
        return groups

    def _rendered(self, example: Example) -> list[Rendered]:
        text = _alone(example)
        if text:
            return [Rendered(text, ((0, len(text)),), ended=False)]
        return render(self.tokenizer, _messages(example))

    def _sample(self, rendered: Rendered, ids: list[int], offsets: Any) -> Sample:
        learnt = np.zeros(len(ids), bool)
        for start, end in rendered.spans:
            learnt |= (offsets[:, 0] >= start) & (offsets[:, 1] <= end) & (offsets[:, 1] > start)
        if not rendered.ended:  # whatever the template does, the model learns to stop
            ids = [*ids, self.tokenizer.eos_token_id]
            learnt = np.append(learnt, True)
        cut = max(0, len(ids) - self.max_length)
        kept, learnt = np.asarray(ids, np.int32)[: self.max_length], learnt[: self.max_length]
        return Sample((kept,), learnt, int(learnt[1:].sum()), cut)

    def contract(self, examples: Sequence[Example]) -> list[str]:
        """What would make the served model see another text than the trained one did."""
        problems = []
        for example in examples:
            messages = [] if _alone(example) else _messages(example)
            if len(messages) < 2:  # they end with an answer, if not with one to nobody
                continue
            asked = prompt(self.tokenizer, messages[:-1])
            text = render(self.tokenizer, messages)[-1].text
            alone = self.tokenizer(asked, add_special_tokens=False)["input_ids"]
            inside = self.tokenizer(text, add_special_tokens=False)["input_ids"]
            if inside[: len(alone)] != alone:
                problems.append("a prompt has other tokens by itself than before its answer")
            if self.tokenizer.eos_token not in text[len(asked) :]:
                problems.append("the template does not end an answer; the end is added")
            problems += self._against_markers(messages)
        return sorted(set(problems))

    def _against_markers(self, messages: list[Message]) -> list[str]:
        """Compare with the marks that some templates have around what the assistant says."""
        if "{% generation %}" not in self.tokenizer.chat_template.replace("{%-", "{%"):
            return []
        turns = [{"role": each.role, "content": each.content} for each in messages]
        marked = self.tokenizer.apply_chat_template(
            turns, return_dict=True, return_assistant_tokens_mask=True
        )
        ids = np.asarray(marked["input_ids"]).reshape(-1)
        theirs = np.asarray(marked["assistant_masks"]).reshape(-1).astype(bool)
        ours = np.zeros(len(ids), bool)
        for sample in self.samples([Conversation(tuple(messages))], training=True)[0][-1:]:
            ours[: len(sample.target)] = sample.target[: len(ids)]
        # What ends a turn is learnt here whether or not the template has it within its marks.
        differs = (ours != theirs) & (ids != self.tokenizer.eos_token_id)
        differs &= ids != (ids[-1] if not theirs[-1] else -1)
        return ["the template marks other tokens as the assistant's"] if differs.any() else []

    def judge(self, answers: Sequence[Any], examples: Sequence[Example]) -> dict[str, float]:  # noqa: ARG002
        nats, tokens = np.sum(answers, axis=0)
        return {"perplexity": perplexity(float(nats), int(tokens))}

    def told(self, answer: Any) -> dict[str, Any]:
        nats, tokens = answer
        return {"perplexity": perplexity(float(nats), int(tokens)), "tokens": int(tokens)}


def _alone(example: Example) -> str:
    """A text that is no answer to anything."""
    if isinstance(example, Text):
        return example.text
    return example.target if isinstance(example, Pair) and not example.source.strip() else ""


def _messages(example: Example) -> list[Message]:
    if isinstance(example, Conversation):
        last = max(n for n, each in enumerate(example.messages) if each.role == "assistant")
        return list(example.messages[: last + 1])
    if not isinstance(example, Pair):
        raise TypeError(f"{type(example).__name__} has no turns")
    return [Message("user", example.source), Message("assistant", example.target)]
