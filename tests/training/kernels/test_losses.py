from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from moli.training.kernels import losses
from moli.training.kernels.losses import token_cross_entropy


@pytest.mark.parametrize("most", [1 << 27, 1], ids=["kept", "computed again"])
@pytest.mark.parametrize("frozen", [True, False])
def test_losses_and_gradients_are_torchs(
    frozen: bool, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "_CHUNK", 700)  # several chunks of 7 rows, the last one short
    monkeypatch.setattr(losses, "_KEPT", most)
    torch.manual_seed(0)
    states = torch.randn(37, 16, requires_grad=True)
    weight = torch.randn(100, 16, requires_grad=not frozen)
    expected, upstream = torch.randint(0, 100, (37,)), torch.rand(37)
    (token_cross_entropy(states, weight, expected) * upstream).sum().backward()
    exact = [each.detach().double().requires_grad_() for each in (states, weight)]
    by_torch = cross_entropy(exact[0] @ exact[1].t(), expected, reduction="none")
    (by_torch * upstream).sum().backward()
    ours = token_cross_entropy(states, weight, expected)
    torch.testing.assert_close(ours.double(), by_torch, rtol=0, atol=2e-5)
    torch.testing.assert_close(states.grad.double(), exact[0].grad, rtol=0, atol=2e-5)
    if frozen:
        assert weight.grad is None
    else:
        torch.testing.assert_close(weight.grad.double(), exact[1].grad, rtol=0, atol=2e-5)


def test_without_items_there_is_no_loss() -> None:
    empty = token_cross_entropy(
        torch.zeros(0, 4), torch.zeros(9, 4), torch.zeros(0, dtype=torch.long)
    )
    assert empty.shape == (0,)
