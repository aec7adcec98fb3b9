"""Scaling, penalties and placement of scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from alignment.cases import normal, random_masks, spoiled

from moli.alignment.kl import kl_estimate
from moli.alignment.rewards.shaping import ScoreScaling, penalize_missing_end, token_rewards


def test_the_score_is_at_the_last_token_and_each_token_pays_for_itself() -> None:
    for draw, mask in random_masks():
        scores, penalties = normal(draw, len(mask)), normal(draw, *mask.shape)
        rewards = token_rewards(scores, spoiled(penalties, mask, math.nan), mask)
        assert not rewards[~mask].any()
        for row, kept in enumerate(mask):
            expected = [-float(each) for each in penalties[row][kept]]
            if expected:
                expected[-1] += float(scores[row])
            assert rewards[row][kept].tolist() == pytest.approx(expected)


def test_a_worked_example_of_rewards() -> None:
    logprobs = torch.tensor([[-1.0, -0.5, -9.0]], dtype=torch.float64)
    reference = torch.tensor([[-2.0, -0.25, 0.0]], dtype=torch.float64)
    mask = torch.tensor([[True, True, False]])
    rewards = token_rewards(torch.tensor([3.0]), 0.1 * kl_estimate(logprobs, reference), mask)
    assert rewards[0].tolist() == pytest.approx([-0.1, 3.025, 0.0])


def test_an_answer_that_was_cut_off_pays_a_point() -> None:
    scores = penalize_missing_end(torch.tensor([2.0, 2.0]), torch.tensor([True, False]), 1.0)
    assert scores.tolist() == [2.0, 1.0]


def test_running_moments_are_those_of_all_scores_so_far() -> None:
    draw = np.random.default_rng(0)
    scaling, so_far = ScoreScaling("running"), np.empty(0)
    for size in (4, 1, 7, 3):
        batch = draw.normal(5, 3, size)
        so_far = np.append(so_far, batch)
        expected = (batch - so_far.mean()) / np.sqrt(so_far.var(ddof=1) + 1e-8)
        assert scaling(torch.tensor(batch)).numpy() == pytest.approx(expected)
    assert (scaling.count, scaling.mean) == (15, pytest.approx(so_far.mean()))


def test_scores_of_a_batch_are_whitened_or_left_alone() -> None:
    scores = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    assert ScoreScaling("batch")(scores).tolist() == pytest.approx([-1.0, 0.0, 1.0])
    assert ScoreScaling()(scores) is scores
