"""Models of transformers written as GGUF files, in 32 bits, as llama.cpp's own converter does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from gguf import MODEL_ARCH_NAMES, GGUFWriter, TokenType, get_tensor_name_map


def write_gguf(folder: str, file: Path) -> Path:
    """A model's folder with its tokenizer, byte-level pieces cut as GPT-2's, as a file."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(folder).float()
    writer = GGUFWriter(file, model.config.model_type)
    _shape(writer, model.config)
    _words(writer, AutoTokenizer.from_pretrained(folder), model.config)
    kind = next(each for each, name in MODEL_ARCH_NAMES.items() if name == writer.arch)
    names = get_tensor_name_map(kind, model.config.num_hidden_layers)
    for known, weight in model.named_parameters():  # what is tied is there once
        name = names.get_name(known, (".weight", ".bias"))
        assert name, known
        writer.add_tensor(name, _laid_out(name, weight.detach().numpy(), model.config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _shape(writer: GGUFWriter, config: Any) -> None:
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_file_type(0)
    if config.model_type == "mamba":
        writer.add_context_length(1 << 20)
        writer.add_feed_forward_length(0)
        writer.add_head_count(0)
        writer.add_ssm_conv_kernel(config.conv_kernel)
        writer.add_ssm_inner_size(config.intermediate_size)
        writer.add_ssm_state_size(config.state_size)
        writer.add_ssm_time_step_rank(config.time_step_rank)
        writer.add_layer_norm_rms_eps(config.layer_norm_epsilon)
        return
    writer.add_context_length(config.max_position_embeddings)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)


def _words(writer: GGUFWriter, tokenizer: Any, config: Any) -> None:
    pieces = tokenizer.convert_ids_to_tokens(list(range(config.vocab_size)))
    special = set(tokenizer.all_special_tokens) | set(tokenizer.get_added_vocab())
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(pieces)
    writer.add_token_types(
        [TokenType.CONTROL if each in special else TokenType.NORMAL for each in pieces]
    )
    writer.add_token_merges([" ".join(each) for each in merges])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_add_bos_token(False)
    writer.add_chat_template(tokenizer.chat_template)


def _laid_out(name: str, weight: np.ndarray, config: Any) -> np.ndarray:
    """A weight as llama.cpp has it."""
    if name.endswith("ssm_conv1d.weight"):
        weight = weight.squeeze(1)
    if name.endswith("ssm_a"):
        weight = -np.exp(weight)
    if name.endswith(("attn_q.weight", "attn_k.weight")):
        queries = name.endswith("q.weight")
        heads = config.num_attention_heads if queries else config.num_key_value_heads
        # Pairs that are turned together lie side by side, and not half a head apart.
        halves = weight.reshape(heads, 2, -1, weight.shape[1])
        weight = halves.swapaxes(1, 2).reshape(weight.shape)
    return np.ascontiguousarray(weight)
