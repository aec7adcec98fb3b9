"""Encoders that transformers runs, against its hidden states pooled by hand in float64."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModel, BertConfig, ModernBertConfig, MPNetConfig, Qwen3Config, T5Config

from moli.models.encoders.load import load_encoder
from moli.models.encoders.transformers_encoder import TransformersEncoder, pool
from moli.records.errors import ModelError

WORDS = ("<pad>", "<unk>", "<s>", "</s>", "one", "two", "three", "ask", ":")
TEXTS = ["one two three", "three", "two two one", ""]
SHAPE = {
    "vocab_size": len(WORDS),
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
CONFIGS = {
    "modernbert": ModernBertConfig(**SHAPE, cls_token_id=2, sep_token_id=3, local_attention=4),
    "qwen3": Qwen3Config(**SHAPE, num_key_value_heads=2, head_dim=8),
    "bert": BertConfig(**SHAPE),
}


def write(path: Path, value: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def make_encoder(
    folder: Path, kind: str, pooling: str, prompt: str = "", pooled: bool = True
) -> Path:
    """A random encoder, whose tokenizer ends texts as decoders' do."""
    torch.manual_seed(0)
    AutoModel.from_config(CONFIGS[kind]).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({w: n for n, w in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    write(folder / "config_sentence_transformers.json", {"prompts": {"query": prompt}})
    options = {"pooling_mode": pooling, "include_prompt": pooled}
    write(folder / "1_Pooling" / "config.json", options)
    return folder


def expected(folder: Path, text: str, pooling: str, skipped: int = 0) -> np.ndarray:
    """A text's vector in float64, from its hidden states, some of which do not count."""
    ids = [WORDS.index(word) for word in text.split()] + [3]
    model = AutoModel.from_pretrained(folder, dtype=torch.float64).eval()
    with torch.inference_mode():
        states = model(input_ids=torch.tensor([ids])).last_hidden_state[0].numpy()
    places = np.arange(skipped + 1, len(ids) + 1)
    vector = {
        "mean": lambda: states[skipped:].mean(0),
        "cls": lambda: states[skipped],
        "lasttoken": lambda: states[-1],
        "max": lambda: states[skipped:].max(0),
        "weightedmean": lambda: (states[skipped:] * places[:, None]).sum(0) / places.sum(),
        "mean_sqrt_len_tokens": lambda: states[skipped:].sum(0) / len(places) ** 0.5,
    }[pooling]()
    return vector / np.linalg.norm(vector)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "pooling"),
    [
        ("modernbert", "cls"),
        ("modernbert", "mean"),
        ("qwen3", "lasttoken"),
        ("qwen3", "weightedmean"),
        ("bert", "max"),
        ("bert", "mean_sqrt_len_tokens"),
    ],
)
def test_vectors_are_the_pooled_hidden_states(tmp_path: Path, kind: str, pooling: str) -> None:
    encoder = load_encoder(str(make_encoder(tmp_path, kind, pooling)))
    assert isinstance(encoder, TransformersEncoder)
    vectors = encoder.encode(TEXTS)
    truth = [expected(tmp_path, text, pooling) for text in TEXTS]
    np.testing.assert_allclose(vectors, truth, atol=1e-5)
    assert encoder.tokens(TEXTS) == 4 + 2 + 4 + 1


@pytest.mark.slow
@pytest.mark.parametrize("pooled", [True, False])
def test_a_prompt_counts_in_the_pooling_unless_the_model_says_otherwise(
    tmp_path: Path, pooled: bool
) -> None:
    encoder = load_encoder(str(make_encoder(tmp_path, "qwen3", "mean", "ask : ", pooled)))
    skipped = 0 if pooled else 2
    truth = expected(tmp_path, "ask : two one", "mean", skipped)
    np.testing.assert_allclose(encoder.encode(["two one"], "query")[0], truth, atol=1e-5)
    alone = expected(tmp_path, "two one", "mean")
    np.testing.assert_allclose(encoder.encode(["two one"], "passage")[0], alone, atol=1e-5)


