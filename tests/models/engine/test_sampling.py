"""Cuts and penalties against transformers' own, draws against their probabilities."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from moli.models.engine.sampling import apply_penalties, draw_token, warp_logits
from moli.records.generation import Sampling


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p", "min_p"),
    [*product((0.5, 1.7), (0, 5), (1.0, 0.6), (0.0, 0.1))],
)
def test_cuts_are_those_of_transformers(
    temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    from transformers import (
        LogitsProcessorList,
        MinPLogitsWarper,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    theirs = LogitsProcessorList([TemperatureLogitsWarper(temperature)])
    if top_k:
        theirs.append(TopKLogitsWarper(top_k))
    if top_p < 1:
        theirs.append(TopPLogitsWarper(top_p))
    if min_p:
        theirs.append(MinPLogitsWarper(min_p))
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    for seed in range(20):
        logits = 3 * torch.randn(50, generator=torch.Generator().manual_seed(seed))
        expected = theirs(torch.zeros(1, 1, dtype=torch.long), logits[None])[0]
        torch.testing.assert_close(warp_logits(logits, sampling), expected)


def test_the_penalty_for_repetition_is_that_of_transformers() -> None:
    from transformers import RepetitionPenaltyLogitsProcessor

    ids = [3, 7, 7, 20]
    for seed in range(10):
        logits = torch.randn(30, generator=torch.Generator().manual_seed(seed))
        expected = RepetitionPenaltyLogitsProcessor(1.3)(torch.tensor([ids]), logits[None].clone())[
            0
        ]
        torch.testing.assert_close(
            apply_penalties(logits, Sampling(repetition_penalty=1.3), 2, np.array(ids, np.int32)),
            expected,
        )


def test_penalties_for_what_was_written_count_it() -> None:
    """OpenAI's: logits - presence * (count > 0) - frequency * count, the prompt not counted."""
    logits = torch.zeros(6)
    sampling = Sampling(presence_penalty=0.5, frequency_penalty=0.25)
    penalized = apply_penalties(logits, sampling, 2, np.array([1, 2, 3, 3, 4], np.int32))
    assert penalized.tolist() == [0, 0, 0, -1.0, -0.75, 0]


def test_draws_follow_the_probabilities() -> None:
    logits = torch.tensor([0.0, float("-inf"), 1.0, 2.0, float("-inf")])
    generator = torch.Generator().manual_seed(0)
    counts = [0] * 5
    for _ in range(20_000):
        counts[draw_token(logits, generator)] += 1
    expected = logits.double().softmax(-1)
    assert counts[1] == counts[4] == 0
    for count, share in zip(counts, expected.tolist(), strict=True):
        deviation = (share * (1 - share) / 20_000) ** 0.5
        assert abs(count / 20_000 - share) <= 4 * deviation


def test_a_bias_is_added_to_the_logits_of_its_tokens() -> None:
    logits = torch.tensor([1.0, 2.0, 3.0])
    sampling = Sampling(logit_bias=((0, 5.0), (2, -100.0)))
    biased = apply_penalties(logits, sampling, 0, np.zeros(0, np.int32))
    assert biased.tolist() == [6.0, 2.0, -97.0]
    assert logits.tolist() == [1.0, 2.0, 3.0]
