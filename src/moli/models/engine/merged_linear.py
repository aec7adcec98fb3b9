"""The linear layers of a model, merged where they share an input, with LoRA adapters per sequence.

Layers that read the same hidden states (queries, keys and values of a block; the two halves of its
MLP) are computed as one product. The adapters' outputs are added to it, for all decode tokens at
once: their inputs are arranged as [adapter slots, tokens of each, in], so that two thin batched
products serve all adapters, whichever sequences they have. On a CPU they are computed in float32,
for which such small products take a fifth of the time that they take in bfloat16.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from moli.models.engine.prefill_chunk import PrefillChunk
from moli.models.engine.weight_layouts import PlainLayout, WeightLayout, supported_layout
from moli.models.weights.lora import LoraAdapter

# Libraries choose kernels by the sizes of a product, and these sum in different orders. Where a
# row's outputs may not depend on the others to the last bit, there are at least so many groups, and
# their rows are a multiple of this number. So are the ranks that adapters are padded to, and all A
# matrices of merged layers together have at least so many columns.
_MIN_GROUPS, _ROW_STEP, _RANK_STEP, _MIN_COLUMNS = 2, 4, 8, 16


@dataclass(frozen=True, slots=True)
class AdapterGroups:
    """Tokens of a pass that have adapters, arranged in groups of equal size.

    A group is of one adapter slot, and one with fewer tokens repeats its last one. Either each
    group has the next slot, or all have the same one.

    Attributes:
        slots: the adapter slots.
        shape: number of groups, and tokens of each.
        begin: the first of the tokens, if they are consecutive and in this order already.
        arranged: the tokens of all groups, [groups * tokens of each]; None if they are in order.
        tokens: the tokens without repetitions, [n]; None if they are in order.
        indices: index in `arranged` of each of `tokens`, [n]; None if they are in order.
    """

    slots: slice
    shape: tuple[int, int]
    begin: int = 0
    arranged: torch.Tensor | None = None
    tokens: torch.Tensor | None = None
    indices: torch.Tensor | None = None


def map_adapters(
    decode_slots: Sequence[int],
    prefills: Sequence[PrefillChunk],
    device: Any = "cpu",
    *,
    invariant: bool = False,
) -> list[AdapterGroups]:
    """Arrange the tokens of a pass by their adapters: decode tokens, and each chunk of a prompt.

    Args:
        decode_slots: the adapter slot of each decode token, -1 for none.
        prefills: the chunks of prompts in the pass.
        invariant: whether a token's outputs must not depend on the others, to the last bit.

    >>> map_adapters([1, -1, 0, 1], [])[0].arranged.tolist()
    [2, 2, 0, 3]
    >>> map_adapters([0, 0, 1, 1, -1], [])[0].arranged is None
    True
    """
    tokens_of: dict[int, list[int]] = {}
    for token, slot in enumerate(decode_slots):
        if slot >= 0:
            tokens_of.setdefault(slot, []).append(token)
    every = [tokens_of] if tokens_of else []
    every += [
        {chunk.adapter_slot: [*range(chunk.begin, chunk.end)]}
        for chunk in prefills
        if chunk.adapter_slot >= 0
    ]
    return [_arrange(each, device, invariant=invariant) for each in every]


def _arrange(tokens_of: dict[int, list[int]], device: Any, *, invariant: bool) -> AdapterGroups:
    """Arrange tokens in groups of equal size.

    Args:
        tokens_of: the tokens of each adapter slot, at least one.
    """
    first, last = min(tokens_of), max(tokens_of)
    groups = [tokens_of.get(slot, []) for slot in range(first, last + 1)]
    if invariant and len(groups) < _MIN_GROUPS:
        half = (len(groups[0]) + 1) // 2
        groups = [groups[0][:half], groups[0][half:]]
    size = max(map(len, groups))
    size += -size % (_ROW_STEP if invariant else 1)
    # A group without tokens computes the first one's, which is not used.
    arranged = [
        group[min(n, len(group) - 1)] if group else 0 for group in groups for n in range(size)
    ]
    tokens = [token for group in groups for token in group]
    slots, shape = slice(first, last + 1), (len(groups), size)
    if arranged == [*range(tokens[0], tokens[0] + len(tokens))]:
        return AdapterGroups(slots, shape, begin=tokens[0])
    indices = [number * size + n for number, group in enumerate(groups) for n in range(len(group))]
    return AdapterGroups(
        slots,
        shape,
        arranged=torch.tensor(arranged, device=device),
        tokens=torch.tensor(tokens, device=device),
        indices=torch.tensor(indices, device=device),
    )


class MergedLinear:
    """Linear layers that read the same input, computed as one product.

    Attributes:
        names: names of the layers in the model.
        sizes: number of outputs of each layer.
        in_features: number of inputs.
        layout: the merged weights and biases, in the layout by which products are computed.
        adapter_groups: the tokens of the current pass that have adapters.
    """

    def __init__(self, names: Sequence[str], layers: Sequence[torch.nn.Linear]) -> None:
        self.names = tuple(names)
        self.sizes = [layer.out_features for layer in layers]
        self.in_features = layers[0].in_features
        weights = [layer.weight.detach() for layer in layers]
        biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
        weight = torch.cat(weights) if len(weights) > 1 else weights[0]  # may be tied
        self.layout: WeightLayout = PlainLayout(weight, torch.cat(biases) if biases else None)
        self.adapter_groups: Sequence[AdapterGroups] = ()
        # The adapters' A matrices of all layers, [adapter slots, in, rank * layers or more], and
        # the B matrices of each layer, [adapter slots, rank, out].
        self._lora_a: torch.Tensor | None = None
        self._lora_b: list[torch.Tensor] = []
        self._input: torch.Tensor | None = None  # of the outputs that are computed, and not read
        self._outputs: tuple[torch.Tensor, ...] = ()

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """Numbers of outputs and inputs of each layer, by its name."""
        sizes = zip(self.names, self.sizes, strict=True)
        return {name: (size, self.in_features) for name, size in sizes}

    @property
    def parameter_shapes(self) -> dict[str, torch.Size]:
        """Shapes of all weights, and then of all biases, by their names in the model."""
        weights = {f"{name}.weight": torch.Size(shape) for name, shape in self.shapes.items()}
        if self.layout.bias is None:
            return weights
        biases = {f"{name}.bias": torch.Size(shape[:1]) for name, shape in self.shapes.items()}
        return weights | biases

    def output(self, number: int, x: torch.Tensor) -> torch.Tensor:
        """Output of one layer for the input x.

        The outputs of all layers are computed when the first of them is called.

        Args:
            number: index of the layer among the merged ones.
        """
        if x is not self._input:
            self._input, self._outputs = x, self._compute(x)
        output = self._outputs[number]
        if number == len(self.sizes) - 1:
            self._input, self._outputs = None, ()
        return output

    def _compute(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Outputs of all layers, adapters included."""
        flat = x.view(-1, x.shape[-1])
        y = self.layout.multiply(flat)
        if self._lora_a is not None:
            for groups in self.adapter_groups:
                self._add_adapters(flat.to(self._lora_a.dtype), y, groups)
        return torch.split(y.view(*x.shape[:-1], -1), self.sizes, dim=-1)

    def _add_adapters(self, x: torch.Tensor, y: torch.Tensor, groups: AdapterGroups) -> None:
        """Add the adapters' outputs [tokens, out] for some of the inputs [tokens, in], in place."""
        shape, width = groups.shape, y.shape[1]
        if groups.arranged is None or groups.tokens is None:
            tokens = slice(groups.begin, groups.begin + shape[0] * shape[1])
            self._add_lora(x[tokens].view(*shape, -1), y[tokens].view(*shape, width), groups.slots)
            return
        added = x.new_zeros(*shape, width)
        self._add_lora(x[groups.arranged].view(*shape, -1), added, groups.slots)
        y.index_add_(0, groups.tokens, added.view(-1, width)[groups.indices].to(y.dtype))

    def _add_lora(self, x: torch.Tensor, y: torch.Tensor, slots: slice) -> None:
        """Add the outputs of adapters to y, in place.

        Args:
            x: inputs, [groups, tokens, in].
            y: the layers' outputs, [groups, tokens, out].
            slots: the adapter slot of each group, or the one of all groups.
        """
        assert self._lora_a is not None  # noqa: S101 - the caller has checked
        reduced = torch.bmm(x, self._lora_a[slots].expand(len(x), -1, -1))
        rank, begin = self._lora_b[0].shape[1], 0
        for number, (size, lora_b) in enumerate(zip(self.sizes, self._lora_b, strict=True)):
            own = reduced[..., number * rank : (number + 1) * rank]
            # Not baddbmm_, which on a part of y makes a product for each adapter slot.
            y[..., begin : begin + size].add_(torch.bmm(own, lora_b[slots].expand(len(x), -1, -1)))
            begin += size

    def use_layout(self, preferred: type[WeightLayout]) -> None:
        """Convert plain weights to the preferred layout, or to another if that cannot hold them."""
        weight, bias = self.layout.weight, self.layout.bias
        self.layout = supported_layout(preferred, weight)(weight, bias)

    def update_weights(self, values: Sequence[torch.Tensor]) -> None:
        """Replace all weights and biases, in the order of `parameter_shapes`."""
        layout, count = type(self.layout), len(self.names)
        values = [value.to(self.layout.weight) for value in values]
        bias = None if self.layout.bias is None else torch.cat(values[count:])
        self.layout = PlainLayout(torch.cat(values[:count]), bias)
        self.use_layout(layout)

    def load_adapter(
        self, adapter_slot: int, adapter: LoraAdapter, *, adapter_slots: int, rank: int
    ) -> None:
        """Copy an adapter's matrices for these layers into a slot.

        Args:
            adapter_slots: number of slots for adapters.
            rank: the largest rank of all adapters so far.
        """
        if self._lora_a is None and not any(name in adapter.layers for name in self.names):
            return
        self._allocate_adapters(adapter_slots, rank)
        assert self._lora_a is not None  # noqa: S101 - just allocated
        rank = self._lora_b[0].shape[1]
        self._lora_a[adapter_slot] = 0
        for number, (name, lora_b) in enumerate(zip(self.names, self._lora_b, strict=True)):
            lora_b[adapter_slot] = 0
            if weights := adapter.layers.get(name):
                own, first = weights.lora_a.shape[0], number * rank
                self._lora_a[adapter_slot, :, first : first + own] = weights.lora_a.t()
                lora_b[adapter_slot, :own] = weights.lora_b.t()

    def _allocate_adapters(self, adapter_slots: int, rank: int) -> None:
        """Make room for this many adapters of this rank, keeping the present ones."""
        old_a, old_b = self._lora_a, self._lora_b
        old_rank = old_b[0].shape[1] if old_b else 0
        rank += -rank % _RANK_STEP
        if old_rank >= rank:
            return
        like, count = self.layout.weight, len(self.sizes)
        dtype = torch.float32 if like.device.type == "cpu" else like.dtype
        zeros = partial(like.new_zeros, dtype=dtype)
        self._lora_a = zeros(adapter_slots, self.in_features, max(_MIN_COLUMNS, rank * count))
        self._lora_b = [zeros(adapter_slots, rank, size) for size in self.sizes]
        if old_a is None:
            return
        for number in range(count):
            own = slice(number * old_rank, (number + 1) * old_rank)
            self._lora_a[:, :, number * rank : number * rank + old_rank] = old_a[:, :, own]
            self._lora_b[number][:, :old_rank] = old_b[number]


class MergedLinearPart(torch.nn.Module):
    """One layer of a `MergedLinear`, which takes the place of the original layer in the model."""

    def __init__(self, merged: MergedLinear, number: int, layer: torch.nn.Linear) -> None:
        super().__init__()
        self._merged, self._number = merged, number
        self.in_features, self.out_features = layer.in_features, layer.out_features

    @property
    def weight(self) -> torch.Tensor:
        """The merged weights, since some models read a layer's type from them; empty if packed."""
        return self._merged.layout.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The original layer's outputs, with the adapters' added."""
        return self._merged.output(self._number, x)
