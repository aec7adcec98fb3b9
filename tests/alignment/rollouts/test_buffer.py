"""The record of a batch of rollouts."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from moli.alignment.rollouts.buffer import (
    SampledAnswer,
    TrainingPrompt,
    make_experience,
    make_rollouts,
)
from moli.records.errors import InputError

PROMPTS = [TrainingPrompt((1,)), TrainingPrompt((2,)), TrainingPrompt((3,))]
ANSWERS = [
    SampledAnswer((7, 8, 9), (-1.0, -2.0, -3.0), sampled=(True, False, True)),
    SampledAnswer((4,), (-0.5,)),
    SampledAnswer((), (), ended=False),
]


def test_ids_are_those_that_were_sampled_and_masks_leave_out_what_was_not() -> None:
    rollouts = make_rollouts(PROMPTS, ANSWERS)
    assert rollouts.ids.tolist() == [[7, 8, 9], [4, 0, 0], [0, 0, 0]]
    assert rollouts.mask.tolist() == [[True, False, True], [True, False, False], [False] * 3]
    assert rollouts.sampled_logprobs.tolist() == [[-1, -2, -3], [-0.5, 0, 0], [0, 0, 0]]
    assert rollouts.lengths.tolist() == [2, 1, 0]


def test_rows_are_selected_with_all_that_belongs_to_them() -> None:
    rollouts = make_rollouts(PROMPTS, ANSWERS)
    logprobs = torch.arange(9.0).view(3, 3)
    experience = make_experience(
        rollouts,
        logprobs=logprobs,
        reference_logprobs=logprobs + 1,
        scores=torch.tensor([1.0, 2.0, 3.0]),
    )
    part = experience.select([2, 0])
    assert part.prompts == (PROMPTS[2], PROMPTS[0]) and part.answers[1] is ANSWERS[0]
    assert part.scores.tolist() == [3.0, 1.0]
    assert torch.equal(part.reference_logprobs, logprobs[[2, 0]] + 1)
    assert part.values.shape == part.advantages.shape == (2, 3)


def test_a_record_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_rollouts(PROMPTS, ANSWERS).ids = torch.zeros(1)  # type: ignore[misc]


def test_answers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="2 answers for 3 prompts"):
        make_rollouts(PROMPTS, ANSWERS[:2])
    with pytest.raises(InputError, match="answer 1: 2 tokens with 1 log probabilities"):
        make_rollouts(PROMPTS[:1], [SampledAnswer((1, 2), (0.0,))])
    with pytest.raises(InputError, match="2 tokens with 2 log probabilities and 1 marks"):
        make_rollouts(PROMPTS[:1], [SampledAnswer((1, 2), (0.0, 0.0), sampled=(True,))])
