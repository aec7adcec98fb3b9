"""A model of transformers whose passes mix sequences, lengths and adapters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from moli.models.engine import attention
from moli.models.engine.attention import AttentionMetadata
from moli.models.engine.kv_cache import TorchKVCache
from moli.models.engine.merged_linear import MergedLinear, MergedLinearPart, map_adapters
from moli.models.engine.prefill_chunk import PrefillChunk
from moli.models.engine.weight_layouts import fastest_layout
from moli.models.hardware.memory import release_freed_memory
from moli.models.hardware.probe import DTYPES, free_memory, probe
from moli.models.protocols.runner import ScheduledChunk
from moli.models.weights.loading import is_decoder, load_config, load_model
from moli.models.weights.lora import LoraAdapter
from moli.records.errors import ModelError


class TransformersRunner:
    """A transformers model that generates text.

    Args:
        model: a causal language model; merged layers replace its linear ones.
        adapter_slots: maximum number of different adapters in a pass.

    Attributes:
        kv_bytes_per_token: memory of a token's keys and values in all layers.
    """

    def __init__(self, model: Any, *, adapter_slots: int) -> None:
        self.model = model.eval().requires_grad_(False)
        self.device = next(model.parameters()).device
        dtype: torch.dtype = next(model.parameters()).dtype
        is_cpu = self.device.type == "cpu"
        self.dtype = torch.float32 if is_cpu else dtype  # of adapters
        self._is_invariant = is_cpu and dtype == torch.float32
        self.adapter_slots = adapter_slots
        merged = _merge_linear_layers(model)
        self._linears, self.kv_bytes_per_token = merged.linears, merged.kv_bytes_per_token
        release_freed_memory()
        self._choose_layout()
        release_freed_memory()
        self._adapter_rank = 0  # the largest so far

    @property
    def stop_token_ids(self) -> frozenset[int]:
        """Tokens that end an answer, according to the model's own generation settings."""
        eos = self.model.generation_config.eos_token_id
        ids = eos if isinstance(eos, list) else [eos]
        return frozenset(token_id for token_id in ids if token_id is not None)

    def free_memory(self) -> int:
        """Bytes still available on the model's device."""
        return free_memory(self.device)

    def make_cache(
        self, max_slots: int, max_model_len: int, max_tokens: int | None
    ) -> TorchKVCache:
        """Make an empty KV cache for the model; the arguments are those of `KVCache`."""
        return TorchKVCache(max_slots, max_model_len, max_tokens)

    @torch.inference_mode()
    def run(self, chunks: Sequence[ScheduledChunk], cache: TorchKVCache) -> torch.Tensor:
        """Run one pass; the next-token logits of the chunks that need them, in float32."""
        num_decodes = next(
            (n for n, chunk in enumerate(chunks) if len(chunk.token_ids) > 1), len(chunks)
        )
        predicted = [n for n in range(num_decodes) if chunks[n].num_logits]
        begin, prefills = num_decodes, []
        for chunk in chunks[num_decodes:]:
            end = begin + len(chunk.token_ids)
            prefills.append(
                PrefillChunk(begin, end, chunk.cache_slot, chunk.start, chunk.adapter_slot)
            )
            predicted += range(end - chunk.num_logits, end)
            begin = end
        metadata = self._metadata(chunks, num_decodes, prefills, cache)
        decode_slots = [chunk.adapter_slot for chunk in chunks[:num_decodes]]
        groups = map_adapters(decode_slots, prefills, self.device, invariant=self._is_invariant)
        for linear in self._linears:
            linear.adapter_groups = groups
        token_ids = self._index([token_id for chunk in chunks for token_id in chunk.token_ids])
        hidden = _hidden_states(self.model, token_ids, metadata)
        if not predicted:
            return hidden[:0].float()
        return _logits(self.model, hidden[self._index(predicted)])

    def _metadata(
        self,
        chunks: Sequence[ScheduledChunk],
        num_decodes: int,
        prefills: Sequence[PrefillChunk],
        cache: TorchKVCache,
    ) -> AttentionMetadata:
        """Slots and positions in the KV cache of the tokens of these chunks."""
        slots = [chunk.cache_slot for chunk in chunks for _ in chunk.token_ids]
        positions = [chunk.start + n for chunk in chunks for n in range(len(chunk.token_ids))]
        decode_lengths = [chunk.start + 1 for chunk in chunks[:num_decodes]]
        return AttentionMetadata(
            cache=cache,
            slots=self._index(slots),
            positions=self._index(positions),
            num_decodes=num_decodes,
            decode_lengths=self._index(decode_lengths),
            prefills=tuple(prefills),
        )

    def _index(self, values: Sequence[int]) -> torch.Tensor:
        """A tensor of indices on the model's device."""
        return torch.tensor(values, dtype=torch.long, device=self.device)

    @torch.inference_mode()
    def _choose_layout(self) -> None:
        """Convert all weights to the layout in which the largest layers are computed fastest."""
        inner = self._linears[:-1] or self._linears  # the last one makes the logits
        # No name refers to the old layouts, so each weight is freed before the next is converted.
        layout = fastest_layout([linear.layout for linear in inner])
        for linear in self._linears:
            linear.use_layout(layout)

    def check_adapter(self, adapter: LoraAdapter) -> None:
        """Check that an adapter fits this model.

        Raises:
            ModelError: it adapts a layer that the model lacks, that has another shape or is not
                linear.
        """
        shapes = {name: shape for linear in self._linears for name, shape in linear.shapes.items()}
        for name, weights in adapter.layers.items():
            shape = weights.lora_b.shape[0], weights.lora_a.shape[1]
            if shapes.get(name) != shape:
                actual = (
                    f"is {shapes[name]}" if name in shapes else "is not a linear layer of this base"
                )
                raise ModelError(
                    f"it was made for another base: {name} should be {shape}, but {actual}",
                    where=adapter.name,
                    fix="Serve it on the base that it was trained on.",
                )

    @torch.inference_mode()
    def load_adapter(self, adapter_slot: int, adapter: LoraAdapter) -> None:
        """Copy an adapter's weights into a slot."""
        self._adapter_rank = max(self._adapter_rank, adapter.rank)
        for linear in self._linears:
            linear.load_adapter(
                adapter_slot, adapter, adapter_slots=self.adapter_slots, rank=self._adapter_rank
            )

    @torch.inference_mode()
    def update_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Replace weights, named as in the model's state dict as transformers saves it.

        Raises:
            ModelError: only some of the weights of merged layers are given, a name is not this
                model's, or a shape differs; nothing has changed then.
        """
        left, parameters = dict(weights), dict(self.model.named_parameters())
        shapes = {name: parameter.shape for name, parameter in parameters.items()}
        if (embedding := _tied_embedding(self.model)) in left:
            left[f"{self._linears[-1].names[0]}.weight"] = left[embedding]
        updates = []
        for linear in self._linears:
            own = linear.parameter_shapes
            shapes |= own
            values = [left.pop(name) for name in own if name in left]
            if values and len(values) != len(own):
                raise ModelError(
                    f"some of {' and '.join(own)} are given, and others are not",
                    fix="Give all of them.",
                )
            if values:
                updates.append((linear, values))
        for name, value in weights.items():
            if name not in shapes:
                raise ModelError(f"the model has no {name}", fix="Use the model's own names.")
            if value.shape != shapes[name]:
                raise ModelError(f"{name} is {[*value.shape]} but must be {[*shapes[name]]}")
        for linear, values in updates:
            linear.update_weights(values)
        for name, value in left.items():
            parameters[name].data.copy_(value)


def load_transformers_runner(
    reference: str, *, adapter_slots: int = 16, precision: str = ""
) -> TransformersRunner:
    """Load a model with transformers, onto the GPU if there is one.

    Args:
        precision: "bf16" or "fp32"; by default whichever is faster on this machine.

    Raises:
        ModelError: its files are not available, or it is not a causal language model.
    """
    config = load_config(reference)
    if not is_decoder(config):
        raise ModelError(
            "not a causal language model", where=reference, fix="Name a language model."
        )
    attention.register()
    dtype = DTYPES[precision or probe().precision]
    model: Any = load_model(
        "AutoModelForCausalLM", reference, dtype=dtype, attn_implementation=attention.NAME
    )
    if torch.cuda.is_available():
        model.cuda()
    return TransformersRunner(model, adapter_slots=adapter_slots)


def _hidden_states(
    model: Any, token_ids: torch.Tensor, metadata: AttentionMetadata
) -> torch.Tensor:
    """Hidden states of the last layer, [tokens, hidden size]."""
    previous = attention.current_metadata.set(metadata)
    try:
        hidden: torch.Tensor = model.base_model(
            input_ids=token_ids[None], position_ids=metadata.positions[None], use_cache=False
        ).last_hidden_state[0]
    finally:
        attention.current_metadata.reset(previous)
    return hidden


def _logits(model: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Next-token logits, [tokens, vocabulary], in float32."""
    logits: torch.Tensor = model.get_output_embeddings()(hidden).float()
    return logits


