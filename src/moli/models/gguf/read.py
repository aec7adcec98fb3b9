"""GGUF files made folders of transformers, which can be trained: the inverse of `write`.

read_gguf(Path("smollm2.gguf"), Path("smollm2"))
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from moli.models.gguf.word_patterns import WORD_PATTERNS
from moli.models.weights.converted import converted_folder
from moli.models.weights.json_files import write_json
from moli.records.errors import ModelError

_CLASSES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
_SPLIT = {name: pattern for pattern, name in WORD_PATTERNS.items()}
_OTHER = "Name the folder or the name on the hub that it was made from."
_ROPE_FACTORS = "rope_freqs.weight"
_LLAMA3_ROPE = {
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
_MODEL = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


class _File:
    """A GGUF file: its metadata and tensors.

    Raises:
        ModelError: it cannot be read, or has a model of a kind that is not converted.
    """

    def __init__(self, path: Path) -> None:
        from gguf import GGUFReader

        try:
            self._reader = GGUFReader(path)
        except (ValueError, IndexError, OSError) as error:
            raise ModelError(f"not a whole GGUF file ({error})", str(path), _OTHER) from error
        self.path = path
        self.architecture = str(self.value("general.architecture", ""))
        if self.architecture not in _CLASSES:
            known = ", ".join(_CLASSES)
            raise self.error(
                f"models of the kind {self.architecture} are not converted, only {known}"
            )
        self.tensors = {tensor.name: tensor for tensor in self._reader.tensors}

    def value(self, key: str, default: Any = None) -> Any:
        """A value of the metadata."""
        field = self._reader.get_field(key)
        return default if field is None else field.contents()

    def size(self, key: str, default: Any = None) -> Any:
        """A value of the metadata that is about the architecture.

        Raises:
            ModelError: the file lacks it, and it has no default.
        """
        value = self.value(f"{self.architecture}.{key}", default)
        if value is None:
            raise self.error(f"the file lacks {self.architecture}.{key}")
        return value

    def error(self, what: str) -> ModelError:
        """An error that is about this file."""
        return ModelError(what, str(self.path), _OTHER)


def read_gguf(path: Path, folder: Path) -> None:
    """Write the model in a GGUF file as a folder of transformers, with weights in 32 bits.

    Raises:
        ModelError: the model or its tokenizer is of a kind that is not converted, or the file is
            damaged.
        OSError: the folder cannot be written.
    """
    file = _File(path)
    tokenizer = _make_tokenizer(file)
    config = _config(file)
    save_file(dict(_weights(file, config)), folder / "model.safetensors", {"format": "pt"})
    write_json(folder / "config.json", config)
    ids = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    write_json(folder / "generation_config.json", ids)
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    write_json(folder / "tokenizer_config.json", _tokenizer_settings(file, tokenizer, ids))


def trainable_folder(path: Path) -> Path:
    """The folder made from a GGUF file, which is converted once for the machine.

    Raises:
        ModelError: there is no such file, or it cannot be converted.
    """
    if not path.is_file():
        raise ModelError("no such file", str(path), "Name the .gguf file itself.")
    return converted_folder(path, lambda folder: read_gguf(path, folder))


def _config(file: _File) -> dict[str, Any]:
    """The content of config.json."""
    heads = file.size("attention.head_count")
    hidden = file.size("embedding_length")
    special = {
        f"{kind}_token_id": file.value(f"tokenizer.ggml.{name}_token_id")
        for kind, name in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"))
    }
    return {
        "architectures": [_CLASSES[file.architecture]],
        "attention_bias": "blk.0.attn_q.bias" in file.tensors,
        "dtype": "float32",
        "head_dim": file.size("attention.key_length", hidden // heads),
        "hidden_act": "silu",
        "hidden_size": hidden,
        "intermediate_size": file.size("feed_forward_length"),
        "max_position_embeddings": file.size("context_length"),
        "mlp_bias": "blk.0.ffn_up.bias" in file.tensors,
        "model_type": file.architecture,
        "num_attention_heads": heads,
        "num_hidden_layers": file.size("block_count"),
        "num_key_value_heads": file.size("attention.head_count_kv", heads),
        "rms_norm_eps": float(f"{file.size('attention.layer_norm_rms_epsilon'):.6g}"),
        "rope_parameters": _rope(file),
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "vocab_size": len(file.value("tokenizer.ggml.tokens")),
        **special,
    }


def _rope(file: _File) -> dict[str, Any]:
    """The rotary positions, as a configuration of transformers has them.

    Raises:
        ModelError: they are of a kind that is not converted.
    """
    kind = file.size("rope.scaling.type", "none")
    if kind not in ("none", "linear", "yarn"):
        raise file.error(f"rotary positions of the kind {kind} are not converted")
    rope = {"rope_theta": file.size("rope.freq_base", 10_000.0), "rope_type": "default"}
    if _ROPE_FACTORS in file.tensors:
        return rope | _llama3_rope(file, rope["rope_theta"])
    if kind != "none":
        rope |= {"rope_type": kind, "factor": file.size("rope.scaling.factor")}
    if kind == "yarn":
        original = file.size("rope.scaling.original_context_length", 0)
        rope |= {"original_max_position_embeddings": original or file.size("context_length")}
    return rope


def _llama3_rope(file: _File, theta: float) -> dict[str, Any]:
    """The settings by which Llama 3.1 and later stretch the rotary positions.

    A file has no settings but the factors that follow from them, one for each frequency.

    Raises:
        ModelError: other settings were used.
    """
    from moli.models.gguf.write import llama3_factors

    factors = np.array(file.tensors[_ROPE_FACTORS].data, np.float32)
    rope = {"rope_type": "llama3", "factor": float(factors.max()), **_LLAMA3_ROPE}
    expected = llama3_factors({**rope, "rope_theta": theta}, 2 * len(factors))
    if not np.allclose(factors, expected, rtol=1e-5):
        raise file.error(f"its rotary positions ({_ROPE_FACTORS}) are not those of Llama 3")
    return rope


def _weights(file: _File, config: dict[str, Any]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """The weights by transformers' names and in its layout, one after another, in 32 bits."""
    from gguf.quants import dequantize

    for name, tensor in file.tensors.items():
        if name == _ROPE_FACTORS:
            continue  # it is in the configuration
        part, _, kind = name.rpartition(".")
        if part in _MODEL:
            known = _MODEL[part]
        else:
            _, layer, part = part.split(".", 2) if part.count(".") == 2 else ("", "", part)
            if not layer or part not in _LAYER:
                raise file.error(f"its weight {name} is not converted")
            known = f"model.layers.{layer}.{_LAYER[part]}"
        try:
            weight = dequantize(tensor.data, tensor.tensor_type)
        except NotImplementedError as error:
            raise file.error(f"its weight {name} is of a kind that is not converted") from error
        if file.architecture == "llama" and part in ("attn_q", "attn_k"):
            heads = "num_attention_heads" if part == "attn_q" else "num_key_value_heads"
            weight = _halves_apart(weight, config[heads])
        yield f"{known}.{kind}", np.ascontiguousarray(weight, np.float32)


