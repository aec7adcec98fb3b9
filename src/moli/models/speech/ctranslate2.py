"""Whisper models of CTranslate2, as faster-whisper runs them, made folders of transformers.

`model.bin` has the variables of the model by name, each with its shape and type. Queries, keys and
values are one matrix there.
"""

from __future__ import annotations

import re
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from moli.models.weights.byte_reader import ByteReader
from moli.models.weights.converted import converted_folder
from moli.models.weights.json_files import read_json, write_json
from moli.records.errors import ModelError

_VERSION = 6
_POSITIONS_PER_SECOND = 50  # of the encoder
_TYPES = ("<f4", "i1", "<i2", "<i4", "<f2")  # by CTranslate2's number for them
_OTHER = "Name a Whisper model of transformers, or one converted with float16 or float32."
_MODULES = {
    "ffn/layer_norm": "final_layer_norm",
    "ffn/linear_0": "fc1",
    "ffn/linear_1": "fc2",
    "self_attention/layer_norm": "self_attn_layer_norm",
    "attention/layer_norm": "encoder_attn_layer_norm",
    "layer_norm": "layer_norm",
    "conv1": "conv1",
    "conv2": "conv2",
    "embeddings": "embed_tokens",
    "position_encodings": "embed_positions",
}
# Modules that are joined in one linear layer, by that layer's name.
_JOINED = {
    "self_attention/linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attention/linear_1": ("self_attn.out_proj",),
    "attention/linear_0": ("encoder_attn.q_proj",),
    "attention/linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "attention/linear_2": ("encoder_attn.out_proj",),
}
_KINDS = {"gamma": "weight", "beta": "bias", "encodings": "weight", "weight": "weight"}
_LAYER = re.compile(r"layer_(\d+)/")


def is_ctranslate2(folder: Path) -> bool:
    """Whether a folder has a model of CTranslate2."""
    vocabulary = ("vocabulary.txt", "vocabulary.json")
    has_vocabulary = any((folder / name).is_file() for name in vocabulary)
    return has_vocabulary and (folder / "model.bin").is_file()


def converted_whisper(source: Path) -> Path:
    """The folder made from a folder of CTranslate2, which is converted once for the machine.

    Raises:
        ModelError: it cannot be converted.
    """
    return converted_folder(source / "model.bin", lambda folder: convert_whisper(source, folder))


def convert_whisper(source: Path, folder: Path) -> None:
    """Write the Whisper model in a folder of CTranslate2 as one of transformers.

    Raises:
        ModelError: it is of another kind, stored in 8 or 16 bits of integers, or damaged.
        OSError: a file cannot be read or written.
    """
    file = source / "model.bin"
    try:
        variables = dict(_read_variables(file.read_bytes()))
        weights = dict(_weights(variables))
        tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    except (struct.error, ValueError, KeyError, IndexError) as error:
        what = f"not a Whisper model of CTranslate2 that can be converted ({error})"
        raise ModelError(what, str(file), _OTHER) from error
    config = _config(variables, tokenizer)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    shutil.copyfile(source / "tokenizer.json", folder / "tokenizer.json")
    write_json(folder / "config.json", config)
    settings = read_json(source / "config.json") or {}
    write_json(folder / "generation_config.json", _generation(config, settings, tokenizer))
    end = "<|endoftext|>"
    special = dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), end)
    write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "WhisperTokenizer", "model_max_length": 1024, **special},
    )
    extractor = {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": config["num_mel_bins"],
        "chunk_length": config["max_source_positions"] // _POSITIONS_PER_SECOND,
    }
    write_json(folder / "preprocessor_config.json", extractor)


def _read_variables(data: bytes) -> Iterator[tuple[str, NDArray[Any]]]:
    """The variables of a `model.bin` by name."""
    reader = ByteReader(data)

    def text() -> str:
        """The next text, which ends with a zero byte."""
        (content,) = reader.values(f"{reader.values('H')[0]}s")
        return str(content[:-1].decode())

    (version,) = reader.values("I")
    kind = text() if version == _VERSION else ""
    if kind != "WhisperSpec":
        raise ValueError(f"version {version}, kind '{kind}'")
    _, count = reader.values("II")
    for _ in range(count):
        name = text()
        shape = reader.values(f"{reader.values('B')[0]}I")
        number, size = reader.values("BI")
        array = np.frombuffer(reader.raw(size), _TYPES[number])
        yield name, array.reshape(shape)


