"""LoRA adapters as the engine uses them: thin matrices, by the layer they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from moli.models.weights.json_files import read_json
from moli.records.errors import ModelError

_PREFIX = "base_model.model."
_MERGE = "Merge it into its base instead: moli models export NAME FOLDER --merge."


@dataclass(frozen=True, slots=True)
class Thin:
    """What an adapter adds to a layer, y += (x down') up': down [r, in], up [out, r], scaled."""

    down: torch.Tensor
    up: torch.Tensor


@dataclass(frozen=True, slots=True)
class Adapter:
    """Thin matrices by the name of their layer.

    Attributes:
        name: derived from its content; what one adapter has cached is never used for another.
        folder: where its files are.
    """

    name: str
    layers: Mapping[str, Thin]
    folder: Path

    @property
    def bytes(self) -> int:
        """Memory of its matrices."""
        return sum(each.down.nbytes + each.up.nbytes for each in self.layers.values())

    @property
    def rank(self) -> int:
        """The largest."""
        return max(each.down.shape[0] for each in self.layers.values())


def read_adapter(folder: Path, name: str, dtype: torch.dtype) -> Adapter:
    """An adapter in PEFT's layout.

    Raises:
        ModelError: it is not LoRA, or of a kind that cannot share a batch (DoRA, biases, fully
            trained layers).
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config = read_json(folder / "adapter_config.json")
    _check(config, folder)
    try:
        tensors = load_file(folder / "adapter_model.safetensors")
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"its weights cannot be read ({error})", where=str(folder), fix="Copy it again."
        ) from error
    layers = {}
    for key, down in tensors.items():
        layer, found, _ = key.removeprefix(_PREFIX).partition(".lora_A.")
        if not found:
            continue
        up = tensors[key.replace(".lora_A.", ".lora_B.")].float()
        scaled = (up * _scale(config, layer, down.shape[0])).to(dtype)
        layers[layer] = Thin(down.to(dtype).contiguous(), scaled.contiguous())
    odd = [key for key in tensors if ".lora_A." not in key and ".lora_B." not in key]
    if odd or not layers:
        what = f"it has {odd[0]}" if odd else "it has no LoRA"
        raise ModelError(f"{what}, which cannot be served", where=str(folder), fix=_MERGE)
    return Adapter(name, layers, folder)


def _check(config: Mapping[str, Any], folder: Path) -> None:
    wrong = ""
    if config.get("peft_type") != "LORA":
        wrong = f"of the kind {config.get('peft_type', 'that has no name')}"
    elif config.get("use_dora"):
        wrong = "with DoRA"
    elif config.get("bias", "none") != "none" or config.get("lora_bias"):
        wrong = "with biases"
    if wrong:
        raise ModelError(
            f"an adapter {wrong}, which cannot share a batch with others",
            where=str(folder),
            fix=_MERGE,
        )


def _scale(config: Mapping[str, Any], layer: str, rank: int) -> float:
    """alpha / r, or alpha / sqrt(r) for rsLoRA (Kalajdzievski 2023)."""
    alpha = config.get("lora_alpha", 8)
    for ending, own in (config.get("alpha_pattern") or {}).items():
        if layer == ending or layer.endswith(f".{ending}"):
            alpha = own
    return float(alpha / (rank**0.5 if config.get("use_rslora") else rank))