def _tied_embedding(model: Any) -> str:
    """Name of the weights that both embed tokens and make the logits; "" if they are separate."""
    if not getattr(model.config, "tie_word_embeddings", False):
        return ""
    embedding = model.get_input_embeddings()
    return next(f"{name}.weight" for name, each in model.named_modules() if each is embedding)


@dataclass(frozen=True, slots=True)
class _MergedLayers:
    """The merged linear layers of a model, in the order of their use."""

    linears: list[MergedLinear]
    kv_bytes_per_token: int


def _merge_linear_layers(model: Any) -> _MergedLayers:
    """Replace the linear layers of a model by merged ones.

    A pass over two tokens shows which layers share an input.
    """
    cache = TorchKVCache(1, 2)
    names = {module: name for name, module in model.named_modules()}
    layers = [module for module in names if type(module) is torch.nn.Linear]
    linears = []
    for group in _group_by_input(model, layers, cache):
        merged = MergedLinear([names[layer] for layer in group], group)
        for number, layer in enumerate(group):
            parent, _, attribute = names[layer].rpartition(".")
            part = MergedLinearPart(merged, number, layer)
            setattr(model.get_submodule(parent), attribute, part)
            del layer.weight  # else it is in memory twice until all are replaced
        linears.append(merged)
    return _MergedLayers(linears, cache.bytes // 2)  # the pass was of two tokens


def _group_by_input(
    model: Any, layers: Sequence[torch.nn.Linear], cache: TorchKVCache
) -> list[list[torch.nn.Linear]]:
    """Layers in the order in which a pass calls them, grouped where they read the same tensor.

    Args:
        cache: an empty cache with room for the two tokens of the pass.
    """
    groups: list[list[torch.nn.Linear]] = []
    inputs: list[torch.Tensor] = []  # kept, so that no other tensor gets the same identity

    def record(layer: Any, arguments: tuple[torch.Tensor, ...]) -> None:
        """Add a called layer to the last group if both read the same input, else to a new group."""
        if any(layer in group for group in groups):
            return
        same_input = bool(inputs) and inputs[-1] is arguments[0]
        if same_input and (groups[-1][0].bias is None) == (layer.bias is None):
            groups[-1].append(layer)
        else:
            groups.append([layer])
        inputs.append(arguments[0])

    handles = [layer.register_forward_pre_hook(record) for layer in layers]
    try:
        with torch.inference_mode():
            positions = torch.arange(2, device=model.device)
            zeros, none = positions * 0, positions[:0]
            chunk = PrefillChunk(0, 2, cache_slot=0, start=0)
            metadata = AttentionMetadata(cache, zeros, positions, 0, none, (chunk,))
            _logits(model, _hidden_states(model, zeros, metadata))
    finally:
        for handle in handles:
            handle.remove()
    return groups
