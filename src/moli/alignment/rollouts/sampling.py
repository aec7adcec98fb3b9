"""Answers sampled from a transformers model, with its KV cache."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from moli.alignment.rollouts.buffer import SampledAnswer, TrainingPrompt


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
    """
    tokens, logprobs = _decode(model, prompts, limits, seed)
    answers = []
    for row in range(len(prompts)):
        is_stop = np.isin(tokens[row], list(limits.stop_token_ids))
        ended = bool(is_stop.any())
        length = int(is_stop.argmax()) + 1 if ended else len(is_stop)
        ids = tuple(tokens[row, :length].tolist())
        written = ids[:-1] if ended else ids
        text = tokenizer.decode(written, skip_special_tokens=True)
        answers.append(SampledAnswer(ids, tuple(logprobs[row, :length].tolist()), text, ended))
    return answers


def _decode(
    model: Any, prompts: Sequence[TrainingPrompt], limits: SamplingLimits, seed: int
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Tokens and their log probabilities, [prompts, steps]; what follows a stop token is void."""
    device = model.device
    width = max(len(prompt.ids) for prompt in prompts)
    ids = torch.zeros(len(prompts), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):  # padding before, so that all continue at one place
        ids[row, width - len(prompt.ids) :] = torch.tensor(prompt.ids)
        mask[row, width - len(prompt.ids) :] = 1
    ids, mask = ids.to(device), mask.to(device)
    draw = torch.Generator(device).manual_seed(seed)
    stop = torch.tensor(sorted(limits.stop_token_ids), device=device)
    cache, ended = None, torch.zeros(len(prompts), dtype=torch.bool, device=device)
    steps: list[tuple[torch.Tensor, torch.Tensor]] = []
    while len(steps) < limits.max_tokens and not bool(ended.all()):
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        output = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache = output.past_key_values
        logprobs = torch.log_softmax(output.logits[:, -1].float() / limits.temperature, -1)
        ids = torch.multinomial(logprobs.exp(), 1, generator=draw)
        steps.append((ids, logprobs.gather(1, ids)))
        ended |= torch.isin(ids[:, 0], stop)
        mask = torch.cat([mask, torch.ones_like(ids)], 1)
    tokens, chosen = (torch.cat(parts, 1).cpu().numpy() for parts in zip(*steps, strict=True))
    return tokens, chosen
