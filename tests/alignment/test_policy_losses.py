"""Losses of policies and values against NumPy, with gradients where they must and must not be."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from alignment.cases import normal, random_masks, spoiled

from moli.alignment.policy_losses import (
    Aggregation,
    clipped_policy_loss,
    clipped_value_loss,
    importance_weights,
    is_clipped,
    sequence_ratio,
    token_entropy,
    token_ratio,
    token_weights,
    weighted_sum,
)


def numpy_policy_loss(ratio: float, advantage: float, low: float, high: float) -> float:
    return max(-advantage * ratio, -advantage * min(max(ratio, 1 - low), 1 + high))


@pytest.mark.parametrize(("low", "high"), [(0.2, 0.2), (0.2, 0.28), (3e-4, 4e-4)])
def test_the_clipped_loss_and_its_gradient(low: float, high: float) -> None:
    ratios = torch.tensor([0.5, 0.79, 0.81, 1.0, 1.19, 1.25, 1.5], dtype=torch.float64)
    for advantage in (-2.0, 0.0, 1.5):
        ratio = ratios.clone().requires_grad_()
        advantages = torch.full_like(ratio, advantage)
        losses = clipped_policy_loss(ratio, advantages, low, high)
        expected = [numpy_policy_loss(r, advantage, low, high) for r in ratios.tolist()]
        assert losses.tolist() == pytest.approx(expected)
        losses.sum().backward()
        assert ratio.grad is not None
        moves = ratio.grad != 0
        assert torch.equal(moves, ~is_clipped(ratios, advantages, low, high) & (advantages != 0))


def test_golden_values_of_the_clipped_loss() -> None:
    loss = clipped_policy_loss(torch.tensor([1.5, 1.5, 0.5, 0.5]), torch.tensor([1.0, -1, 1, -1]))
    assert loss.tolist() == pytest.approx([-1.2, 1.5, -0.5, 0.8])


def test_the_clipped_value_loss_takes_the_worse_of_two_errors() -> None:
    draw = torch.Generator().manual_seed(0)
    values, old, returns = (normal(draw, 40) for _ in range(3))
    for clip in (0.2, 1.0):
        clipped = np.clip(values.numpy(), old.numpy() - clip, old.numpy() + clip)
        worse = np.maximum(
            (values.numpy() - returns.numpy()) ** 2, (clipped - returns.numpy()) ** 2
        )
        assert clipped_value_loss(values, old, returns, clip).numpy() == pytest.approx(worse / 2)
    one = clipped_value_loss(torch.tensor([1.0]), torch.tensor([0.5]), torch.tensor([0.9]))
    assert one.item() == pytest.approx(0.5 * 0.2**2)  # the clipped value .7 is further off than 1.0


def test_entropies_of_known_distributions() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25, 0.0], [1.0, 0.0, 0.0, 0.0], [0.25] * 4]))
    assert token_entropy(logits + 5).tolist() == pytest.approx(
        [1.5 * math.log(2), 0.0, 2 * math.log(2)], abs=1e-6
    )


def test_the_gradient_of_the_entropy_is_a_number_beside_impossible_tokens() -> None:
    logits = torch.tensor([1.0, -math.inf, 0.5], requires_grad=True)
    token_entropy(logits).backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("spoil", [999.0, math.nan, -math.inf])
def test_masked_positions_change_no_loss_and_no_gradient(spoil: float) -> None:
    for draw, mask in random_masks():
        logprobs, old, advantages = (normal(draw, *mask.shape) for _ in range(3))
        results = []
        for value in (0.0, spoil):
            variable = spoiled(logprobs, mask, value).requires_grad_()
            per_token = clipped_policy_loss(
                token_ratio(variable, spoiled(old, mask, value), mask),
                spoiled(advantages, mask, value),
            )
            loss = weighted_sum(per_token, token_weights(mask, "sequence"))
            whole = sequence_ratio(variable, old, mask, length_normalized=True)
            loss = loss + weighted_sum(
                -whole * torch.ones_like(logprobs), token_weights(mask, "token")
            )
            loss.backward()
            assert variable.grad is not None
            results.append((loss.detach(), variable.grad))
        assert torch.equal(results[0][0], results[1][0])
        assert torch.equal(results[0][1], results[1][1])
        assert not results[1][1][~mask].any()


def test_ratios_of_tokens_and_of_whole_answers() -> None:
    for draw, mask in random_masks():
        logprobs, old = normal(draw, *mask.shape), normal(draw, *mask.shape)
        ratio = token_ratio(logprobs, old, mask)
        assert torch.allclose(ratio[mask], (logprobs - old)[mask].exp())
        assert (ratio[~mask] == 1).all()
        whole = sequence_ratio(logprobs, old, mask, length_normalized=False)
        mean = sequence_ratio(logprobs, old, mask, length_normalized=True)
        for row, kept in enumerate(mask):
            if kept.any():
                tokens = ratio[row][kept].numpy()
                assert whole[row].item() == pytest.approx(tokens.prod())
                assert mean[row].item() == pytest.approx(tokens.prod() ** (1 / len(tokens)))


AGGREGATIONS: dict[Aggregation, float] = {
    "token": (1 + 2 + 3 + 4) / 4,
    "sequence": (2 + 4) / 2,
    "constant": (1 + 2 + 3 + 4) / 2 / 8,
}


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_what_a_token_of_a_long_answer_counts(aggregation: Aggregation) -> None:
    mask = torch.tensor([[True, True, True], [True, False, False]])
    losses = torch.tensor([[1.0, 2.0, 3.0], [4.0, 99.0, 99.0]], dtype=torch.float64)
    weights = token_weights(mask, aggregation, max_tokens=8)
    assert weighted_sum(losses, weights).item() == pytest.approx(AGGREGATIONS[aggregation])
    parts = [weighted_sum(losses[row : row + 1], weights[row : row + 1]) for row in range(2)]
    assert sum(parts).item() == pytest.approx(AGGREGATIONS[aggregation])  # type: ignore[union-attr]


def test_the_correction_for_another_engine_is_truncated_and_has_no_gradient() -> None:
    trained = torch.log(torch.tensor([[0.5, 0.1, 0.9]])).requires_grad_()
    sampled = torch.log(torch.tensor([[0.4, 0.2, 0.1]]))
    mask = torch.tensor([[True, True, True]])
    weights = importance_weights(trained, sampled, mask, cap=2.0)
    assert weights[0].tolist() == pytest.approx([1.25, 0.5, 2.0])
    assert not weights.requires_grad
    assert importance_weights(trained, sampled, ~mask).tolist() == [[1.0, 1.0, 1.0]]


def test_without_a_cap_the_correction_makes_means_unbiased() -> None:
    draw = torch.Generator().manual_seed(0)
    policy, engine = (torch.log_softmax(normal(draw, 1, 6), 1) for _ in range(2))
    mask, values = torch.ones(1, 6, dtype=torch.bool), normal(draw, 1, 6)
    weights = importance_weights(policy, engine, mask, cap=math.inf)
    assert float((engine.exp() * weights * values).sum()) == pytest.approx(
        float((policy.exp() * values).sum())
    )
