"""Layouts of a linear layer's weights, one for each way to multiply few tokens by them.

To generate a token, all weights are read for a few products, so reading them takes most of the
time. Which layout is fastest depends on the machine: plain weights multiplied as x W', the same
weights multiplied as (W x')', weights packed for oneDNN, or weights stored in half precision.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import linear

from moli.models.hardware.probe import median_seconds

# Tokens up to which a product is bound by reading its weights, and libraries split it badly.
FEW_TOKENS = 32

# How much half precision may change weights, as a share of their norm: no more than rounding their
# products does. Weights trained in bfloat16 change by a tenth of this.
_MAX_ROUNDING = 2**-22

_PROCESSOR_CACHE = 64 << 20  # bytes of weights that a processor might hold in its cache

# Rows of a product and parts of them, which libraries multiply by different kernels.
_MANY_ROWS = 528
_PARTS = ((0, 1), (7, 9), (1, 4), (3, 19), (100, 164), (200, 456))


class WeightLayout(ABC):
    """The weights of a linear layer, and the product with them.

    Attributes:
        weight: the weights [out, in]; an empty tensor of their type where the layout packs them.
        bias: None if the layer has none.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self.weight, self.bias = weight, bias

    @staticmethod
    def supports(weight: torch.Tensor) -> bool:  # noqa: ARG004 - by default all weights
        """Whether the layout is available for these weights, on their device."""
        return True

    @abstractmethod
    def multiply(self, x: torch.Tensor) -> torch.Tensor:
        """The layer's outputs [tokens, out] for inputs [tokens, in]."""


class PlainLayout(WeightLayout):
    """The weights as the model has them."""

    def multiply(self, x: torch.Tensor) -> torch.Tensor:
        return linear(x, self.weight, self.bias)


class TransposedProductLayout(WeightLayout):
    """The weights as the model has them; a product with few tokens is computed as (W x')'."""

    def multiply(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > FEW_TOKENS:
            return linear(x, self.weight, self.bias)
        y = torch.mm(self.weight, x.t()).t().contiguous()
        return y if self.bias is None else y.add_(self.bias)


class OneDnnLayout(WeightLayout):
    """Weights packed as oneDNN reads them, so that it need not pack them for every product."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__(weight.new_empty(0), bias)
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight, FEW_TOKENS // 2)

    @staticmethod
    def supports(weight: torch.Tensor) -> bool:
        """Whether the weights are on a CPU for which torch has oneDNN."""
        return (
            weight.device.type == "cpu"
            and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
            and torch.backends.mkldnn.is_available()
        )

    def multiply(self, x: torch.Tensor) -> torch.Tensor:
        # A single row has a kernel of its own, whose last bits differ from those of the others.
        rows = x.repeat(2, 1) if len(x) == 1 and x.dtype == torch.float32 else x
        y: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            rows, self._packed, self.bias, "none", [], ""
        )
        return y[: len(x)]


class HalfPrecisionLayout(WeightLayout):
    """Weights stored in half precision, so that half as many bytes are read.

    They are converted to float32 for the product.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__(weight.new_empty(0), bias)
        self._packed: Any = torch.ops.quantized.linear_prepack_fp16(weight, bias)

    @staticmethod
    def supports(weight: torch.Tensor) -> bool:
        """Whether half precision hardly changes the weights, and this CPU has its kernels."""
        return (
            weight.device.type == "cpu"
            and hasattr(torch.ops.quantized, "linear_prepack_fp16")
            and torch.backends.quantized.engine in ("x86", "fbgemm")
            and _is_nearly_exact_in_half(weight)
        )

    def multiply(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = torch.ops.quantized.linear_dynamic_fp16(x, self._packed)  # adds the bias
        return y


def _is_nearly_exact_in_half(weight: torch.Tensor) -> bool:
    """Whether float32 weights change by at most `_MAX_ROUNDING` of their norm in half precision."""
    if weight.dtype != torch.float32:
        return False
    lost = weight.half().float().sub_(weight)
    return bool(lost.norm() <= _MAX_ROUNDING * weight.norm())


# From the layout that supports all weights to the one with the most conditions.
_LAYOUTS: tuple[type[WeightLayout], ...] = (
    PlainLayout,
    TransposedProductLayout,
    OneDnnLayout,
    HalfPrecisionLayout,
)


def available_layouts(weight: torch.Tensor) -> list[type[WeightLayout]]:
    """The layouts that support these weights."""
    return [layout for layout in _LAYOUTS if layout.supports(weight)]


def supported_layout(preferred: type[WeightLayout], weight: torch.Tensor) -> type[WeightLayout]:
    """The preferred layout if it supports the weights; else the last of `_LAYOUTS` that does."""
    if preferred.supports(weight):
        return preferred
    others = (layout for layout in reversed(_LAYOUTS) if layout is not preferred)
    return next(layout for layout in others if layout.supports(weight))


def fastest_layout(layers: Sequence[WeightLayout]) -> type[WeightLayout]:
    """The layout in which products with few tokens are fastest, by timing all that are available.

    On a CPU, in float32, only layouts count whose products are the same for a token whatever the
    others are, if there are any, so that an answer does not depend on its neighbours.

    Args:
        layers: layers in the plain layout. The largest are timed, so many that their weights do not
            fit into the processor's cache, as in a whole model.
    """
    examples = {layer.weight.shape: layer for layer in layers}
    shape = max(examples, key=torch.Size.numel)
    first = examples[shape].weight
    layouts = available_layouts(first)
    if first.dtype == torch.float32 and first.device.type == "cpu":
        invariant = [
            layout
            for layout in layouts
            if all(_is_row_invariant(layout, each) for each in examples.values())
        ]
        layouts = invariant or layouts
    count = 1 + _PROCESSOR_CACHE // first.nbytes
    tried = [layer for layer in layers if layer.weight.shape == shape][:count]
    seconds = {layout: _seconds(layout, tried) for layout in layouts}
    return min(seconds, key=lambda layout: seconds[layout])


def _is_row_invariant(layout: type[WeightLayout], layer: WeightLayout) -> bool:
    """Whether a layout's products have the same bits for a row, whichever others are beside it."""
    converted = supported_layout(layout, layer.weight)(layer.weight, layer.bias)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(_MANY_ROWS, layer.weight.shape[1], generator=generator)
    expected = converted.multiply(x)
    return all(
        torch.equal(converted.multiply(x[begin:end]), expected[begin:end]) for begin, end in _PARTS
    )


def _seconds(layout: type[WeightLayout], layers: Sequence[WeightLayout]) -> float:
    """Median seconds of a product of few tokens with each of these layers, in this layout."""
    tried = [supported_layout(layout, each.weight)(each.weight, each.bias) for each in layers]
    x = layers[0].weight.new_ones(FEW_TOKENS // 2, layers[0].weight.shape[1])
    return median_seconds(lambda: [each.multiply(x) for each in tried])
