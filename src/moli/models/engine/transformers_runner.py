"""A language model whose passes mix rows, lengths and adapters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from moli.models.engine import attention
from moli.models.engine.attention import Layout, Stretch
from moli.models.engine.cache import Cache
from moli.models.engine.products import Part, Products, fastest, mixture
from moli.models.hardware.memory import available_memory, release_freed_memory
from moli.models.hardware.probe import DTYPES, probe
from moli.models.protocols.runner import Span
from moli.models.weights.loading import is_decoder, load_config, load_model
from moli.models.weights.lora import Adapter
from moli.records.errors import ModelError


class TransformersRunner:
    """A transformers model that generates text.

    Args:
        lanes: adapters that the rows of a pass may have between them.

    Attributes:
        kv_bytes_per_token: memory of a token's keys and values in all layers.
    """

    def __init__(self, model: Any, *, lanes: int) -> None:
        self.model = model.eval().requires_grad_(False)
        self.device = next(model.parameters()).device
        self.dtype: torch.dtype = next(model.parameters()).dtype
        self.lanes = lanes
        self._products, self.kv_bytes_per_token = _replace(model)
        release_freed_memory()
        self._choose()
        release_freed_memory()
        self._rank = 0

    @property
    def stop_token_ids(self) -> frozenset[int]:
        """Tokens that end an answer, according to the model's own generation settings."""
        said = self.model.generation_config.eos_token_id
        ids = said if isinstance(said, list) else [said]
        return frozenset(each for each in ids if each is not None)

    def free_memory(self) -> int:
        """Bytes still available where the model is."""
        on_gpu = self.device.type == "cuda"
        return int(torch.cuda.mem_get_info(self.device)[0]) if on_gpu else available_memory()

    def cache(self, slots: int, most: int, room: int | None) -> Cache:
        """A cache for its rows; see `Growing` for the arguments."""
        return Cache(slots, most, room)

    @torch.inference_mode()
    def run(self, spans: Sequence[Span], cache: Cache) -> torch.Tensor:
        """One pass: logits [asked, V] for the spans that ask, in their order.

        Spans of one token come first.
        """
        written = next((n for n, each in enumerate(spans) if len(each.ids) > 1), len(spans))
        begin, stretches, runs = written, [], []
        last = [n for n in range(written) if spans[n].asked]
        for each in spans[written:]:
            end = begin + len(each.ids)
            stretches.append(Stretch(begin, end, each.slot, each.start))
            runs.append((begin, end, each.lane))
            last += [end - 1] * each.asked
            begin = end
        layout = Layout(
            cache=cache,
            slots=self._index([each.slot for each in spans for _ in each.ids]),
            places=self._index([each.start + n for each in spans for n in range(len(each.ids))]),
            written=written,
            lengths=self._index([each.start + 1 for each in spans[:written]]),
            stretches=tuple(stretches),
        )
        now = mixture([each.lane for each in spans[:written]], runs, self.device)
        for products in self._products:
            products.now = now
        hidden = _hidden(self.model, self._index([i for each in spans for i in each.ids]), layout)
        return _logits(self.model, hidden[self._index(last)]) if last else hidden[:0].float()

    @torch.inference_mode()
    def _choose(self) -> None:
        """Have few rows multiplied in whichever way is fastest here for the largest layers."""
        inner = self._products[:-1] or self._products  # the last one makes the scores
        shape = max((each.weight.shape for each in inner), key=torch.Size.numel)
        way = fastest([each for each in inner if each.weight.shape == shape])
        for products in self._products:
            products.lay(way)

    def check(self, adapter: Adapter) -> None:
        """Check that an adapter fits this model.

        Raises:
            ModelError: it adapts a layer that is not here, is of another shape or is not linear.
        """
        shapes = {name: shape for each in self._products for name, shape in each.shapes.items()}
        for name, thin in adapter.layers.items():
            shape = thin.up.shape[0], thin.down.shape[1]
            if shapes.get(name) != shape:
                found = (
                    f"is {shapes[name]}" if name in shapes else "is not a linear layer of this base"
                )
                raise ModelError(
                    f"it was made for another base: {name} should be {shape}, but {found}",
                    where=adapter.name,
                    fix="Serve it on the base that it was trained on.",
                )

    @torch.inference_mode()
    def update_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Take other weights, by their names in the model's state as transformers saves it.

        Raises:
            ModelError: only some of the layers that are multiplied together are given, a name is
                not this model's, or a shape differs; nothing has changed then.
        """
        left, parameters = dict(weights), dict(self.model.named_parameters())
        shapes = {name: value.shape for name, value in parameters.items()}
        if (embedded := _tied(self.model)) in left:
            left[f"{self._products[-1].names[0]}.weight"] = left[embedded]
        plan = []
        for products in self._products:
            shapes |= (own := products.parameters)
            given = [left.pop(name) for name in own if name in left]
            if given and len(given) != len(own):
                raise ModelError(
                    f"some of {' and '.join(own)} are given, and others are not",
                    fix="Give all of them.",
                )
            if given:
                plan.append((products, given))
        for name, value in weights.items():
            if name not in shapes:
                raise ModelError(f"the model has no {name}", fix="Use the model's own names.")
            if value.shape != shapes[name]:
                raise ModelError(f"{name} is {[*value.shape]} but must be {[*shapes[name]]}")
        for products, given in plan:
            products.change(given)
        for name, value in left.items():
            parameters[name].data.copy_(value)

    def write(self, lane: int, adapter: Adapter) -> None:
        """Put an adapter into a lane."""
        self._rank = max(self._rank, adapter.rank)
        with torch.inference_mode():
            for products in self._products:
                products.write(lane, self.lanes, self._rank, adapter)

    def _index(self, values: Sequence[int]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.long, device=self.device)


def load_transformers_runner(
    reference: str, *, adapter_slots: int = 16, precision: str = ""
) -> TransformersRunner:
    """A network by its model's reference.

    Args:
        precision: "bf16" or "fp32"; by default whichever is faster on this machine.

    Raises:
        ModelError: its files are not available, it does not generate text, or not row by row.
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
    return TransformersRunner(model, lanes=adapter_slots)


