"""The tokenizer of a model has no more tokens than the model has embeddings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from training.small_models import write_labelled, write_model

from moli.models.backend import load_base_model
from moli.models.tokenizers import load_tokenizer
from moli.models.weights.loading import load_model
from moli.records.errors import ModelError
from moli.training.checks.preflight import preflight
from moli.training.recipes.recipe import make_recipe

MISSING = "its tokenizer has 45 tokens, but the model has embeddings for 44"


def add_token(folder: str) -> str:
    tokenizer = load_tokenizer(folder)
    tokenizer.add_tokens(["<|part|>"])
    tokenizer.save_pretrained(folder)
    return folder


def test_a_token_without_an_embedding_is_an_error_before_anything_runs(tmp_path: Path) -> None:
    base = add_token(write_model(tmp_path / "模 型", "llama"))
    with pytest.raises(ModelError, match=MISSING):
        load_base_model(base)
    encoder = add_token(write_model(tmp_path / "encoder", "bert"))
    data = write_labelled(tmp_path / "data.jsonl")
    recipe = make_recipe({"task": "classification", "base": encoder, "data": str(data)})
    report = preflight(recipe)
    assert (report.ok, report.findings[0].what) == (False, MISSING)


def test_embeddings_without_a_token_are_padding(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    base = write_model(tmp_path / "base", "llama")
    model = AutoModelForCausalLM.from_pretrained(base)
    model.resize_token_embeddings(64)
    model.save_pretrained(base)
    assert len(load_tokenizer(add_token(base))) == 45


def test_weights_of_another_size_than_the_configuration_says_are_one_line(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", "llama")
    config = json.loads((tmp_path / "base" / "config.json").read_text())
    (tmp_path / "base" / "config.json").write_text(json.dumps(config | {"vocab_size": 60}))
    with pytest.raises(ModelError, match="its weights have other sizes"):
        load_model("AutoModelForCausalLM", base)
