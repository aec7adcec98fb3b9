"""Rollouts by the serving engine, with a copy of the base whose weights follow the policy's."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from moli.alignment.rollouts.buffer import SampledAnswer, TrainingPrompt
from moli.alignment.rollouts.sampling import SamplingLimits, check_prompts, make_answer
from moli.models.engine import attention
from moli.models.engine.engine import Engine
from moli.models.engine.transformers_runner import TransformersRunner
from moli.records.errors import ModelError
from moli.records.generation import Completion, Request, Sampling


def sampling_of(limits: SamplingLimits, seed: int, row: int) -> Sampling:
    """The sampling of one answer of a batch, whose seed follows from the batch's and its row."""
    own = np.random.SeedSequence((seed, row)).generate_state(1, np.uint32)[0]
    return Sampling(
        max_tokens=limits.max_tokens,
        temperature=limits.temperature,
        seed=int(own),
        logprobs=0,
        processed_logprobs=True,
    )


def answers_of(
    completions: Sequence[Completion], tokenizer: Any, limits: SamplingLimits, where: str
) -> list[SampledAnswer]:
    """The answers that an engine or a server has completed.

    Raises:
        ModelError: it did not complete one.
    """
    for number, completion in enumerate(completions, 1):
        if completion.reason not in ("stop", "length"):
            raise ModelError(
                f"answer {number} of {len(completions)} was not completed: {completion.reason}",
                where=where,
                fix="See the log for the reason, and continue the run.",
            )
    return [make_answer(tokenizer, limits, each.ids, each.logprobs) for each in completions]


class EngineRollouts:
    """A rollout source that answers all prompts at once by the engine that also serves models.

    Args:
        base: the model that the policy began as; it is copied.
        weights: returns the policy's present weights by name, as far as they can differ.
        max_num_seqs: maximum number of answers in progress.
    """

    def __init__(
        self,
        base: Any,
        tokenizer: Any,
        limits: SamplingLimits,
        weights: Callable[[], Mapping[str, torch.Tensor]],
        *,
        max_num_seqs: int = 64,
    ) -> None:
        attention.register()
        model = copy.deepcopy(base)
        model.set_attn_implementation(attention.NAME)
        self._max_length = int(getattr(model.config, "max_position_embeddings", 0) or 2048)
        self._tokenizer, self._limits, self._weights = tokenizer, limits, weights
        self.engine = Engine(
            TransformersRunner(model, adapter_slots=1),
            tokenizer,
            max_num_seqs=max_num_seqs,
            prefix_slots=0,
            max_model_len=self._max_length,
            max_prefill_tokens=4096,
        )
        self.engine.stop_token_ids = frozenset(limits.stop_token_ids)

    def __call__(self, prompts: Sequence[TrainingPrompt], seed: int) -> list[SampledAnswer]:
        """One answer for each prompt by the policy's present weights.

        Raises:
            InputError: a prompt has no tokens, or too many.
        """
        check_prompts(prompts, self._limits, self._max_length)
        self.engine.update_weights(self._weights())
        requests = [
            Request(prompt.ids, sampling_of(self._limits, seed, row))
            for row, prompt in enumerate(prompts)
        ]
        completions = self.engine.complete(requests)
        return answers_of(completions, self._tokenizer, self._limits, "rollouts")
