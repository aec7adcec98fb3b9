"""A batch of rollouts as a frozen record, whoever has made them.

Legend: B answers, T tokens of the longest one. Tensors [B, T] have an answer's first token first
and are filled up behind its last one; what is in other positions than the mask's never matters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch

from moli.records.errors import InputError
from moli.records.messages import Message, Tool


@dataclass(frozen=True, slots=True)
class TrainingPrompt:
    """A prompt as the policy reads it, and as rewards do.

    Attributes:
        ids: token ids, with those of the chat template.
        reference: the right answer, or a part of it, where a reward checks one.
        is_unsafe: whether it is tagged as one that asks for something unsafe.
        tools: the tools that the answer may call.
    """

    ids: tuple[int, ...]
    messages: tuple[Message, ...] = ()
    reference: str = ""
    is_unsafe: bool = False
    tools: tuple[Tool, ...] = ()


@dataclass(frozen=True, slots=True)
class SampledAnswer:
    """An answer as it was sampled; it is never tokenized again.

    Attributes:
        ids: all tokens after the prompt, including the one that ends the answer.
        logprobs: log probability of each token in the distribution that it was drawn from, so
            after temperature.
        text: the answer without the token that ends it.
        ended: whether it ended by itself, not at the maximum length.
        sampled: whether the policy wrote a token itself, not a tool or an environment; empty if
            it wrote all of them.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str = ""
    ended: bool = True
    sampled: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True)
class Rollouts:
    """Prompts with their answers; answers to one prompt stand side by side.

    Attributes:
        ids: token ids of the answers, [B, T]; 0 behind them.
        mask: the tokens that the policy has sampled, [B, T].
        sampled_logprobs: log probabilities as they were sampled, [B, T].
    """

    prompts: tuple[TrainingPrompt, ...]
    answers: tuple[SampledAnswer, ...]
    ids: torch.Tensor
    mask: torch.Tensor
    sampled_logprobs: torch.Tensor

    def select(self, rows: Sequence[int]) -> Self:
        """The rollouts of some rows, as wide as before."""
        index = torch.as_tensor(rows, dtype=torch.long)
        return dataclasses.replace(
            self,
            prompts=tuple(self.prompts[row] for row in rows),
            answers=tuple(self.answers[row] for row in rows),
            **{
                name: value[index]
                for name, value in _tensors(self).items()
            },
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.answers)

    @property
    def lengths(self) -> torch.Tensor:
        """Number of tokens that the policy has sampled for each answer, [B]."""
        return self.mask.sum(1)


@dataclass(frozen=True, slots=True)
class Experience(Rollouts):
    """Rollouts with all that an algorithm learns from; no tensor has a gradient.

    Attributes:
        logprobs: by the policy before its update, as training computes them, [B, T].
        reference_logprobs: by the reference, [B, T].
        values: by the value function before its update, of the state before each token, [B, T];
            0 without one.
        rewards: each answer's reward as it was given, [B].
        scores: the reward after scaling and the penalty for a missing end, before any penalty for
            the divergence, [B].
        advantages: [B, T]; an algorithm fills them in, and the returns.
        returns: what the values should have been, [B, T].
    """

    logprobs: torch.Tensor
    reference_logprobs: torch.Tensor
    values: torch.Tensor
    rewards: torch.Tensor
    scores: torch.Tensor
    advantages: torch.Tensor
    returns: torch.Tensor


def _tensors(record: Rollouts) -> dict[str, torch.Tensor]:
    """The tensors of a record by their names."""
    values = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    return {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}


def make_rollouts(prompts: Sequence[TrainingPrompt], answers: Sequence[SampledAnswer]) -> Rollouts:
    """Rollouts of prompts and as many answers.

    Raises:
        InputError: there is not an answer for each prompt, or an answer has not as many log
            probabilities (or marks of what was sampled) as tokens.
    """
    if len(prompts) != len(answers) or not answers:
        raise InputError(
            f"{len(answers)} answers for {len(prompts)} prompts",
            where="rollouts",
            fix="Return one answer for each prompt, in the same order.",
        )
    for number, answer in enumerate(answers, 1):
        _check_answer(answer, number)
    width = max(1, *(len(answer.ids) for answer in answers))
    ids = torch.zeros(len(answers), width, dtype=torch.long)
    mask = torch.zeros(len(answers), width, dtype=torch.bool)
    sampled_logprobs = torch.zeros(len(answers), width)
    for row, answer in enumerate(answers):
        length = len(answer.ids)
        ids[row, :length] = torch.tensor(answer.ids)
        mask[row, :length] = torch.tensor(answer.sampled or (True,) * length)
        sampled_logprobs[row, :length] = torch.tensor(answer.logprobs)
    return Rollouts(tuple(prompts), tuple(answers), ids, mask, sampled_logprobs)


def _check_answer(answer: SampledAnswer, number: int) -> None:
    """Check that an answer has a log probability, and a mark if any, for each token."""
    tokens, logprobs, marks = map(len, (answer.ids, answer.logprobs, answer.sampled))
    if logprobs != tokens or marks not in (0, tokens):
        also = f" and {marks} marks of what was sampled" if marks else ""
        raise InputError(
            f"{tokens} tokens with {logprobs} log probabilities{also}",
            where=f"answer {number}",
            fix="Return the log probability of each token as it was sampled.",
        )


def make_experience(
    rollouts: Rollouts,
    *,
    logprobs: torch.Tensor,
    reference_logprobs: torch.Tensor,
    scores: torch.Tensor,
    rewards: torch.Tensor | None = None,
    values: torch.Tensor | None = None,
) -> Experience:
    """Rollouts with their scores; advantages and returns are still 0.

    Args:
        rewards: before scaling and penalties; None if they are the scores.
    """
    nothing = torch.zeros_like(logprobs)
    return Experience(
        **{field.name: getattr(rollouts, field.name) for field in dataclasses.fields(rollouts)},
        logprobs=logprobs,
        reference_logprobs=reference_logprobs,
        values=nothing if values is None else values,
        rewards=scores if rewards is None else rewards,
        scores=scores,
        advantages=nothing,
        returns=nothing,
    )
