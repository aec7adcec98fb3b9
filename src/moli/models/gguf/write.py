"""Language models of transformers written as GGUF files, which llama.cpp and Ollama run.

write_gguf(Path("merged"), Path("support.gguf"), "q8_0")
"""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from moli.models.gguf.tokenizer import load_gguf_tokenizer
from moli.models.gguf.word_patterns import WORD_PATTERNS
from moli.models.weights.loading import load_config, load_pretrained
from moli.records.errors import ModelError

GgufPrecision = Literal["f16", "bf16", "q8_0", "f32"]
_ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
_CONVERTER = "Export it with --merge, and try llama.cpp's convert_hf_to_gguf.py on the folder."
_PROBES = (
    "The sea was calm, and 27 boats lay in the harbour.",
    "  two spaces,\n\n\tand it's not \"I'll\"   done ",
    "北京的冬天很冷，但是没有下雪。「你好」",
    "naïve façade 🙂🙃 Ünïcödé 12,345.67",
)


def write_gguf(folder: Path, file: Path, precision: GgufPrecision, name: str = "") -> None:
    """Write the model in a folder, with its tokenizer and chat template, as a GGUF file.

    Args:
        precision: type of the matrices; vectors are always written in 32 bits.
        name: the model's name in the file.

    Raises:
        ModelError: the model or its tokenizer is of a kind that is not converted, or llama.cpp
            would read other tokens than transformers.
        OSError: the file cannot be written.
    """
    from gguf import GGUFWriter

    config = load_config(str(folder))
    tokenizer = load_pretrained("AutoTokenizer", str(folder), "its tokenizer cannot be loaded")
    architecture = _ARCHITECTURES.get(config.model_type)
    if architecture is None:
        known = ", ".join(_ARCHITECTURES)
        what = f"models of the kind {config.model_type} are not converted, only {known}"
        raise ModelError(what, str(folder), _CONVERTER)
    writer = GGUFWriter(file, architecture)
    writer.add_name(name or folder.name)
    _add_shape(writer, config)
    _add_tokenizer(writer, tokenizer, config)
    _add_weights(writer, folder, config, precision)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    _check_tokens(file, tokenizer)


def _add_shape(writer: Any, config: Any) -> None:
    """Write the sizes of a model, and how positions are encoded."""
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    rope = config.rope_parameters
    writer.add_rope_freq_base(rope["rope_theta"])
    kind = rope.get("rope_type", "default")
    if kind == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_factors(rope, head_dim))
    elif kind in ("linear", "yarn"):
        from gguf import RopeScalingType

        writer.add_rope_scaling_type(RopeScalingType(kind))
        writer.add_rope_scaling_factor(rope["factor"])
        if kind == "yarn":
            original = rope.get("original_max_position_embeddings")
            writer.add_rope_scaling_orig_ctx_len(original or config.max_position_embeddings)
    elif kind != "default":
        raise ModelError(f"rotary positions of the kind {kind} are not converted", fix=_CONVERTER)


def llama3_factors(rope: Any, head_dim: int) -> NDArray[np.float32]:
    """Divisors of the rotary frequencies of Llama 3.1, [head_dim / 2]: long waves are stretched."""
    factor, original = rope["factor"], rope["original_max_position_embeddings"]
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    frequencies = rope["rope_theta"] ** -(np.arange(0, head_dim, 2) / head_dim)
    turns = original * frequencies / (2 * math.pi)  # in the original context
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    factors: NDArray[np.float32] = (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)
    return factors


def _add_tokenizer(writer: Any, tokenizer: Any, config: Any) -> None:
    """Write the tokens with their merges, the special ones, and the chat template."""
    from gguf import TokenType

    state = json.loads(tokenizer.backend_tokenizer.to_str())
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_splitting_of(state))
    pieces = {token_id: piece for piece, token_id in tokenizer.get_vocab().items()}
    added = tokenizer.added_tokens_decoder
    types = []
    for token_id in range(config.vocab_size):
        if token_id in added:
            special = added[token_id].special
            types.append(TokenType.CONTROL if special else TokenType.USER_DEFINED)
        else:
            types.append(TokenType.NORMAL if token_id in pieces else TokenType.UNUSED)
    writer.add_token_list([pieces.get(each, f"[PAD{each}]") for each in range(config.vocab_size)])
    writer.add_token_types(types)
    merges = state["model"]["merges"]
    writer.add_token_merges([each if isinstance(each, str) else " ".join(each) for each in merges])
    for kind in ("bos", "eos", "pad", "unk"):
        token_id = getattr(tokenizer, f"{kind}_token_id")
        if token_id is not None:
            getattr(writer, f"add_{kind}_token_id")(token_id)
    ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    for token_id in ends:
        if token_id not in (None, tokenizer.eos_token_id):
            writer.add_eot_token_id(token_id)
            break  # there is room for one; llama.cpp knows the usual others by their text
    ids = tokenizer("a")["input_ids"]
    writer.add_add_bos_token(bool(ids) and ids[0] == tokenizer.bos_token_id)
    writer.add_add_eos_token(len(ids) > 1 and ids[-1] == tokenizer.eos_token_id)
    if template := tokenizer.chat_template:
        named = isinstance(template, dict)
        writer.add_chat_template(
            [{"name": key, "template": text} for key, text in template.items()]
            if named
            else template
        )