def _halves_apart(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Rows of queries or keys whose rotary pairs lie half a head apart, from side by side."""
    pairs = weight.reshape(heads, -1, 2, *weight.shape[1:])
    return pairs.swapaxes(1, 2).reshape(weight.shape)


def _make_tokenizer(file: _File) -> Tokenizer:
    """The tokenizer of a file.

    Raises:
        ModelError: it is of a kind that is not converted.
    """
    from gguf import TokenType

    splitting = file.value("tokenizer.ggml.pre", "default")
    is_known = splitting in ("gpt-2", "smollm", *_SPLIT)
    if file.value("tokenizer.ggml.model") != "gpt2" or not is_known:
        raise file.error(f"its kind of tokenizer ({splitting}) is not converted")
    tokens = file.value("tokenizer.ggml.tokens")
    types = file.value("tokenizer.ggml.token_type", [TokenType.NORMAL] * len(tokens))
    merges = [tuple(merge.split(" ", 1)) for merge in file.value("tokenizer.ggml.merges")]
    numbered = list(enumerate(zip(tokens, types, strict=True)))
    vocabulary = {text: number for number, (text, kind) in numbered if kind != TokenType.UNUSED}
    llama = splitting == "llama-bpe"
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=llama))
    if splitting == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    if splitting in _SPLIT:
        split = pre_tokenizers.Split(Regex(_SPLIT[splitting]), "isolated")
        steps = [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    else:
        steps = [pre_tokenizers.ByteLevel(add_prefix_space=False)]
        if splitting == "smollm":
            steps = [pre_tokenizers.Digits(individual_digits=True), *steps]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens(
        [
            AddedToken(text, normalized=False, special=kind == TokenType.CONTROL)
            for _, (text, kind) in numbered
            if kind in (TokenType.CONTROL, TokenType.USER_DEFINED)
        ]
    )
    return tokenizer


def _tokenizer_settings(
    file: _File, tokenizer: Tokenizer, ids: dict[str, int | None]
) -> dict[str, Any]:
    """The content of tokenizer_config.json, with the chat template."""
    named = ids | {"unk_token_id": file.value("tokenizer.ggml.unknown_token_id")}
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": file.size("context_length"),
        "clean_up_tokenization_spaces": False,
    }
    for key, token_id in named.items():
        if token_id is not None:
            settings[key.removesuffix("_id")] = tokenizer.id_to_token(token_id)
    if template := file.value("tokenizer.chat_template"):
        settings["chat_template"] = template
    return settings
