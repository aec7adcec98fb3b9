"""LoRA adapters as the engine uses them: two thin matrices for each adapted layer."""

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
class LoraWeights:
    """An adapter's matrices for one layer, which add (x A') B' to its output.

    Attributes:
        lora_a: [rank, in].
        lora_b: [out, rank], with the scale multiplied in.
    """

    lora_a: torch.Tensor
    lora_b: torch.Tensor


@dataclass(frozen=True, slots=True)
class LoraAdapter:
    """A LoRA adapter.

    Attributes:
        name: name derived from the content, so that prompts cached with one adapter are never used
            for another.
        layers: weights by the name of the adapted layer.
        folder: the folder that it was read from.
    """

    name: str
    layers: Mapping[str, LoraWeights]
    folder: Path

    @property
    def bytes(self) -> int:
        """Memory of its matrices."""
        layers = self.layers.values()
        return sum(each.lora_a.nbytes + each.lora_b.nbytes for each in layers)

    @property
    def rank(self) -> int:
        """The largest rank of its layers."""
        return max(each.lora_a.shape[0] for each in self.layers.values())


def read_adapter(folder: Path, name: str, dtype: torch.dtype) -> LoraAdapter:
    """Read an adapter in PEFT's format.

    Raises:
        ModelError: it is not LoRA, or of a kind that cannot share a batch with other adapters
            (DoRA, biases, fully trained layers).
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config = read_json(folder / "adapter_config.json")
    _check_kind(config, folder)
    try:
        tensors = load_file(folder / "adapter_model.safetensors")
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"its weights cannot be read ({error})", where=str(folder), fix="Copy it again."
        ) from error
    layers = {}
    for key, lora_a in tensors.items():
        layer, is_lora_a, _ = key.removeprefix(_PREFIX).partition(".lora_A.")
        if not is_lora_a:
            continue
        lora_b = tensors[key.replace(".lora_A.", ".lora_B.")].float()
        scaled = (lora_b * _scale(config, layer, lora_a.shape[0])).to(dtype)
        layers[layer] = LoraWeights(lora_a.to(dtype).contiguous(), scaled.contiguous())
    others = [key for key in tensors if ".lora_A." not in key and ".lora_B." not in key]
    if others or not layers:
        what = f"it has {others[0]}" if others else "it has no LoRA"
        raise ModelError(f"{what}, which cannot be served", where=str(folder), fix=_MERGE)
    return LoraAdapter(name, layers, folder)


def _check_kind(config: Mapping[str, Any], folder: Path) -> None:
    """Check that an adapter is LoRA, without DoRA, biases and fully trained layers.

    Raises:
        ModelError: it is of another kind.
    """
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
    """Factor of a layer's product B A: alpha / r, for rsLoRA alpha / sqrt(r) (Kalajdzievski
    2023)."""
    alpha = config.get("lora_alpha", 8)
    for ending, layer_alpha in (config.get("alpha_pattern") or {}).items():
        if layer == ending or layer.endswith(f".{ending}"):
            alpha = layer_alpha
    return float(alpha / (rank**0.5 if config.get("use_rslora") else rank))
