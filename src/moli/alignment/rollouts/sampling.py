"""Answers sampled from a transformers model, with its KV cache."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from moli.alignment.rollouts.buffer import SampledAnswer, TrainingPrompt
from moli.records.errors import InputError

# Share of the rows that have to have ended before the others are put together: that copies all keys
# and values.
_COMPACT_AT = 0.25


@dataclass(frozen=True, slots=True)
class SamplingLimits:
    """Sampling of answers: from the whole distribution, so without top-k or top-p.

    With cuts, tokens would have other probabilities when they are sampled than in training.

    Attributes:
        stop_token_ids: tokens that end an answer.
    """

    max_tokens: int
    stop_token_ids: Collection[int]
    temperature: float = 1.0


def check_prompts(
    prompts: Sequence[TrainingPrompt], limits: SamplingLimits, max_length: int
) -> None:
    """Check that each prompt has tokens, and room for an answer after them.

    Args:
        max_length: tokens of the longest sequence that the model can read; 0 if it is unlimited.

    Raises:
        InputError: one has none, or too many.
    """
    for number, prompt in enumerate(prompts, 1):
        if not prompt.ids:
            raise InputError(
                "the prompt has no tokens",
                where=f"prompt {number} of {len(prompts)}",
                fix="Leave it out, or render it with the chat template.",
            )
        if max_length and len(prompt.ids) + limits.max_tokens > max_length:
            raise InputError(
                f"{len(prompt.ids)} tokens and an answer of {limits.max_tokens} are more than the "
                f"{max_length} that the model can read",
                where=f"prompt {number} of {len(prompts)}",
                fix="Leave out or shorten long prompts, or allow for fewer tokens in an answer.",
            )


@torch.no_grad()
def sample_answers(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[TrainingPrompt],
    limits: SamplingLimits,
    seed: int,
) -> list[SampledAnswer]:
    """One answer for each prompt, with log probabilities as they were sampled.

    Args:
        model: a causal language model of transformers, in evaluation mode.
        seed: the same prompts, weights and seed give the same answers.

    Raises:
        InputError: a prompt has no tokens, or too many.
    """
    check_prompts(prompts, limits, getattr(model.config, "max_position_embeddings", 0) or 0)
    decoding = _Decoding.begin(model, prompts, limits)
    draw = torch.Generator().manual_seed(seed)
    # A row for each prompt, so that others that come later, or that have ended, do not matter.
    points = torch.rand(len(prompts), limits.max_tokens, generator=draw, dtype=torch.float64)
    for column in points.t():
        if not decoding.step(column):
            break
    return [
        make_answer(tokenizer, limits, ids, logprobs)
        for ids, logprobs in zip(decoding.ids, decoding.logprobs, strict=True)
    ]


def make_answer(
    tokenizer: Any, limits: SamplingLimits, ids: Sequence[int], logprobs: Sequence[float]
) -> SampledAnswer:
    """An answer with its text; it has ended if its last token is one that ends answers."""
    ended = bool(ids) and ids[-1] in limits.stop_token_ids
    text = tokenizer.decode(ids[:-1] if ended else ids, skip_special_tokens=True)
    return SampledAnswer(tuple(ids), tuple(logprobs), text, ended)


@dataclass(slots=True)
class _Decoding:
    """Answers in progress. Equal prompts are read once, and rows that have ended drop out.

    Attributes:
        rows: numbers of the prompts whose answers are in progress, [rows].
        mask: 1 for cached tokens, 0 for padding, [rows, tokens].
        logits: next-token logits, [rows, vocabulary].
        is_open: whether a row goes on, [rows].
        ids, logprobs: all tokens so far and their log probabilities, for each prompt.
    """

    model: Any
    limits: SamplingLimits
    cache: Any
    rows: torch.Tensor
    mask: torch.Tensor
    logits: torch.Tensor
    is_open: torch.Tensor
    stop: torch.Tensor
    ids: list[list[int]]
    logprobs: list[list[float]]

    @classmethod
    def begin(
        cls, model: Any, prompts: Sequence[TrainingPrompt], limits: SamplingLimits
    ) -> _Decoding:
        """The state after all prompts were read."""
        different = list(dict.fromkeys(prompt.ids for prompt in prompts))
        width = max(map(len, different))
        ids = torch.zeros(len(different), width, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, own in enumerate(different):  # padding before, so that all continue at one place
            ids[row, width - len(own) :] = torch.tensor(own)
            mask[row, width - len(own) :] = 1
        ids, mask = ids.to(model.device), mask.to(model.device)
        output = _run(model, ids, mask, None)
        number_of = {own: number for number, own in enumerate(different)}
        index = torch.tensor([number_of[each.ids] for each in prompts], device=model.device)
        if len(different) < len(prompts):
            output.past_key_values.batch_select_indices(index)
        return cls(
            model,
            limits,
            output.past_key_values,
            rows=torch.arange(len(prompts)),
            mask=mask[index],
            logits=output.logits[:, -1][index],
            is_open=torch.ones(len(prompts), dtype=torch.bool),
            stop=torch.tensor(sorted(limits.stop_token_ids), dtype=torch.long),
            ids=[[] for _ in prompts],
            logprobs=[[] for _ in prompts],
        )

    def step(self, points: torch.Tensor) -> bool:
        """Draw a token for each open row; False if none is open afterwards, or has room.

        Args:
            points: a number in [0, 1) for each prompt, [prompts].
        """
        logprobs = torch.log_softmax(self.logits.float() / self.limits.temperature, -1)
        ids = draw_tokens(logprobs, points[self.rows])
        chosen = logprobs.gather(1, ids[:, None])[:, 0].tolist()
        drawn = zip(self.rows.tolist(), ids.tolist(), chosen, self.is_open.tolist(), strict=True)
        for row, token, logprob, is_open in drawn:
            if is_open:
                self.ids[row].append(token)
                self.logprobs[row].append(logprob)
        self.is_open &= ~torch.isin(ids.cpu(), self.stop)
        longest = max(map(len, self.ids))
        if not bool(self.is_open.any()) or longest == self.limits.max_tokens:
            return False
        ids = self._compact(ids)
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(ids), 1)], 1)
        self.logits = _run(self.model, ids[:, None], self.mask, self.cache).logits[:, -1]
        return True

    def _compact(self, ids: torch.Tensor) -> torch.Tensor:
        """Drop rows that have ended, if there are many; the new tokens of the others."""
        ended = float((~self.is_open).double().mean())
        if ended < _COMPACT_AT:
            return ids
        kept = self.is_open.nonzero()[:, 0]
        self.rows, self.is_open = self.rows[kept], self.is_open[kept]
        index = kept.to(ids.device)
        self.mask = self.mask[index]
        self.cache.batch_select_indices(index)
        return ids[index]


def draw_tokens(logprobs: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """The first token of each row at which the running sum of probabilities exceeds a number.

    Args:
        logprobs: [rows, vocabulary].
        points: numbers in [0, 1), [rows].
    """
    sums = logprobs.double().exp().cumsum(-1)
    thresholds = points.to(sums.device)[:, None] * sums[:, -1:]
    ids = torch.searchsorted(sums, thresholds, right=True)[:, 0]
    return ids.clamp(max=logprobs.shape[1] - 1)


def _run(model: Any, ids: torch.Tensor, mask: torch.Tensor, cache: Any) -> Any:
    """A pass over new tokens, [rows, new]; it returns the last one's logits and the cache."""
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
    return model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
