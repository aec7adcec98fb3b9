"""However products are laid out, they are the layers' own sums."""

from __future__ import annotations

import pytest
import torch

from moli.models.engine.products import Products, _ways


@pytest.mark.parametrize("bias", [False, True])
def test_each_way_gives_the_same(bias: bool) -> None:
    torch.manual_seed(0)
    layers = [torch.nn.Linear(48, size, bias=bias) for size in (64, 16, 40)]
    ways = _ways(layers[0].weight)
    assert ways[:2] == ["plain", "turned"]
    with torch.inference_mode():
        for way in ways:
            products = Products(["q", "k", "v"], layers)
            products.lay(way)
            for rows in (1, 3, 16, 33, 200):
                x = torch.randn(1, rows, 48)
                for number, layer in enumerate(layers):
                    exact = torch.nn.functional.linear(
                        x.double(), layer.weight.double(), layer.bias.double() if bias else None
                    )
                    made = products.part(number, x)
                    assert made.shape == exact.shape
                    assert (made - exact).abs().max() < 1e-5
            assert products.weight.dtype == torch.float32


def test_the_way_that_is_fastest_is_one_that_there_is() -> None:
    products = Products(["q"], [torch.nn.Linear(64, 64)])
    with torch.inference_mode():
        assert products.fastest() in _ways(torch.zeros(1))
