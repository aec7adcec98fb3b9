from __future__ import annotations

import torch

from moli.training.kernels.dropout import ByteDropout, drop, replace_dropout


def test_each_place_is_dropped_as_often_as_every_other() -> None:
    torch.manual_seed(0)
    kept = drop(torch.ones(200_000, 8), 0.1)[1]
    shares = 1 - kept.mean(0)  # one for each byte of a draw
    # 26 of 256, within 5 standard deviations of 200,000 draws.
    assert torch.all((shares - 26 / 256).abs() < 5 * (0.1016 * 0.8984 / 200_000) ** 0.5)


def test_the_expectation_is_that_of_the_values() -> None:
    torch.manual_seed(0)
    for probability in (0.1, 0.25, 0.5):
        mean = drop(torch.full((1_000_000,), 3.0), probability)[0].mean()
        assert abs(float(mean) - 3.0) < 0.02


def test_the_gradient_is_the_scale_where_kept_and_nothing_elsewhere() -> None:
    values = torch.randn(1000, dtype=torch.float64, requires_grad=True)
    dropped, kept, scale = drop(values, 0.25)
    dropped.sum().backward()
    assert scale == 256 / 192
    assert torch.equal(values.grad, kept * scale)


def test_the_same_seed_draws_the_same() -> None:
    def draw() -> torch.Tensor:
        torch.manual_seed(5)
        return drop(torch.ones(99), 0.3)[1]

    assert torch.equal(draw(), draw())


def test_every_dropout_of_a_model_is_replaced_and_rests_in_evaluation() -> None:
    model = torch.nn.Sequential(
        torch.nn.Dropout(0.5), torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.2))
    )
    assert replace_dropout(model) == 2
    assert [each.p for each in model.modules() if isinstance(each, ByteDropout)] == [0.5, 0.2]
    assert not any(type(each) is torch.nn.Dropout for each in model.modules())
    values = torch.ones(64, 4)
    assert torch.equal(ByteDropout(0.5).eval()(values), values)
    assert not torch.equal(ByteDropout(0.5)(values), values)
