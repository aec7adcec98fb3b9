"""Bottleneck adapters: a small network after each feed-forward block (Houlsby et al. 2019; placed
as in Pfeiffer et al. 2021), which starts as the identity.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from moli.models.weights.json_files import write_json
from moli.records.errors import InputError

# The last layer of a feed-forward block, by the end of its name, in the families there are.
_OUTPUTS = ("output.dense", "mlp.down_proj", "mlp.c_proj", "ffn.lin2", "wo", "fc2")
_EXCLUDED = "attention"
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


class Bottleneck(torch.nn.Module):
    """A layer followed by its adapter: y + up(gelu(down(y)))."""

    def __init__(self, layer: torch.nn.Module, width: int, size: int) -> None:
        super().__init__()
        self.layer = layer
        self.down = torch.nn.Linear(width, size)
        self.up = torch.nn.Linear(size, width)
        torch.nn.init.normal_(self.down.weight, std=0.02)
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            torch.nn.init.zeros_(zero)

    @property
    def weight(self) -> torch.Tensor:
        """The layer's, by whose type T5 converts what it hands over."""
        layer: Any = self.layer
        weight: torch.Tensor = layer.weight
        return weight

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.layer(states)
        moved: torch.Tensor = self.up(torch.nn.functional.gelu(self.down(result)))
        return result + moved


def add_bottlenecks(
    model: torch.nn.Module, size: int, heads: Sequence[str] = ()
) -> torch.nn.Module:
    """Add an adapter after each feed-forward block; only these and `heads` stay trainable.

    Raises:
        InputError: no feed-forward block is found in the model.
    """
    places = [
        name
        for name, each in model.named_modules()
        if isinstance(each, torch.nn.Linear)
        and name.endswith(_OUTPUTS)
        and _EXCLUDED not in name.rpartition(".")[0].rpartition(".")[0][-len(_EXCLUDED) :]
    ]
    if not places:
        raise InputError(
            "this model has no known feed-forward block",
            where=type(model).__name__,
            fix="Use method: lora.",
        )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(tuple(f"{each}." for each in heads)))
    for name in places:
        layer: Any = model.get_submodule(name)
        model.set_submodule(
            name, Bottleneck(layer, layer.out_features, size).to(layer.weight.dtype)
        )
    return model


def save_bottlenecks(model: torch.nn.Module, folder: Path, size: int) -> None:
    """Write the adapters and heads, laid out as PEFT lays out its own."""
    trained = {
        name: each.detach().contiguous()
        for name, each in model.named_parameters()
        if each.requires_grad
    }
    save_file(trained, folder / WEIGHTS)
    config = {"peft_type": "BOTTLENECK", "r": size}
    write_json(folder / CONFIG, config)


def load_bottlenecks(model: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """The model with the adapters that were saved."""
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    model = add_bottlenecks(model, int(config["r"]))
    model.load_state_dict(load_file(folder / WEIGHTS), strict=False)
    return model