def _weights(variables: dict[str, NDArray[Any]]) -> Iterator[tuple[str, NDArray[Any]]]:
    """The weights by the names of transformers."""
    for name, array in variables.items():
        if array.dtype.kind != "f":
            if array.ndim > 1:
                raise ValueError(f"{name} is stored in integers")
            continue  # a setting, such as the number of heads
        part, _, rest = name.partition("/")
        layer = _LAYER.match(rest)
        prefix = f"model.{part}." + (f"layers.{layer[1]}." if layer else "")
        module, _, kind = rest[layer.end() if layer else 0 :].rpartition("/")
        kind = _KINDS.get(kind, kind)
        if module not in _JOINED:
            yield f"{prefix}{_MODULES[module]}.{kind}", array
            continue
        modules = _JOINED[module]
        for joined, rows in zip(modules, np.split(array, len(modules)), strict=True):
            if kind == "bias" and joined.endswith("k_proj"):
                continue  # Whisper's keys have none; CTranslate2 fills it with zeros
            yield f"{prefix}{joined}.{kind}", np.ascontiguousarray(rows)


def _config(variables: dict[str, NDArray[Any]], tokenizer: Tokenizer) -> dict[str, Any]:
    """The content of config.json."""
    layers = {
        part: 1
        + max(
            int(match[1])
            for match in map(_LAYER.search, variables)
            if match and match.string.startswith(part)
        )
        for part in ("encoder", "decoder")
    }
    vocabulary, width = variables["decoder/embeddings/weight"].shape
    end = tokenizer.token_to_id("<|endoftext|>")
    start = tokenizer.token_to_id("<|startoftranscript|>")
    return {
        "architectures": ["WhisperForConditionalGeneration"],
        "bos_token_id": end,
        "d_model": width,
        "decoder_attention_heads": int(variables["decoder/num_heads"]),
        "decoder_ffn_dim": len(variables["decoder/layer_0/ffn/linear_0/weight"]),
        "decoder_layers": layers["decoder"],
        "decoder_start_token_id": start,
        "dtype": "float16" if variables["decoder/embeddings/weight"].itemsize == 2 else "float32",
        "encoder_attention_heads": int(variables["encoder/num_heads"]),
        "encoder_ffn_dim": len(variables["encoder/layer_0/ffn/linear_0/weight"]),
        "encoder_layers": layers["encoder"],
        "eos_token_id": end,
        "max_source_positions": len(variables["encoder/position_encodings/encodings"]),
        "max_target_positions": len(variables["decoder/position_encodings/encodings"]),
        "model_type": "whisper",
        "num_mel_bins": variables["encoder/conv1/weight"].shape[1],
        "pad_token_id": end,
        "vocab_size": vocabulary,
    }


def _generation(
    config: dict[str, Any], settings: dict[str, Any], tokenizer: Tokenizer
) -> dict[str, Any]:
    """The content of generation_config.json: what may be said, and where times and languages are.

    Args:
        settings: CTranslate2's config.json.
    """
    codes = [each for each in tokenizer.get_vocab() if re.fullmatch(r"<\|[a-z]{2,3}\|>", each)]
    # A model that knows English only has the tokens of languages, but was not trained on them.
    is_multilingual = config["vocab_size"] > 51_864
    languages = {code: tokenizer.token_to_id(code) for code in sorted(codes)}
    tasks = {task: tokenizer.token_to_id(f"<|{task}|>") for task in ("transcribe", "translate")}
    shared = ("bos_token_id", "decoder_start_token_id", "eos_token_id", "pad_token_id")
    return {
        "alignment_heads": settings.get("alignment_heads", []),
        "begin_suppress_tokens": settings.get("suppress_ids_begin", []),
        "is_multilingual": is_multilingual,
        "max_initial_timestamp_index": 50,
        "max_length": config["max_target_positions"],
        "no_timestamps_token_id": tokenizer.token_to_id("<|notimestamps|>"),
        "prev_sot_token_id": tokenizer.token_to_id("<|startofprev|>"),
        "suppress_tokens": settings.get("suppress_ids", []),
        **({"lang_to_id": languages, "task_to_id": tasks} if is_multilingual else {}),
        **{key: config[key] for key in shared},
    }
