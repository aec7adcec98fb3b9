"""Whatever the layout of their weights, merged layers give the layers' own sums."""

from __future__ import annotations

import pytest
import torch

from moli.models.engine.merged_linear import MergedLinear
from moli.models.engine.weight_layouts import (
    HalfPrecisionLayout,
    OneDnnLayout,
    PlainLayout,
    TransposedProductLayout,
    available_layouts,
    fastest_layout,
)


@pytest.mark.parametrize("bias", [False, True])
def test_each_layout_gives_the_same(bias: bool) -> None:
    torch.manual_seed(0)
    layers = [torch.nn.Linear(48, size, bias=bias) for size in (64, 16, 40)]
    for layer in layers:
        layer.weight.data = layer.weight.data.bfloat16().float()
    layouts = available_layouts(layers[0].weight)
    assert layouts[:2] == [PlainLayout, TransposedProductLayout]
    with torch.inference_mode():
        for layout in layouts:
            merged = MergedLinear(["q", "k", "v"], layers)
            merged.use_layout(layout)
            for rows in (1, 3, 16, 33, 200):
                x = torch.randn(1, rows, 48)
                for number, layer in enumerate(layers):
                    exact = torch.nn.functional.linear(
                        x.double(), layer.weight.double(), layer.bias.double() if bias else None
                    )
                    made = merged.output(number, x)
                    assert made.shape == exact.shape
                    assert (made - exact).abs().max() < 1e-5
            assert merged.layout.weight.dtype == torch.float32


def test_the_layout_that_is_fastest_is_one_that_there_is() -> None:
    layers = [torch.nn.Linear(64, 64) for _ in range(3)]
    merged = [MergedLinear(["q"], [layer]) for layer in layers]
    x = torch.randn(2, 64)
    with torch.inference_mode():
        fastest = fastest_layout([each.layout for each in merged])
        assert fastest in available_layouts(layers[0].weight)
        for single, layer in zip(merged, layers, strict=True):  # trying has changed nothing
            assert torch.equal(single.output(0, x), layer(x))


def test_only_weights_that_lose_nothing_are_read_in_half_precision() -> None:
    layer = torch.nn.Linear(256, 128)
    exact = available_layouts(layer.weight)
    assert HalfPrecisionLayout not in exact  # drawn in float32: half of their digits would go
    rounded = layer.weight.bfloat16().float()
    if OneDnnLayout in exact:  # as models trained in bfloat16 come
        assert HalfPrecisionLayout in available_layouts(rounded)
    assert HalfPrecisionLayout not in available_layouts(rounded * 2**20)  # too large
    assert HalfPrecisionLayout not in available_layouts(rounded * 2**-14)  # too small
    assert HalfPrecisionLayout not in available_layouts(rounded.bfloat16())


def test_weights_that_change_are_laid_out_as_they_allow() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(256, 128)
    layer.weight.data = layer.weight.data.bfloat16().float()
    with torch.inference_mode():
        merged = MergedLinear(["q"], [layer])
        merged.use_layout(HalfPrecisionLayout)
        x, weight, bias = torch.randn(5, 256), torch.randn(128, 256), torch.randn(128)
        merged.update_weights([weight, bias])
        exact = torch.nn.functional.linear(x.double(), weight.double(), bias.double())
        assert (merged.output(0, x) - exact).abs().max() < 1e-4
        half = exact - x.double() @ (weight.half().double() - weight.double()).t()
        assert (half - exact).abs().max() > 1e-3  # what half precision would have made of it
