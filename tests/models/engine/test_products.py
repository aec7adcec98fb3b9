"""However products are laid out, they are the layers' own sums."""

from __future__ import annotations

import pytest
import torch

from moli.models.engine.products import Products, _ways, fastest


@pytest.mark.parametrize("bias", [False, True])
def test_each_way_gives_the_same(bias: bool) -> None:
    torch.manual_seed(0)
    layers = [torch.nn.Linear(48, size, bias=bias) for size in (64, 16, 40)]
    for layer in layers:
        layer.weight.data = layer.weight.data.bfloat16().float()
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
    layers = [torch.nn.Linear(64, 64) for _ in range(3)]
    products = [Products(["q"], [layer]) for layer in layers]
    x = torch.randn(2, 64)
    with torch.inference_mode():
        assert fastest(products) in _ways(layers[0].weight)
        for each, layer in zip(products, layers, strict=True):  # trying has changed nothing
            assert torch.equal(each.part(0, x), layer(x))


def test_only_weights_that_lose_nothing_are_read_in_half_precision() -> None:
    layer = torch.nn.Linear(256, 128)
    exact = _ways(layer.weight)
    assert "half" not in exact  # drawn in float32: half of their digits would go
    rounded = layer.weight.bfloat16().float()
    if "packed" in exact:  # as models trained in bfloat16 come
        assert "half" in _ways(rounded)
    assert "half" not in _ways(rounded * 2**20)  # too large
    assert "half" not in _ways(rounded * 2**-14)  # too small
    assert "half" not in _ways(rounded.bfloat16())


def test_weights_that_change_are_laid_as_they_allow() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(256, 128)
    layer.weight.data = layer.weight.data.bfloat16().float()
    with torch.inference_mode():
        products = Products(["q"], [layer])
        products.lay("half")
        x, weight, bias = torch.randn(5, 256), torch.randn(128, 256), torch.randn(128)
        products.change([weight, bias])
        exact = torch.nn.functional.linear(x.double(), weight.double(), bias.double())
        assert (products.part(0, x) - exact).abs().max() < 1e-4
        half = exact - x.double() @ (weight.half().double() - weight.double()).t()
        assert (half - exact).abs().max() > 1e-3  # what half precision would have made of it
