"""Log probabilities and entropies without all logits, against autograd in float64."""

from __future__ import annotations

import pytest
import torch

from moli.training.kernels import losses
from moli.training.kernels.token_scores import token_scores

ITEMS, WIDTH, VOCABULARY = 11, 6, 40


def drawn(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    states = torch.randn(ITEMS, WIDTH, generator=draw, dtype=torch.float64) * 2
    weight = torch.randn(VOCABULARY, WIDTH, generator=draw, dtype=torch.float64)
    ids = torch.randint(VOCABULARY, (ITEMS,), generator=draw)
    return states.to(dtype).requires_grad_(), weight.to(dtype), ids


def plain(
    states: torch.Tensor, weight: torch.Tensor, ids: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both as torch computes them from all logits."""
    distribution = torch.distributions.Categorical(logits=states @ weight.t() / temperature)
    return distribution.log_prob(ids), distribution.entropy()


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "_CHUNK", VOCABULARY * 4)  # the last of three has fewer items


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.9])
def test_values_and_gradients_are_those_of_autograd(temperature: float) -> None:
    states, weight, ids = drawn()
    weights = torch.linspace(-1, 2, 2 * ITEMS, dtype=torch.float64).view(2, ITEMS)
    for part in (weights, weights * torch.tensor([[1], [0]]), weights * torch.tensor([[0], [1]])):
        expected = plain(states, weight, ids, temperature)
        by_expected = torch.autograd.grad((torch.stack(expected) * part).sum(), states)[0]
        scores = token_scores(states, weight, ids, temperature)
        by_scores = torch.autograd.grad((torch.stack(scores) * part).sum(), states)[0]
        torch.testing.assert_close(scores, expected, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(by_scores, by_expected, rtol=1e-10, atol=1e-12)


def test_one_of_both_alone_has_its_own_gradient() -> None:
    states, weight, ids = drawn()
    for number in (0, 1):
        own = torch.autograd.grad(token_scores(states, weight, ids)[number].sum(), states)[0]
        expected = torch.autograd.grad(plain(states, weight, ids, 1.0)[number].sum(), states)[0]
        torch.testing.assert_close(own, expected)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.bfloat16, 0.2)])
def test_narrow_types_are_summed_in_float32(dtype: torch.dtype, tolerance: float) -> None:
    states, weight, ids = drawn(dtype)
    scores = token_scores(states, weight, ids, 0.8)
    expected = plain(states.double(), weight.double(), ids, 0.8)
    for own, other in zip(scores, expected, strict=True):
        assert own.dtype == torch.float32
        assert float((own - other).detach().abs().max()) < tolerance


def test_extreme_logits_and_no_items_stay_finite() -> None:
    states, weight, ids = drawn(torch.float32)
    scores = token_scores(states * 1e4, weight, ids)
    assert all(bool(torch.isfinite(each).all()) for each in scores)
    (gradient,) = torch.autograd.grad(scores[0].sum() + scores[1].sum(), states)
    assert bool(torch.isfinite(gradient).all())
    assert [len(each) for each in token_scores(states[:0], weight, ids[:0])] == [0, 0]


def test_a_trained_layer_is_refused() -> None:
    states, weight, ids = drawn()
    with pytest.raises(ValueError, match="frozen"):
        token_scores(states, weight.requires_grad_(), ids)
