"""Advantages against values by hand and derivations in NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from alignment.cases import normal, random_masks, spoiled

from moli.alignment.advantages import (
    explained_variance,
    gae,
    grpo_advantages,
    masked_mean,
    rloo_advantages,
    whiten,
)

SPOILS = (999.0, math.nan, math.inf, -math.inf)


def numpy_gae(
    rewards: np.ndarray, values: np.ndarray, gamma: float, lam: float
) -> tuple[np.ndarray, np.ndarray]:
    """Equation 16 as it is written: a sum of discounted residuals, for one unbroken answer."""
    following = np.append(values[1:], 0.0)
    residuals = rewards + gamma * following - values
    advantages = np.array(
        [
            sum(
                (gamma * lam) ** (later - now) * residuals[later]
                for later in range(now, len(values))
            )
            for now in range(len(values))
        ]
    )
    return advantages, advantages + values


def test_the_worked_example_of_advantages() -> None:
    rewards = torch.tensor([[-0.05, 0.02, 1.0]], dtype=torch.float64)
    values = torch.tensor([[0.2, 0.4, 0.1]], dtype=torch.float64)
    advantages, returns = gae(rewards, values, torch.ones(1, 3, dtype=torch.bool))
    assert advantages[0].tolist() == pytest.approx([0.69625, 0.575, 0.9])
    assert returns[0].tolist() == pytest.approx([0.89625, 0.975, 1.0])


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 1.0), (1.0, 0.0), (0.97, 0.5)])
def test_masked_positions_are_as_if_they_were_cut_out(gamma: float, lam: float) -> None:
    for draw, mask in random_masks():
        rewards, values = normal(draw, *mask.shape), normal(draw, *mask.shape)
        advantages, returns = gae(rewards, values, mask, gamma, lam)
        assert not advantages[~mask].any() and not returns[~mask].any()
        for row in range(len(mask)):
            kept = mask[row].numpy()
            expected = numpy_gae(rewards[row].numpy()[kept], values[row].numpy()[kept], gamma, lam)
            assert advantages[row].numpy()[kept] == pytest.approx(expected[0], abs=1e-12)
            assert returns[row].numpy()[kept] == pytest.approx(expected[1], abs=1e-12)


@pytest.mark.parametrize("spoil", SPOILS)
def test_nothing_leaks_out_of_masked_positions(spoil: float) -> None:
    for draw, mask in random_masks():
        rewards, values = normal(draw, *mask.shape), normal(draw, *mask.shape)
        clean = gae(rewards, values, mask)
        other = gae(spoiled(rewards, mask, spoil), spoiled(values, mask, spoil), mask)
        assert torch.equal(clean[0], other[0]) and torch.equal(clean[1], other[1])
        for shift in (True, False):
            assert torch.equal(
                whiten(values, mask, shift_mean=shift),
                whiten(spoiled(values, mask, spoil), mask, shift_mean=shift),
            )
        assert torch.equal(
            masked_mean(values, mask), masked_mean(spoiled(values, mask, spoil), mask)
        )


def test_a_gap_of_999_in_the_middle_of_an_answer_does_not_leak() -> None:
    mask = torch.tensor([[True, True, False, False, True]])
    rewards = torch.tensor([[-0.05, 0.02, 999.0, 999.0, 1.0]], dtype=torch.float64)
    values = torch.tensor([[0.2, 0.4, 999.0, 999.0, 0.1]], dtype=torch.float64)
    advantages, returns = gae(rewards, values, mask)
    assert advantages[mask].tolist() == pytest.approx([0.69625, 0.575, 0.9])
    assert returns[mask].tolist() == pytest.approx([0.89625, 0.975, 1.0])


@pytest.mark.parametrize("before", [0, 1, 4])
def test_the_side_of_the_padding_does_not_matter(before: int) -> None:
    draw = torch.Generator().manual_seed(before)
    rewards, values = normal(draw, 3, 4), normal(draw, 3, 4)
    alone = gae(rewards, values, torch.ones(3, 4, dtype=torch.bool))
    pad = (before, 4 - before)
    mask = torch.nn.functional.pad(torch.ones(3, 4, dtype=torch.bool), pad)
    padded = gae(
        torch.nn.functional.pad(rewards, pad, value=7.0),
        torch.nn.functional.pad(values, pad, value=7.0),
        mask,
    )
    for one, other in zip(alone, padded, strict=True):
        assert torch.equal(other[mask].view(3, 4), one)


def test_whitening_is_over_the_mask_only_with_the_variance_of_samples() -> None:
    for draw, mask in random_masks():
        values = normal(draw, *mask.shape) * 3 + 2
        chosen = values[mask].numpy()
        scale = 1 / np.sqrt(chosen.var(ddof=1) + 1e-8)
        shifted, unshifted = whiten(values, mask), whiten(values, mask, shift_mean=False)
        assert shifted[mask].numpy() == pytest.approx((chosen - chosen.mean()) * scale)
        expected = (chosen - chosen.mean()) * scale + chosen.mean()
        assert unshifted[mask].numpy() == pytest.approx(expected)
        assert not shifted[~mask].any() and not unshifted[~mask].any()


def test_one_value_and_none_are_whitened_to_numbers() -> None:
    one = torch.tensor([[3.0, 1.0]])
    assert whiten(one, torch.tensor([[True, False]])).tolist() == [[0.0, 0.0]]
    assert whiten(one, torch.tensor([[True, False]]), shift_mean=False).tolist() == [[3.0, 0.0]]
    assert whiten(one, torch.zeros(1, 2, dtype=torch.bool)).tolist() == [[0.0, 0.0]]
    assert masked_mean(one, torch.zeros(1, 2, dtype=torch.bool)).item() == 0


def test_the_worked_examples_of_group_advantages() -> None:
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0, 0.5]], dtype=torch.float64)
    signs = [1, -1, -1, 1, 0]
    for advantages, size in (
        (rloo_advantages(rewards), 0.625),
        (grpo_advantages(rewards), 0.9998),
        (grpo_advantages(rewards, scale=False), 0.5),
    ):
        assert advantages[0].tolist() == pytest.approx([size * each for each in signs], abs=1e-5)


def test_group_advantages_are_derived_row_by_row() -> None:
    rewards = normal(torch.Generator().manual_seed(0), 6, 4)
    for row, rloo, grpo in zip(
        rewards.numpy(), rloo_advantages(rewards), grpo_advantages(rewards), strict=True
    ):
        others = [np.delete(row, column).mean() for column in range(4)]
        assert rloo.numpy() == pytest.approx(row - others)
        assert grpo.numpy() == pytest.approx((row - row.mean()) / (row.std(ddof=1) + 1e-4))


def test_a_group_of_equal_rewards_teaches_nothing() -> None:
    rewards = torch.full((2, 4), 0.3)
    assert not rloo_advantages(rewards).abs().gt(1e-7).any()
    assert not grpo_advantages(rewards).abs().gt(1e-3).any()


def test_the_worked_example_of_the_explained_variance() -> None:
    returns = torch.tensor([[1.0, 2.0, 9.0], [3.0, 9.0, 9.0]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    # The errors are 0, 0 and .5 with the variance 1/18; that of the returns is 2/3.
    values = torch.tensor([[1.0, 2.0, math.nan], [2.5, math.nan, math.inf]])
    assert float(explained_variance(values, returns, mask)) == pytest.approx(11 / 12)
    assert float(explained_variance(returns - 5, returns, mask)) == pytest.approx(1)
    assert float(explained_variance(torch.full_like(returns, 7), returns, mask)) == 0
    assert float(explained_variance(-returns, returns, mask)) == pytest.approx(-3)
    assert float(explained_variance(values, torch.ones_like(returns), mask)) == 0
    assert float(explained_variance(values, returns, torch.zeros_like(mask))) == 0


def test_the_explained_variance_is_that_of_numpy() -> None:
    for draw, mask in random_masks():
        returns, values = normal(draw, *mask.shape), normal(draw, *mask.shape)
        if int(mask.sum()) > 1:
            own, errors = returns[mask].numpy(), (returns - values)[mask].numpy()
            expected = 1 - np.var(errors) / np.var(own)
            assert float(explained_variance(values, returns, mask)) == pytest.approx(expected)
