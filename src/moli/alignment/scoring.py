"""Answers as one batch of a model, and what it finds of their tokens.

Answers to one prompt continue it, so that it is computed once where the model's attention allows
that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from moli.alignment.policy_losses import token_entropy
from moli.alignment.rollouts.buffer import Rollouts, SampledAnswer, TrainingPrompt, make_rollouts
from moli.alignment.rollouts.protocols import TokenScores
from moli.training.batching.batches import Batch, collate
from moli.training.batching.samples import Sample, Tokens
from moli.training.kernels.token_scores import token_scores
from moli.training.packing import check_packing
from moli.training.tasks.base.causal import product_weight, states_and_head
from moli.training.tasks.base.wrapped_models import model_without_head, unwrapped_model


@dataclass(frozen=True, slots=True)
class AnswerBatch:
    """Answers with their prompts as inputs of a model.

    Attributes:
        before: index in the batch of the token before each token of the answers, [tokens].
        ids: the answers' tokens in order of the rows, [tokens].
        is_token: where they are in [B, T].
    """

    batch: Batch
    before: torch.Tensor
    ids: torch.Tensor
    is_token: torch.Tensor

    @classmethod
    def of(cls, rollouts: Rollouts, *, packed: bool, device: torch.device | str) -> AnswerBatch:
        """The batch of answers, at least one of which has a token; those without are left out."""
        sequences: list[Tokens] = []
        continues: list[int] = []
        prompts: dict[tuple[int, ...], int] = {}
        own: list[int] = []
        for prompt, answer in zip(rollouts.prompts, rollouts.answers, strict=True):
            if not answer.ids:
                continue
            if prompt.ids not in prompts:
                prompts[prompt.ids] = len(sequences)
                sequences.append(np.array(prompt.ids, np.int64))
                continues.append(-1)
            own.append(len(sequences))
            sequences.append(np.array(answer.ids, np.int64))
            continues.append(prompts[prompt.ids])
        batch = collate(sequences, packed=packed, continues=continues, device=device)
        starts = batch.starts.tolist()
        indices = [torch.arange(len(sequences[n])) + starts[n] for n in own]
        ids = torch.from_numpy(np.concatenate([sequences[n] for n in own])).to(device)
        lengths = torch.tensor([len(answer.ids) for answer in rollouts.answers])
        is_token = torch.arange(rollouts.ids.shape[1])[None] < lengths[:, None]
        return cls(batch, batch.previous[torch.cat(indices).to(device)], ids, is_token)

    def in_rows(self, values: torch.Tensor) -> torch.Tensor:
        """Numbers for all tokens in order as [B, T], 0 behind the answers."""
        rows = values.new_zeros(self.is_token.shape)
        rows[self.is_token.to(values.device)] = values
        return rows.cpu()


def score_answers_of(
    model: torch.nn.Module, rollouts: Rollouts, temperature: float, *, packed: bool
) -> TokenScores:
    """Log probabilities and entropies of answers' tokens at a temperature."""
    if not any(answer.ids for answer in rollouts.answers):
        return TokenScores(torch.zeros(rollouts.ids.shape), torch.zeros(rollouts.ids.shape))
    answers = AnswerBatch.of(rollouts, packed=packed, device=unwrapped_model(model).device)
    states, head = states_and_head(model, answers.batch, answers.before)
    weight = product_weight(head, states)
    if weight is None or (weight.requires_grad and torch.is_grad_enabled()):
        logits = head(states).float() / temperature
        logprobs = torch.log_softmax(logits, -1).gather(1, answers.ids[:, None])[:, 0]
        entropies = token_entropy(logits)
    else:
        logprobs, entropies = token_scores(states, weight, answers.ids, temperature)
    return TokenScores(answers.in_rows(logprobs.float()), answers.in_rows(entropies.float()))


def value_answers_of(
    model: torch.nn.Module, head: torch.nn.Linear, rollouts: Rollouts, *, packed: bool
) -> torch.Tensor:
    """A linear head's value of the state before each token of answers, [B, T]."""
    if not any(answer.ids for answer in rollouts.answers):
        return torch.zeros(rollouts.ids.shape)
    answers = AnswerBatch.of(rollouts, packed=packed, device=unwrapped_model(model).device)
    output = model_without_head(model)(**answers.batch.inputs, use_cache=False)
    states = answers.batch.gather(output.last_hidden_state)[answers.before]
    return answers.in_rows(head(states.to(head.weight.dtype))[:, 0].float())


class AnswerScoring:
    """The scoring of answers as the packing check tries it; a sample is a prompt with answers."""

    supports_packing = True

    def forward(
        self, model: torch.nn.Module, samples: Sequence[Sample], *, packed: bool = False
    ) -> list[float]:
        """Cross-entropy of all answers of each sample."""
        prompts, answers = [], []
        for sample in samples:
            prompt, *own = (tuple(ids.tolist()) for ids in sample.sequences)
            prompts += [TrainingPrompt(prompt)] * len(own)
            answers += [SampledAnswer(ids, (0.0,) * len(ids)) for ids in own]
        scores = score_answers_of(model, make_rollouts(prompts, answers), 1.0, packed=packed)
        sums = iter((-scores.logprobs.sum(1)).tolist())
        return [sum(next(sums) for _ in sample.sequences[1:]) for sample in samples]

    def output_checksums(self, outputs: Any, samples: Sequence[Sample]) -> torch.Tensor:  # noqa: ARG002
        """The cross-entropies themselves."""
        return torch.tensor(outputs)


def can_pack_answers(model: torch.nn.Module) -> bool:
    """Whether answers may be packed: a check with random tokens finds that it changes nothing.

    What it finds follows from the model alone, so that a resumed run finds the same.
    """
    draw = np.random.default_rng(0)
    vocabulary = unwrapped_model(model).get_input_embeddings().num_embeddings
    lengths = [(3, 5, 2), (9, 4, 4), (1, 7, 12), (6, 1, 3)]
    samples = [
        Sample(
            tuple(draw.integers(vocabulary, size=length, dtype=np.int32) for length in own),
            None,
            continues=(-1, 0, 0),
        )
        for own in lengths
    ]
    return check_packing(AnswerScoring(), model, samples).holds