def add_dense(folder: Path, **options: object) -> tuple[torch.Tensor, torch.Tensor]:
    """A linear layer from 32 to 8 that follows the pooling: its weight and bias."""
    kinds = {"Transformer": "", "Pooling": "1_Pooling", "Dense": "2_Dense"}
    rows = [{"type": f"sentence_transformers.models.{k}", "path": p} for k, p in kinds.items()]
    write(folder / "modules.json", rows)
    weight, bias = torch.randn(8, 32), torch.randn(8)
    write(folder / "2_Dense" / "config.json", {"in_features": 32, "out_features": 8, **options})
    tensors = {"linear.weight": weight, "linear.bias": bias}
    save_file(tensors, folder / "2_Dense" / "model.safetensors")
    return weight, bias


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["Tanh", "GELU"])
@pytest.mark.parametrize("as_pickle", [False, True])
def test_linear_layers_follow_the_pooling(tmp_path: Path, activation: str, as_pickle: bool) -> None:
    folder = make_encoder(tmp_path, "bert", "mean")
    name = f"torch.nn.modules.activation.{activation}"
    weight, bias = add_dense(folder, activation_function=name)
    if as_pickle:  # as older versions of sentence-transformers saved them
        (folder / "2_Dense" / "model.safetensors").unlink()
        tensors = {"linear.weight": weight, "linear.bias": bias}
        torch.save(tensors, folder / "2_Dense" / "pytorch_model.bin")
    encoder = load_encoder(str(folder))
    assert encoder.dimensions == 8
    ids = torch.tensor([[4, 5, 3]])
    model = AutoModel.from_pretrained(folder, dtype=torch.float64).eval()
    with torch.inference_mode():
        mean = model(input_ids=ids).last_hidden_state[0].mean(0)
    truth = getattr(torch.nn, activation)()(weight.double() @ mean + bias.double())
    np.testing.assert_allclose(encoder.encode(["one two"])[0], truth / truth.norm(), atol=1e-5)


@pytest.mark.slow
def test_the_positions_of_mpnet_begin_after_the_paddings(tmp_path: Path) -> None:
    config = MPNetConfig(**{**SHAPE, "pad_token_id": 1})
    folder = make_encoder(tmp_path, "bert", "mean")
    AutoModel.from_config(config).save_pretrained(folder)
    encoder = load_encoder(str(folder))
    assert encoder.tokens(["one " * 100]) == SHAPE["max_position_embeddings"] - 2
    assert np.isfinite(encoder.encode(["one " * 100])).all()


@pytest.mark.slow
@pytest.mark.parametrize("width", [31, 33])
def test_a_layer_of_another_width_does_not_fit(tmp_path: Path, width: int) -> None:
    folder = make_encoder(tmp_path, "qwen3", "mean")
    add_dense(folder, in_features=width)
    with pytest.raises(ModelError, match=f"{folder}: its files do not fit together"):
        load_encoder(str(folder))


@pytest.mark.parametrize("name", ["hidden_size", "layer_norm_eps", "num_hidden_layers"])
def test_a_configuration_that_lacks_a_number_is_refused(tmp_path: Path, name: str) -> None:
    folder = make_encoder(tmp_path, "bert", "mean")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del config[name]
    write(folder / "config.json", config)
    with pytest.raises(ModelError, match=f"do not fit together .'{name}' is missing in one"):
        load_encoder(str(folder))


@pytest.mark.parametrize(
    ("name", "content"),
    [("config.json", []), ("modules.json", [{"idx": 0}]), ("modules.json", {"a": 1})],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, name: str, content: object) -> None:
    folder = make_encoder(tmp_path, "bert", "mean")
    write(folder / name, content)
    with pytest.raises(ModelError, match="do not fit together"):
        load_encoder(str(folder))


def test_ways_of_pooling_by_hand() -> None:
    states = torch.tensor([[1.0, 8.0], [3.0, 2.0], [5.0, 5.0]])
    assert pool(states, "mean", 1).tolist() == [4.0, 3.5]
    assert pool(states, "cls", 1).tolist() == [3.0, 2.0]
    assert pool(states, "max").tolist() == [5.0, 8.0]
    assert pool(states, "lasttoken", 1).tolist() == [5.0, 5.0]
    # Weights are places in the text: (2 x 3 + 3 x 5) / 5 and (2 x 2 + 3 x 5) / 5.
    assert pool(states, "weightedmean", 1).tolist() == pytest.approx([21 / 5, 19 / 5])


def test_a_model_with_a_decoder_beside_its_encoder_is_refused(tmp_path: Path) -> None:
    folder = make_encoder(tmp_path, "bert", "mean")
    T5Config().save_pretrained(folder)
    with pytest.raises(ModelError, match="'t5' is not supported"):
        load_encoder(str(folder))
