"""The matrix products of a model, with each row's own adapter added to them.

Layers that read the same states (a block's queries, keys and values; the two halves of its MLP)
are one product. What the rows' adapters contribute is added to it, for all rows being written at
once: their states are laid out as [adapters, rows of each, in], so that two thin batched products
serve all adapters, whichever rows they have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.nn.functional import linear

from moli.models.hardware.probe import median_seconds
from moli.models.weights.lora import Adapter

# How few rows are multiplied: as they are; as (W x')', which is the same sum; with weights laid out
# as oneDNN reads them, so that it need not do that each time; or with weights that are read in half
# precision and multiplied in full.
Way = Literal["plain", "turned", "packed", "half"]

# Rows up to which a product is bound by reading its weights, and libraries split it badly.
FEW = 32

# How much half precision may change weights, as a share of their norm: no more than rounding their
# products does. Weights trained in bfloat16 change by a tenth of this.
_ROUNDING = 2**-22

_CACHED = 64 << 20  # bytes of weights that a processor might hold in its cache


@dataclass(frozen=True, slots=True)
class Mixture:
    """Which adapters the tokens of a pass have.

    Attributes:
        lanes: how many adapters the written rows have; they are the first lanes.
        most: rows of the lane that has the most.
        rows: the written tokens of each lane, [lanes * most], where a lane with fewer repeats one;
            None if the first tokens are in this order already.
        token: the written tokens that have an adapter, [n].
        wide: for each of them its place in `rows`, [n].
        runs: begin, end and lane of each stretch of a prompt that has one.
    """

    lanes: int = 0
    most: int = 0
    rows: torch.Tensor | None = None
    token: torch.Tensor | None = None
    wide: torch.Tensor | None = None
    runs: tuple[tuple[int, int, int], ...] = ()


def mixture(
    written: Sequence[int], runs: Sequence[tuple[int, int, int]], device: Any = "cpu"
) -> Mixture:
    """The mixture for the lanes of the written tokens (-1 for none) and of the stretches.

    >>> mixture([1, -1, 0, 1], []).rows.tolist()
    [2, 2, 0, 3]
    >>> mixture([0, 0, 1, 1, -1], []).rows is None
    True
    """
    kept = tuple(each for each in runs if each[2] >= 0)
    members: dict[int, list[int]] = {}
    for token, lane in enumerate(written):
        if lane >= 0:
            members.setdefault(lane, []).append(token)
    if not members:
        return Mixture(runs=kept)
    lanes, most = max(members) + 1, max(map(len, members.values()))
    rows = [0] * (lanes * most)
    for lane, own in members.items():
        for number in range(most):
            rows[lane * most + number] = own[min(number, len(own) - 1)]
    wide = [lane * most + n for lane, own in members.items() for n in range(len(own))]
    tokens = [token for own in members.values() for token in own]
    if rows == [*range(len(rows))] and len(tokens) == len(rows):
        return Mixture(lanes, most, runs=kept)

    def index(values: list[int]) -> torch.Tensor:
        return torch.tensor(values, device=device)

    return Mixture(lanes, most, index(rows), index(tokens), index(wide), kept)


def _ways(weight: torch.Tensor) -> list[Way]:
    """The ways that are available for a weight, on its device."""
    ways: list[Way] = ["plain", "turned"]
    if weight.device.type != "cpu":
        return ways
    packs = hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    if packs and torch.backends.mkldnn.is_available():
        ways.append("packed")
    halves = hasattr(torch.ops.quantized, "linear_prepack_fp16")
    if halves and torch.backends.quantized.engine in ("x86", "fbgemm") and _fits_half(weight):
        ways.append("half")
    return ways


def _fits_half(weight: torch.Tensor) -> bool:
    """Whether float32 weights keep their values in half precision, up to `_ROUNDING`."""
    if weight.dtype != torch.float32:
        return False
    lost = weight.half().float().sub_(weight)
    return bool(lost.norm() <= _ROUNDING * weight.norm())


def _packed_linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> Any:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


class Products:
    """Layers that read the same states.

    Attributes:
        now: the mixture of the pass that is under way.
    """

    def __init__(self, names: Sequence[str], layers: Sequence[torch.nn.Linear]) -> None:
        self.names = tuple(names)
        self.sizes = [each.out_features for each in layers]
        weights = [each.weight.detach() for each in layers]
        self.width = layers[0].in_features
        self._weight = torch.cat(weights) if len(weights) > 1 else weights[0]  # may be tied
        self._empty = self._weight.new_empty(0)
        biases = [each.bias for each in layers]
        self.bias = None if biases[0] is None else torch.cat([each.detach() for each in biases])
        self.now = Mixture()
        self._way: Way = "plain"
        self._down: torch.Tensor | None = None  # [lanes, in, r * layers]
        self._ups: list[torch.Tensor] = []  # of each layer [lanes, r, out]
        self._seen: torch.Tensor | None = None
        self._parts: tuple[torch.Tensor, ...] = ()

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """Outputs and inputs of each layer."""
        return {name: (size, self.width) for name, size in zip(self.names, self.sizes, strict=True)}

    @property
    def parameters(self) -> dict[str, torch.Size]:
        """Shapes of the weights, and then of the biases, of all layers."""
        weights = {f"{name}.weight": torch.Size(size) for name, size in self.shapes.items()}
        if self.bias is None:
            return weights
        return weights | {f"{n}.bias": torch.Size(size[:1]) for n, size in self.shapes.items()}

    @property
    def weight(self) -> torch.Tensor:
        """The weights; an empty tensor of their type where they were laid out differently."""
        return self._empty if self._way in ("packed", "half") else self._weight

    def part(self, number: int, x: torch.Tensor) -> torch.Tensor:
        """A layer's output; the first to ask computes all of them."""
        if x is not self._seen:
            self._seen, self._parts = x, self._compute(x)
        part = self._parts[number]
        if number == len(self.sizes) - 1:
            self._seen, self._parts = None, ()
        return part

    def _compute(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        flat = x.view(-1, x.shape[-1])
        y = self._product(flat)
        if self._down is not None:
            self._add_written(flat, y)
            for begin, end, lane in self.now.runs:
                self._add(flat[None, begin:end], y[None, begin:end], lane)
        return torch.split(y.view(*x.shape[:-1], -1), self.sizes, dim=-1)

    def _product(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor
        if self._way == "packed":
            y = _packed_linear(x, self._weight, self.bias)
            return y
        if self._way == "half":
            y = torch.ops.quantized.linear_dynamic_fp16(x, self._weight)  # which has the bias
            return y
        if len(x) > FEW or self._way == "plain":
            return linear(x, self._weight, self.bias)
        y = torch.mm(self._weight, x.t()).t().contiguous()
        return y if self.bias is None else y.add_(self.bias)

    def lay(self, way: Way) -> None:
        """Multiply in this way from now on, or in the next best if these weights do not allow it.

        Weights that have been laid out stay so.
        """
        if way == "half" and "half" not in (ways := _ways(self._weight)):
            way = ways[-1]
        if way == "packed":
            self._weight = torch.ops.mkldnn._reorder_linear_weight(self._weight, FEW // 2)
        if way == "half":
            self._weight = torch.ops.quantized.linear_prepack_fp16(self._weight, self.bias)
        self._way = way

    def change(self, values: Sequence[torch.Tensor]) -> None:
        """Take other parameters, in their order."""
        way, self._way = self._way, "plain"
        own, count = [each.to(self._empty) for each in values], len(self.names)
        self._weight = torch.cat(own[:count])
        if self.bias is not None:
            self.bias = torch.cat(own[count:])
        self.lay(way)

    def _add_written(self, x: torch.Tensor, y: torch.Tensor) -> None:
        now, width = self.now, y.shape[1]
        if not now.lanes:
            return
        if now.rows is None or now.token is None:
            n = now.lanes * now.most
            self._add(x[:n].view(now.lanes, now.most, -1), y[:n].view(now.lanes, -1, width))
            return
        wide = x[now.rows].view(now.lanes, now.most, -1)
        added = y.new_zeros(now.lanes, now.most, width)
        self._add(wide, added)
        y.index_add_(0, now.token, added.view(-1, width)[now.wide])

    def _add(self, x: torch.Tensor, y: torch.Tensor, first: int = 0) -> None:
        """Add to y [lanes, rows, out] what lanes from `first` on make of x [lanes, rows, in]."""
        assert self._down is not None  # noqa: S101 - the caller has checked
        lanes = slice(first, first + len(x))
        thin = torch.bmm(x, self._down[lanes])
        rank, begin = thin.shape[-1] // len(self.sizes), 0
        for number, (size, up) in enumerate(zip(self.sizes, self._ups, strict=True)):
            own = thin[..., number * rank : (number + 1) * rank]
            # Not baddbmm_, which on a part of y makes a product for each lane.
            y[..., begin : begin + size].add_(torch.bmm(own, up[lanes]))
            begin += size

    def write(self, lane: int, lanes: int, rank: int, adapter: Adapter) -> None:
        """Put an adapter's matrices for these layers into a lane."""
        if self._down is None and not any(name in adapter.layers for name in self.names):
            return
        self._make(lanes, rank)
        assert self._down is not None  # noqa: S101 - just made
        rank = self._ups[0].shape[1]
        self._down[lane] = 0
        for number, (name, up) in enumerate(zip(self.names, self._ups, strict=True)):
            up[lane] = 0
            if thin := adapter.layers.get(name):
                own = thin.down.shape[0]
                first = number * rank
                self._down[lane, :, first : first + own] = thin.down.t()
                up[lane, :own] = thin.up.t()

    def _make(self, lanes: int, rank: int) -> None:
        """Make room for this many lanes of this rank, keeping what is there already."""
        old = self._down
        if old is not None and self._ups[0].shape[1] >= rank:
            return
        before, ups = (self._ups[0].shape[1] if old is not None else 0), self._ups
        new, count = self._empty.new_zeros, len(self.sizes)
        self._down = new(lanes, self.width, rank * count)
        self._ups = [new(lanes, rank, size) for size in self.sizes]
        for number in range(count if old is not None else 0):
            self._down[:, :, number * rank : number * rank + before] = old[  # type: ignore[index]
                :, :, number * before : (number + 1) * before
            ]
            self._ups[number][:, :before] = ups[number]


def fastest(products: Sequence[Products]) -> Way:
    """The way in which products with few rows are fastest here, found by trying.

    Args:
        products: of one shape, not laid out yet; enough of the first are tried that no cache can
            keep their weights from one round to the next.
    """
    first = products[0]._weight
    tried = products[: 1 + _CACHED // first.nbytes]
    lying = [each._weight for each in tried]
    x = first.new_ones(FEW // 2, products[0].width)
    seconds = {}
    for way in _ways(first):
        for each in tried:
            each.lay(way)
        seconds[way] = median_seconds(lambda: [each._product(x) for each in tried])
        for each, weight in zip(tried, lying, strict=True):
            each._weight, each._way = weight, "plain"
    return min(seconds, key=lambda way: seconds[way])


class Part(torch.nn.Module):
    """One layer's place in its products, where the layer was."""

    def __init__(self, products: Products, number: int, layer: torch.nn.Linear) -> None:
        super().__init__()
        self._products, self._number = products, number
        self.in_features, self.out_features = layer.in_features, layer.out_features

    @property
    def weight(self) -> torch.Tensor:  # models look at its type
        """That of its products."""
        return self._products.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._products.part(self._number, x)
