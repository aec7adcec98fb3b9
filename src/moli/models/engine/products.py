"""The matrix products of a model, with each row's own adapter added to them.

Layers that read the same states (a block's queries, keys and values; the two halves of its MLP)
are one product. To it is added what the adapters of the rows say, for all rows that are being
written at once: their states are laid out as [adapters, rows of each, in], so that two thin
products of batches serve all adapters, whichever rows they have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import linear

from moli.models.engine.adapters import Adapter


@dataclass(frozen=True, slots=True)
class Mixture:
    """Which adapters the tokens of a pass have.

    Attributes:
        lanes: how many adapters the written rows have; they are the first lanes.
        rows: the written tokens of each lane, [lanes * most]; a lane with fewer repeats one.
        wide: for each of `token` its place in `rows`.
        token: the written tokens that have an adapter, [n].
        runs: begin, end and lane of each stretch of a prompt that has one.
    """

    lanes: int = 0
    rows: torch.Tensor | None = None
    wide: torch.Tensor | None = None
    token: torch.Tensor | None = None
    runs: tuple[tuple[int, int, int], ...] = ()


def mixture(
    written: Sequence[int], runs: Sequence[tuple[int, int, int]], device: Any = "cpu"
) -> Mixture:
    """Of the lane of each written token (-1 for none) and of each stretch.

    >>> mixture([1, -1, 0, 1], []).rows.tolist()
    [2, 2, 0, 3]
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
    wide: list[int] = []
    tokens: list[int] = []
    for lane, own in members.items():
        for number in range(most):
            rows[lane * most + number] = own[min(number, len(own) - 1)]
        wide += range(lane * most, lane * most + len(own))
        tokens += own

    def index(values: list[int]) -> torch.Tensor:
        return torch.tensor(values, device=device)

    return Mixture(lanes, index(rows), index(wide), index(tokens), kept)


class Products:
    """Layers that read the same states.

    Attributes:
        now: the mixture of the pass that is under way.
    """

    def __init__(self, names: Sequence[str], layers: Sequence[torch.nn.Linear]) -> None:
        self.names = tuple(names)
        self.sizes = [each.out_features for each in layers]
        weights = [each.weight.detach() for each in layers]
        self.weight = torch.cat(weights) if len(weights) > 1 else weights[0]  # may be tied
        biases = [each.bias for each in layers]
        self.bias = None if biases[0] is None else torch.cat([each.detach() for each in biases])
        self.now = Mixture()
        self._down: torch.Tensor | None = None  # [lanes, in, r * layers]
        self._ups: list[torch.Tensor] = []  # of each layer [lanes, r, out]
        self._seen: torch.Tensor | None = None
        self._parts: tuple[torch.Tensor, ...] = ()

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """Outputs and inputs of each layer."""
        width = self.weight.shape[1]
        return {name: (size, width) for name, size in zip(self.names, self.sizes, strict=True)}

    def part(self, number: int, x: torch.Tensor) -> torch.Tensor:
        """A layer's output; the first that asks computes it for all."""
        if x is not self._seen:
            self._seen, self._parts = x, self._compute(x)
        part = self._parts[number]
        if number == len(self.sizes) - 1:
            self._seen, self._parts = None, ()
        return part

    def _compute(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        flat = x.view(-1, x.shape[-1])
        y = linear(flat, self.weight, self.bias)
        if self._down is not None:
            self._add_written(flat, y, self._down)
            for begin, end, lane in self.now.runs:
                self._add_run(flat[begin:end], y[begin:end], lane, self._down)
        return torch.split(y.view(*x.shape[:-1], -1), self.sizes, dim=-1)

    def _add_written(self, x: torch.Tensor, y: torch.Tensor, down: torch.Tensor) -> None:
        now = self.now
        if not now.lanes:
            return
        assert now.rows is not None and now.token is not None and now.wide is not None  # noqa: S101
        wide = x[now.rows].view(now.lanes, -1, x.shape[1])
        thin = torch.bmm(wide, down[: now.lanes])
        rank, first, added = thin.shape[-1] // len(self.sizes), 0, []
        for number, (size, up) in enumerate(zip(self.sizes, self._ups, strict=True)):
            own = thin[..., number * rank : (number + 1) * rank]
            added.append(torch.bmm(own, up[: now.lanes]).view(-1, size))
            first += size
        y.index_add_(0, now.token, torch.cat(added, 1)[now.wide])

    def _add_run(self, x: torch.Tensor, y: torch.Tensor, lane: int, down: torch.Tensor) -> None:
        thin = x @ down[lane]
        rank, first = thin.shape[-1] // len(self.sizes), 0
        for number, (size, up) in enumerate(zip(self.sizes, self._ups, strict=True)):
            y[:, first : first + size].addmm_(
                thin[:, number * rank : (number + 1) * rank], up[lane]
            )
            first += size

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
        """Room for so many lanes of that rank, with what there is already."""
        old = self._down
        if old is not None and self._ups[0].shape[1] >= rank:
            return
        before, ups = (self._ups[0].shape[1] if old is not None else 0), self._ups
        new = self.weight.new_zeros
        count, width = len(self.sizes), self.weight.shape[1]
        self._down = new(lanes, width, rank * count)
        self._ups = [new(lanes, rank, size) for size in self.sizes]
        for number in range(count if old is not None else 0):
            self._down[:, :, number * rank : number * rank + before] = old[  # type: ignore[index]
                :, :, number * before : (number + 1) * before
            ]
            self._ups[number][:, :before] = ups[number]


class Part(torch.nn.Module):
    """One layer's place in its products, where the layer was."""

    def __init__(self, products: Products, number: int, layer: torch.nn.Linear) -> None:
        super().__init__()
        self._products, self._number = products, number
        self.in_features, self.out_features = layer.in_features, layer.out_features

    @property
    def weight(self) -> torch.Tensor:  # models look at its type
        """Of this layer."""
        first = sum(self._products.sizes[: self._number])
        return self._products.weight[first : first + self.out_features]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._products.part(self._number, x)
