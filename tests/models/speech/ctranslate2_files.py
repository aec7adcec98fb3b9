"""Whisper models written as CTranslate2 has them."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch

_ATTENTION = {"self_attn": "self_attention", "encoder_attn": "attention"}


def write_ctranslate2(source: str, folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    """The Whisper model of a folder, with all variables that CTranslate2's own converter writes."""
    from transformers import WhisperForConditionalGeneration

    model: Any = WhisperForConditionalGeneration.from_pretrained(source, dtype=dtype)
    variables: dict[str, Any] = {}
    for part in ("encoder", "decoder"):
        module = getattr(model.model, part)
        variables[f"{part}/num_heads"] = np.int16(module.layers[0].self_attn.num_heads)
        variables[f"{part}/position_encodings/encodings"] = module.embed_positions.weight
        _add_norm(variables, f"{part}/layer_norm", module.layer_norm)
        for number, layer in enumerate(module.layers):
            _add_layer(variables, f"{part}/layer_{number}/", layer)
    for name in ("conv1", "conv2"):
        _add_linear(variables, f"encoder/{name}", [getattr(model.model.encoder, name)])
    variables["decoder/embeddings/weight"] = model.model.decoder.embed_tokens.weight
    variables["decoder/scale_embeddings"] = np.int8(0)
    folder.mkdir()
    (folder / "model.bin").write_bytes(_packed(variables))
    (folder / "vocabulary.txt").write_text("")
    shutil.copyfile(Path(source) / "tokenizer.json", folder / "tokenizer.json")
    settings = {"suppress_ids": [], "suppress_ids_begin": [], "alignment_heads": [[0, 0]]}
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


def _add_layer(variables: dict[str, Any], prefix: str, layer: Any) -> None:
    for name, theirs in _ATTENTION.items():
        if not hasattr(layer, name):
            continue
        attention, base = getattr(layer, name), f"{prefix}{theirs}"
        query, key, value = attention.q_proj, attention.k_proj, attention.v_proj
        joined = [[query, key, value]] if name == "self_attn" else [[query], [key, value]]
        for number, modules in enumerate([*joined, [attention.out_proj]]):
            _add_linear(variables, f"{base}/linear_{number}", modules)
        _add_norm(variables, f"{base}/layer_norm", getattr(layer, f"{name}_layer_norm"))
    for number, module in enumerate((layer.fc1, layer.fc2)):
        _add_linear(variables, f"{prefix}ffn/linear_{number}", [module])
    _add_norm(variables, f"{prefix}ffn/layer_norm", layer.final_layer_norm)


def _add_norm(variables: dict[str, Any], name: str, norm: Any) -> None:
    variables[f"{name}/gamma"], variables[f"{name}/beta"] = norm.weight, norm.bias


def _add_linear(variables: dict[str, Any], name: str, modules: list[Any]) -> None:
    variables[f"{name}/weight"] = torch.cat([module.weight for module in modules])
    biases = [
        torch.zeros_like(module.weight[:, 0]) if module.bias is None else module.bias
        for module in modules
    ]
    variables[f"{name}/bias"] = torch.cat(biases)


def _packed(variables: dict[str, Any]) -> bytes:
    packed = struct.pack("<I", 6) + _text("WhisperSpec") + struct.pack("<II", 3, len(variables))
    for name, variable in sorted(variables.items()):
        is_tensor = isinstance(variable, torch.Tensor)
        array = variable.detach().numpy() if is_tensor else np.asarray(variable)
        kind = ["f4", "i1", "i2", "i4", "f2"].index(f"{array.dtype.kind}{array.dtype.itemsize}")
        data = array.tobytes()
        packed += _text(name) + struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        packed += struct.pack("<BI", kind, len(data)) + data
    return packed + struct.pack("<I", 0)


def _text(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"
