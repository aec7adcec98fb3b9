"""Prompts with answers as token ids for models that score an answer as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from moli.models.templates.chat_template import DEFAULT_CHAT_TEMPLATE, render_for_training
from moli.records.errors import InputError
from moli.records.examples import Example, Preference, RatedAnswer
from moli.records.messages import Message, message_text, transcript
from moli.training.batching.samples import Sample, Tokens
from moli.training.tasks.base.pair_encoding import encode_pairs

_CHUNK = 1000  # answers that are tokenized at once
Answered = tuple[Example, tuple[Message, ...]]  # an example, and one of its answers


@dataclass(frozen=True, slots=True)
class EncodedAnswer:
    """A prompt and an answer as one sequence.

    Attributes:
        token_types: 0 for tokens of the prompt, 1 for those of the answer; None without types.
        truncated: number of tokens that were left out.
    """

    ids: Tokens
    token_types: Tokens | None
    truncated: int


@dataclass(slots=True)
class AnswerLayout:
    """The different sequences of samples, in an order in which what is continued comes first.

    Attributes:
        continues: for each sequence, the index of the one that it continues, or -1; empty if none
            continues another.
        token_types: token types of each sequence; empty for models without them.
        answers: for each answer of each sample, the index of the sequence that it ends with.
    """

    sequences: list[Tokens]
    continues: list[int]
    token_types: list[Tokens]
    answers: list[int]

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> AnswerLayout:
        """The layout of samples."""
        layout, indices = cls([], [], [], []), dict[tuple[int, bytes], int]()
        for sample in samples:
            own: list[int] = []
            for number, ids in enumerate(sample.sequences):
                parent = sample.continues[number] if sample.continues else -1
                key = (own[parent] if parent >= 0 else -1, ids.tobytes())
                if key not in indices:
                    indices[key] = len(layout.sequences)
                    layout.sequences.append(ids)
                    layout.continues.append(key[0])
                    layout.token_types += sample.target.token_types[number : number + 1]
                own.append(indices[key])
            layout.answers += own[-len(sample.target.is_safe) :]
        if max(layout.continues) < 0:
            layout.continues = []
        return layout


def shared_length(first: Tokens, second: Tokens) -> int:
    """Number of tokens that both sequences begin with; each keeps at least one of its own."""
    most = min(len(first), len(second)) - 1
    differs = np.flatnonzero(first[:most] != second[:most])
    return int(differs[0]) if len(differs) else most


def encode_answers(
    tokenizer: Any, answers: Sequence[Answered], max_length: int, *, is_causal: bool
) -> Iterator[EncodedAnswer]:
    """Each prompt with its answer, as the model reads it.

    A causal model reads the conversation as its chat template writes it, with the token that ends
    the answer as its last; of one that is too long, the end is kept. An encoder reads the prompt
    and the answer as a pair of texts; of a prompt that is too long, the last request is kept.

    Raises:
        InputError: the chat template refuses a conversation.
    """
    encode = _encode_conversations if is_causal else _encode_as_pairs
    for start in range(0, len(answers), _CHUNK):
        yield from encode(tokenizer, answers[start : start + _CHUNK], max_length)


def _encode_conversations(
    tokenizer: Any, answers: Sequence[Answered], max_length: int
) -> Iterator[EncodedAnswer]:
    """Conversations in the words of the chat template."""
    if not tokenizer.chat_template:
        tokenizer.chat_template = DEFAULT_CHAT_TEMPLATE
    texts = [_rendered_parts(tokenizer, example, answer) for example, answer in answers]
    flat = [part for parts in texts for part in parts]
    encoded = iter(tokenizer(flat, add_special_tokens=False, verbose=False)["input_ids"])
    for parts in texts:
        ids = [token for _ in parts for token in next(encoded)]
        kept = np.asarray(ids[-max_length:], np.int32)
        yield EncodedAnswer(kept, None, len(ids) - len(kept))


def _rendered_parts(
    tokenizer: Any, example: Example, answer: tuple[Message, ...]
) -> tuple[str, ...]:
    """The parts of a conversation's text, up to the end of its last answer.

    Raises:
        InputError: the chat template refuses it, or it answers no request.
    """
    tools = example.tools if isinstance(example, Preference) else ()
    rendered = render_for_training(tokenizer, [*_prompt(example), *answer], tools)
    if not rendered:
        raise InputError("the conversation has no answer to a request", fix="Add a user's turn.")
    eos = () if rendered[-1].ends_with_eos else (tokenizer.eos_token or "",)
    return (*rendered[-1].parts, *eos)


def _encode_as_pairs(
    tokenizer: Any, answers: Sequence[Answered], max_length: int
) -> Iterator[EncodedAnswer]:
    """Pairs of texts, in the order of the answers."""
    pairs = [(_prompt_text(example), _text(answer)) for example, answer in answers]
    encoded = encode_pairs(tokenizer, pairs, max_length)
    for (example, answer), pair in zip(answers, encoded, strict=True):
        prompt = _prompt(example)
        if pair.truncated and len(prompt) > 1:
            last = [(message_text(prompt[-1]), _text(answer))]
            full_length = len(pair.ids) + pair.truncated
            [pair] = encode_pairs(tokenizer, last, max_length)
            yield EncodedAnswer(pair.ids, pair.token_types, full_length - len(pair.ids))
        else:
            yield EncodedAnswer(pair.ids, pair.token_types, pair.truncated)


def _prompt(example: Example) -> tuple[Message, ...]:
    """The prompt of an example."""
    return example.prompt if isinstance(example, Preference | RatedAnswer) else ()


def _prompt_text(example: Example) -> str:
    """The prompt as text: one request by itself, several turns with their roles."""
    tools = example.tools if isinstance(example, Preference) else ()
    prompt = _prompt(example)
    return _text(prompt) if not tools else transcript(prompt, tools)


def _text(turns: Sequence[Message]) -> str:
    """Turns as text: one by itself, several with their roles."""
    return message_text(turns[0]) if len(turns) == 1 else transcript(turns)
