"""The linear layers of a model, merged where they share an input, with LoRA adapters per sequence.

Layers that read the same hidden states (queries, keys and values of a block; the two halves of its
MLP) are computed as one product. The adapters' outputs are added to it, for all decode tokens at
once: their inputs are arranged as [adapter slots, tokens of each, in], so that two thin batched
products serve all adapters, whichever sequences they have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from moli.models.engine.prefill_chunk import PrefillChunk
from moli.models.engine.weight_layouts import PlainLayout, WeightLayout, supported_layout
from moli.models.weights.lora import LoraAdapter


@dataclass(frozen=True, slots=True)
class AdapterMapping:
    """The adapters of a pass's tokens.

    The decode tokens that have an adapter are arranged in groups of equal size, one for each
    adapter slot; a slot with fewer tokens repeats its last one.

    Attributes:
        groups: number of groups; they are the first adapter slots.
        group_size: tokens of a group.
        arranged: the tokens of all groups, [groups * group_size]; None if the first tokens of the
            pass are in this order already.
        tokens: the decode tokens that have an adapter, [n]; None if `arranged` is None.
        indices: index in `arranged` of each of `tokens`, [n]; None if `arranged` is None.
        prefills: chunks of prompts that have an adapter.
    """

    groups: int = 0
    group_size: int = 0
    arranged: torch.Tensor | None = None
    tokens: torch.Tensor | None = None
    indices: torch.Tensor | None = None
    prefills: tuple[PrefillChunk, ...] = ()


def map_adapters(
    decode_slots: Sequence[int], prefills: Sequence[PrefillChunk], device: Any = "cpu"
) -> AdapterMapping:
    """Arrange the decode tokens of a pass by their adapters.

    Args:
        decode_slots: the adapter slot of each decode token, -1 for none.
        prefills: the chunks of prompts in the pass.

    >>> map_adapters([1, -1, 0, 1], []).arranged.tolist()
    [2, 2, 0, 3]
    >>> map_adapters([0, 0, 1, 1, -1], []).arranged is None
    True
    """
    adapted = tuple(chunk for chunk in prefills if chunk.adapter_slot >= 0)
    tokens_of: dict[int, list[int]] = {}
    for token, slot in enumerate(decode_slots):
        if slot >= 0:
            tokens_of.setdefault(slot, []).append(token)
    if not tokens_of:
        return AdapterMapping(prefills=adapted)
    groups, size = max(tokens_of) + 1, max(map(len, tokens_of.values()))
    arranged = [0] * (groups * size)
    for slot, group in tokens_of.items():
        for number in range(size):
            arranged[slot * size + number] = group[min(number, len(group) - 1)]
    indices = [slot * size + n for slot, group in tokens_of.items() for n in range(len(group))]
    tokens = [token for group in tokens_of.values() for token in group]
    if arranged == [*range(len(arranged))] and len(tokens) == len(arranged):
        return AdapterMapping(groups, size, prefills=adapted)

    return AdapterMapping(
        groups,
        size,
        arranged=torch.tensor(arranged, device=device),
        tokens=torch.tensor(tokens, device=device),
        indices=torch.tensor(indices, device=device),
        prefills=adapted,
    )


class MergedLinear:
    """Linear layers that read the same input, computed as one product.

    Attributes:
        names: names of the layers in the model.
        sizes: number of outputs of each layer.
        in_features: number of inputs.
        layout: the merged weights and biases, in the layout by which products are computed.
        mapping: the adapters of the current pass.
    """

    def __init__(self, names: Sequence[str], layers: Sequence[torch.nn.Linear]) -> None:
        self.names = tuple(names)
        self.sizes = [layer.out_features for layer in layers]
        self.in_features = layers[0].in_features
        weights = [layer.weight.detach() for layer in layers]
        biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
        weight = torch.cat(weights) if len(weights) > 1 else weights[0]  # may be tied
        self.layout: WeightLayout = PlainLayout(weight, torch.cat(biases) if biases else None)
        self.mapping = AdapterMapping()
        # The adapters' A matrices of all layers, [adapter slots, in, rank * layers], and the B
        # matrices of each layer, [adapter slots, rank, out].
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
            self._add_to_decodes(flat, y)
            for chunk in self.mapping.prefills:
                part = slice(chunk.begin, chunk.end)
                self._add_lora(flat[None, part], y[None, part], chunk.adapter_slot)
        return torch.split(y.view(*x.shape[:-1], -1), self.sizes, dim=-1)

    def _add_to_decodes(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """Add the adapters' outputs to those of the decode tokens, in place."""
        mapping, width = self.mapping, y.shape[1]
        if not mapping.groups:
            return
        shape = mapping.groups, mapping.group_size
        if mapping.arranged is None or mapping.tokens is None:
            count = mapping.groups * mapping.group_size
            self._add_lora(x[:count].view(*shape, -1), y[:count].view(*shape, width))
            return
        added = y.new_zeros(*shape, width)
        self._add_lora(x[mapping.arranged].view(*shape, -1), added)
        y.index_add_(0, mapping.tokens, added.view(-1, width)[mapping.indices])

    def _add_lora(self, x: torch.Tensor, y: torch.Tensor, first_slot: int = 0) -> None:
        """Add the outputs of adapters to y, in place.

        Args:
            x: inputs, [slots, tokens, in].
            y: the layers' outputs, [slots, tokens, out].
            first_slot: the slot of the first adapter; the others are in the slots after it.
        """
        assert self._lora_a is not None  # noqa: S101 - the caller has checked
        slots = slice(first_slot, first_slot + len(x))
        reduced = torch.bmm(x, self._lora_a[slots])
        rank, begin = reduced.shape[-1] // len(self.sizes), 0
        for number, (size, lora_b) in enumerate(zip(self.sizes, self._lora_b, strict=True)):
            own = reduced[..., number * rank : (number + 1) * rank]
            # Not baddbmm_, which on a part of y makes a product for each adapter slot.
            y[..., begin : begin + size].add_(torch.bmm(own, lora_b[slots]))
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
        if old_rank >= rank:
            return
        zeros, count = self.layout.weight.new_zeros, len(self.sizes)
        self._lora_a = zeros(adapter_slots, self.in_features, rank * count)
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
