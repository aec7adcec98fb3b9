"""Bottleneck adapters: a small network after each feed-forward block, which starts as the identity
(Houlsby et al. 2019; placed as in Pfeiffer et al. 2021)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from moli.models.weights.json_files import write_json
from moli.records.errors import InputError

# Endings of the names that model families give to the last layer of a feed-forward block.
_OUTPUT_LAYERS = ("output.dense", "mlp.down_proj", "mlp.c_proj", "ffn.lin2", "wo", "fc2")
_ATTENTION = "attention"  # its output layers have similar names
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PEFT_TYPE = "BOTTLENECK"  # in the configuration file, where PEFT's own adapters have theirs


class Bottleneck(torch.nn.Module):
    """A layer followed by its adapter: y + up(gelu(down(y))).

    Args:
        layer: the frozen layer, with `hidden_size` outputs.
        rank: width of the adapter.
    """

    def __init__(self, layer: torch.nn.Module, hidden_size: int, rank: int) -> None:
        super().__init__()
        self.layer = layer
        self.is_on = True
        self.down = torch.nn.Linear(hidden_size, rank)
        self.up = torch.nn.Linear(rank, hidden_size)
        torch.nn.init.normal_(self.down.weight, std=0.02)
        for parameter in (self.down.bias, self.up.weight, self.up.bias):
            torch.nn.init.zeros_(parameter)

    @property
    def weight(self) -> torch.Tensor:
        """The layer's weight: T5 converts its states to the dtype of this attribute."""
        layer: Any = self.layer
        weight: torch.Tensor = layer.weight
        return weight

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """The layer's output, changed by the adapter."""
        output: torch.Tensor = self.layer(states)
        if not self.is_on:
            return output
        change: torch.Tensor = self.up(torch.nn.functional.gelu(self.down(output)))
        return output + change


def add_bottlenecks(
    model: torch.nn.Module, rank: int, trained_modules: Sequence[str] = ()
) -> torch.nn.Module:
    """Add an adapter after each feed-forward block; all but these and `trained_modules` is frozen.

    Raises:
        InputError: no feed-forward block is found in the model.
    """
    output_layers = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
        and name.endswith(_OUTPUT_LAYERS)
        and not name.rpartition(".")[0].rpartition(".")[0].endswith(_ATTENTION)
    ]
    if not output_layers:
        raise InputError(
            "this model has no known feed-forward block",
            where=type(model).__name__,
            fix="Use method: lora.",
        )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(tuple(f"{each}." for each in trained_modules)))
    for name in output_layers:
        layer: Any = model.get_submodule(name)
        model.set_submodule(
            name, Bottleneck(layer, layer.out_features, rank).to(layer.weight.dtype)
        )
    return model


@contextmanager
def bottlenecks_off(model: torch.nn.Module) -> Iterator[None]:
    """Leave out the adapters of a model, if it has any."""
    adapters = [each for each in model.modules() if isinstance(each, Bottleneck)]
    try:
        for adapter in adapters:
            adapter.is_on = False
        yield
    finally:
        for adapter in adapters:
            adapter.is_on = True


def save_bottlenecks(model: torch.nn.Module, folder: Path, rank: int) -> None:
    """Write the adapters and heads, with file names and a configuration like PEFT's."""
    trained = {
        name: parameter.detach().contiguous()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    save_file(trained, folder / WEIGHTS)
    config = {"peft_type": PEFT_TYPE, "r": rank}
    write_json(folder / CONFIG, config)


def load_bottlenecks(model: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """The base model with the adapters and heads that `save_bottlenecks` wrote."""
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    model = add_bottlenecks(model, int(config["r"]))
    model.load_state_dict(load_file(folder / WEIGHTS), strict=False)
    return model
