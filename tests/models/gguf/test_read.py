"""GGUF files made folders: the weights and tokens that transformers reads from them itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from gguf.quants import quantize
from models.gguf.test_write import LLAMA3, random_model
from models.gguf_files import write_gguf as write_plainly
from safetensors.torch import load_file

from moli.models.gguf.read import read_gguf
from moli.models.gguf.write import write_gguf
from moli.models.tokenizers import load_tokenizer
from moli.models.weights.loading import folder_of, load_model
from moli.records.errors import ModelError

STARTER = "builtin:starter"
PUBLISHED = {"rope_theta": 500_000.0, "original_max_position_embeddings": 8192}
TEXTS = ["The sea was calm, and 27 boats.", "  it's\n\n\t12,345.67 ", "北京的冬天 🙂 naïve", ""]


def read(file: Path, folder: Path) -> Path:
    folder.mkdir()
    read_gguf(file, folder)
    return folder


@pytest.mark.slow
def test_a_written_model_is_read_back_bit_for_bit(tmp_path: Path) -> None:
    source = folder_of(STARTER)
    folder = read(write_plainly(source, tmp_path / "file.gguf"), tmp_path / "folder")
    expected = load_model("AutoModelForCausalLM", source, dtype=torch.float32)
    model = load_model("AutoModelForCausalLM", str(folder), dtype=torch.float32)
    for name, weight in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], weight), name
    theirs, ours = load_tokenizer(STARTER), load_tokenizer(str(folder))
    for text in TEXTS:
        assert ours(text)["input_ids"] == theirs(text)["input_ids"]
        assert ours.decode(ours(text)["input_ids"]) == theirs.decode(theirs(text)["input_ids"])
    assert ours.chat_template == theirs.chat_template
    assert ours.eos_token_id == theirs.eos_token_id


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("llama", {"attention_bias": True}),
        ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 5e3, "factor": 2.0}}),
        ("llama", {"rope_parameters": LLAMA3 | PUBLISHED}),
        ("llama", {"rope_parameters": LLAMA3 | PUBLISHED | {"factor": 32.0}}),
        ("qwen2", {"tie_word_embeddings": True}),
        ("qwen3", {"head_dim": 32}),
    ],
)
def test_each_family_computes_what_the_model_it_was_written_from_does(
    tmp_path: Path, kind: str, values: dict[str, Any]
) -> None:
    source = random_model(tmp_path / "source", kind, **values)
    write_gguf(source, tmp_path / "file.gguf", "f32")
    folder = read(tmp_path / "file.gguf", tmp_path / "folder")
    ids = torch.tensor([load_tokenizer(str(folder))("The cat sat on the mat.")["input_ids"]])
    outputs = []
    for each in (source, folder):
        model = load_model("AutoModelForCausalLM", str(each), dtype=torch.float32)
        with torch.inference_mode():
            outputs.append(model(ids).logits)
    assert torch.equal(*outputs)


@pytest.mark.slow
def test_rotary_positions_of_other_settings_are_told(tmp_path: Path) -> None:
    source = random_model(tmp_path / "source", "llama", rope_parameters=LLAMA3)
    write_gguf(source, tmp_path / "file.gguf", "f32")
    with pytest.raises(ModelError, match=r"\(rope_freqs.weight\) are not those of Llama 3"):
        read(tmp_path / "file.gguf", tmp_path / "folder")


@pytest.mark.slow
def test_weights_in_8_bits_are_those_that_transformers_reads_from_the_file(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, GgufConfig

    source = random_model(tmp_path / "source", "llama")
    write_gguf(source, tmp_path / "file.gguf", "q8_0")
    weights = load_file(read(tmp_path / "file.gguf", tmp_path / "folder") / "model.safetensors")
    theirs: Any = AutoModelForCausalLM.from_pretrained(
        tmp_path,
        gguf_file="file.gguf",
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
    )
    for name, weight in weights.items():
        assert torch.equal(theirs.state_dict()[name], weight), name


def test_weights_in_4_bits_are_those_of_a_derivation_in_64_bits(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    blocks = quantize(random.normal(0, 1, (64, 64)).astype(np.float32), GGMLQuantizationType.Q4_1)
    folder = read(_small_file(tmp_path / "file.gguf", blocks), tmp_path / "folder")
    raw = blocks.reshape(-1, 20)  # a scale, a minimum, and 32 numbers of 4 bits
    scale, minimum = (raw[:, at : at + 2].copy().view(np.float16) for at in (0, 2))
    quants = np.concatenate([raw[:, 4:] & 15, raw[:, 4:] >> 4], axis=1).astype(np.float64)
    exact = (quants * scale.astype(np.float64) + minimum.astype(np.float64)).reshape(64, 64)
    weight = load_file(folder / "model.safetensors")["model.layers.0.mlp.up_proj.weight"].numpy()
    assert np.abs(weight - exact).max() <= 2.0**-22  # one rounding of a sum below 8


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"architecture": "bloom"}, "models of the kind bloom are not converted"),
        ({"pre": "tekken"}, r"its kind of tokenizer \(tekken\) is not converted"),
        ({"extra": "blk.0.ssm_a.weight"}, "its weight blk.0.ssm_a.weight is not converted"),
    ],
)
def test_what_is_not_converted_is_told(tmp_path: Path, change: dict[str, str], part: str) -> None:
    blocks = quantize(np.zeros((64, 64), np.float32), GGMLQuantizationType.Q4_1)
    file = _small_file(tmp_path / "file.gguf", blocks, **change)
    with pytest.raises(ModelError, match=part):
        read(file, tmp_path / "folder")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_a_file_that_was_cut_off_is_told(tmp_path: Path, share: float) -> None:
    blocks = quantize(np.zeros((64, 64), np.float32), GGMLQuantizationType.Q4_1)
    file = _small_file(tmp_path / "file.gguf", blocks)
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    with pytest.raises(ModelError, match="not a whole GGUF file"):
        read(file, tmp_path / "folder")


def _small_file(
    file: Path, blocks: Any, *, architecture: str = "llama", pre: str = "smollm", extra: str = ""
) -> Path:
    """A model of one layer with one matrix in 4 bits; it has no other weights."""
    writer = GGUFWriter(file, architecture)
    writer.add_context_length(64)
    writer.add_embedding_length(64)
    writer.add_block_count(1)
    writer.add_feed_forward_length(64)
    writer.add_head_count(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(["a", "b", "ab"])
    writer.add_token_merges(["a b"])
    writer.add_tensor("blk.0.ffn_up.weight", blocks, raw_dtype=GGMLQuantizationType.Q4_1)
    if extra:
        writer.add_tensor(extra, np.zeros((2, 2), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert GGUFReader(file).tensors
    return file
