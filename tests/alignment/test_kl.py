"""Estimators of the divergence: values by hand, and means over whole distributions."""

from __future__ import annotations

import math

import pytest
import torch
from alignment.cases import normal, random_masks, spoiled

from moli.alignment.kl import KLController, best_of_n_kl, kl_estimate, kl_loss, sequence_kl


def test_the_worked_example_of_the_estimators() -> None:
    logprobs = torch.full((3,), -1.0, dtype=torch.float64)
    reference = torch.tensor([0.0, -15.0, -30.0], dtype=torch.float64)
    estimates = {
        "k1": [-1, 14, 29],
        "k2": [0.5, 98, 420.5],
        "k3": [math.e - 2, 13 + math.exp(-14), 28 + math.exp(-29)],
    }
    for name, expected in estimates.items():
        assert kl_estimate(logprobs, reference, name).tolist() == pytest.approx(expected)  # type: ignore[arg-type]
    assert math.e - 2 == pytest.approx(0.7183, abs=1e-4)


def distributions(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of a policy, to be differentiated, and log probabilities of a reference."""
    draw = torch.Generator().manual_seed(seed)
    return normal(draw, 6).requires_grad_(), torch.log_softmax(normal(draw, 6), 0)


@pytest.mark.parametrize("seed", range(5))
def test_k1_and_k3_have_the_divergence_as_their_mean_and_k2_is_close(seed: int) -> None:
    logits, reference = distributions(seed)
    logprobs = torch.log_softmax(logits.detach(), 0)
    probabilities = logprobs.exp()
    divergence = float((probabilities * (logprobs - reference)).sum())
    for name in ("k1", "k3"):
        mean = (probabilities * kl_estimate(logprobs, reference, name)).sum()  # type: ignore[arg-type]
        assert float(mean) == pytest.approx(divergence)
    assert kl_estimate(logprobs, reference, "k3").min() >= 0
    close = torch.log_softmax(logits.detach() * 0.02 + 0.98 * reference, 0)
    k2 = float((close.exp() * kl_estimate(close, reference, "k2")).sum())
    assert k2 == pytest.approx(float((close.exp() * (close - reference)).sum()), rel=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_only_the_corrected_loss_has_the_gradient_of_the_divergence(seed: int) -> None:
    """The mean over the distribution that was sampled from is taken by hand."""
    logits, reference = distributions(seed)
    logprobs = torch.log_softmax(logits, 0)
    old = torch.log_softmax(normal(torch.Generator().manual_seed(seed + 50), 6), 0)

    def gradient(loss: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(loss, logits, retain_graph=True)[0]

    reverse = gradient((logprobs.exp() * (logprobs - reference)).sum())
    forward = gradient((reference.exp() * (reference - logprobs)).sum())
    on_policy, probabilities = logprobs.detach(), logprobs.detach().exp()
    assert torch.allclose(
        gradient((probabilities * kl_loss(logprobs, reference, on_policy)).sum()), reverse
    )
    assert torch.allclose(gradient((old.exp() * kl_loss(logprobs, reference, old)).sum()), reverse)
    k1 = gradient((probabilities * kl_estimate(logprobs, reference, "k1")).sum())
    assert torch.allclose(k1, torch.zeros(6, dtype=torch.float64), atol=1e-12)
    k3 = gradient((probabilities * kl_estimate(logprobs, reference, "k3")).sum())
    assert torch.allclose(k3, forward) and not torch.allclose(k3, reverse, rtol=0.05)
    k2 = gradient((probabilities * kl_estimate(logprobs, reference, "k2")).sum())
    assert torch.allclose(k2, reverse)


def test_the_divergence_of_answers_is_summed_over_their_own_tokens() -> None:
    for draw, mask in random_masks():
        policy, reference = normal(draw, *mask.shape), normal(draw, *mask.shape)
        expected = [
            sum(float(policy[r, t] - reference[r, t]) for t in range(mask.shape[1]) if mask[r, t])
            for r in range(len(mask))
        ]
        assert sequence_kl(policy, reference, mask).tolist() == pytest.approx(expected)
        assert torch.equal(
            sequence_kl(spoiled(policy, mask, math.nan), reference, mask),
            sequence_kl(policy, reference, mask),
        )


def test_the_bound_of_the_best_of_n() -> None:
    expected = {1: 0.0, 4: 0.6363, 16: 1.8351, 64: 3.1745}
    assert {n: round(best_of_n_kl(n), 4) for n in expected} == expected


def test_the_worked_example_of_the_controller() -> None:
    controller = KLController(0.2, target=6, horizon=10_000)
    controller.update(9, 512)
    assert controller.beta == pytest.approx(0.202048)
    controller.update(6 * 1.1, 1000)
    assert controller.beta == pytest.approx(0.202048 * (1 + 0.1 * 0.1))
    controller.update(0, 500)
    assert controller.beta == pytest.approx(0.202048 * 1.01 * (1 - 0.2 * 0.05))


def test_a_fixed_coefficient_stays() -> None:
    controller = KLController(0.05)
    controller.update(1e9, 512)
    assert controller.beta == 0.05