def _splitting_of(state: Any) -> str:
    """llama.cpp's name for how a tokenizer splits a text into words.

    Raises:
        ModelError: it is of a kind that is not converted.
    """
    splitter = state["pre_tokenizer"] or {}
    steps = splitter.get("pretokenizers", [splitter])
    *first, last = steps
    if state["model"]["type"] == "BPE" and last.get("type") == "ByteLevel":
        if last.get("use_regex", True) and not last.get("add_prefix_space"):
            if not first:
                return "gpt-2"
            if [each["type"] for each in first] == ["Digits"] and first[0]["individual_digits"]:
                return "smollm"
        elif len(first) == 1 and first[0]["type"] == "Split":
            pattern = first[0]["pattern"].get("Regex")
            if pattern in WORD_PATTERNS:
                return WORD_PATTERNS[pattern]
    raise ModelError("its tokenizer is of a kind that is not converted", fix=_CONVERTER)


def _add_weights(writer: Any, folder: Path, config: Any, precision: GgufPrecision) -> None:
    """Write a model's weights by the names and in the layout that llama.cpp has for them."""
    from gguf import MODEL_ARCH_NAMES, GGMLQuantizationType, LlamaFileType, get_tensor_name_map
    from gguf.quants import quantize

    kind = next(each for each, name in MODEL_ARCH_NAMES.items() if name == writer.arch)
    names = get_tensor_name_map(kind, config.num_hidden_layers)
    is_whole = precision == "f32"
    writer.add_file_type(
        LlamaFileType.ALL_F32 if is_whole else LlamaFileType[f"MOSTLY_{precision.upper()}"]
    )
    for known, weight in _read_weights(folder):
        if known == "lm_head.weight" and config.tie_word_embeddings:
            continue
        name = names.get_name(known, (".weight", ".bias"))
        if name is None:
            raise ModelError(f"its weight {known} is not converted", str(folder), _CONVERTER)
        array = _in_layout(name, weight, config)
        target = GGMLQuantizationType[precision.upper()] if array.ndim > 1 else 0
        if target == GGMLQuantizationType.Q8_0 and array.shape[-1] % 32:
            target = GGMLQuantizationType.F16  # its blocks have 32 numbers
        target = GGMLQuantizationType(target)
        writer.add_tensor(name, quantize(array, target), raw_dtype=target)


def _read_weights(folder: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """A model's weights by name, in 32 bits, one after another."""
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118
                yield name, file.get_tensor(name).to(torch.float32).numpy()


def _in_layout(name: str, weight: NDArray[np.float32], config: Any) -> NDArray[np.float32]:
    """A weight as llama.cpp has it.

    For Llama, rotary pairs of queries and keys lie side by side, not half a head apart.
    """
    kind = name.split(".")[-2]
    if _ARCHITECTURES[config.model_type] == "llama" and kind in ("attn_q", "attn_k"):
        heads = config.num_attention_heads if kind == "attn_q" else config.num_key_value_heads
        halves = weight.reshape(heads, 2, -1, *weight.shape[1:])
        weight = halves.swapaxes(1, 2).reshape(weight.shape)
    return np.ascontiguousarray(weight)


def _check_tokens(file: Path, tokenizer: Any) -> None:
    """Check that llama.cpp reads the same tokens as transformers, if it is installed.

    Raises:
        ModelError: it reads others.
    """
    if importlib.util.find_spec("llama_cpp") is None:
        return
    written = load_gguf_tokenizer(str(file))
    for text in _PROBES:
        expected = tokenizer(text, add_special_tokens=False)["input_ids"]
        if written(text, add_special_tokens=False)["input_ids"] != expected:
            raise ModelError(
                f"llama.cpp would read other tokens than transformers, as in {text!r}",
                fix=_CONVERTER,
            )