def _hidden(model: Any, ids: torch.Tensor, layout: Layout) -> torch.Tensor:
    """What the model makes of tokens, [T, width]."""
    token = attention.layout.set(layout)
    try:
        made: torch.Tensor = model.base_model(
            input_ids=ids[None], position_ids=layout.places[None], use_cache=False
        ).last_hidden_state[0]
    finally:
        attention.layout.reset(token)
    return made


def _logits(model: Any, hidden: torch.Tensor) -> torch.Tensor:
    """What may follow, [T, V] in float32."""
    logits: torch.Tensor = model.get_output_embeddings()(hidden).float()
    return logits


def _tied(model: Any) -> str:
    """The name of the weights that both embed tokens and make the scores; "" for none."""
    if not getattr(model.config, "tie_word_embeddings", False):
        return ""
    embedding = model.get_input_embeddings()
    return next(f"{name}.weight" for name, each in model.named_modules() if each is embedding)


def _replace(model: Any) -> tuple[list[Products], int]:
    """Put products in place of the linear layers; a pass shows which of these read the same.

    Returns:
        The products in the order of their use, and the memory of a token's keys and values.
    """
    cache = Cache(1, 2)
    names = {module: name for name, module in model.named_modules()}
    linear = [module for module in names if type(module) is torch.nn.Linear]
    groups = _readers(model, linear, cache)
    products = []
    for group in groups:
        made = Products([names[layer] for layer in group], group)
        for number, layer in enumerate(group):
            parent, _, own = names[layer].rpartition(".")
            setattr(model.get_submodule(parent), own, Part(made, number, layer))
            del layer.weight  # else it is in memory twice until all are replaced
        products.append(made)
    return products, cache.bytes // 2


def _readers(
    model: Any, layers: Sequence[torch.nn.Linear], cache: Cache
) -> list[list[torch.nn.Linear]]:
    """Layers in the order in which they are called, those together that read the same tensor."""
    groups: list[list[torch.nn.Linear]] = []
    seen: list[torch.Tensor] = []  # kept, so that no other tensor gets the same identity

    def hear(layer: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        if any(layer in group for group in groups):
            return
        same = bool(seen) and seen[-1] is inputs[0]
        alike = same and (groups[-1][0].bias is None) == (layer.bias is None)
        if alike:
            groups[-1].append(layer)
        else:
            groups.append([layer])
        seen.append(inputs[0])

    handles = [layer.register_forward_pre_hook(hear) for layer in layers]
    try:
        with torch.inference_mode():
            places = torch.arange(2, device=model.device)
            layout = Layout(cache, places * 0, places, 0, places[:0], (Stretch(0, 2, 0, 0),))
            _logits(model, _hidden(model, places * 0, layout))
    finally:
        for handle in handles:
            handle.remove()
    return groups
