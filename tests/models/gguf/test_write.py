"""GGUF files that are written here: llama.cpp computes with them what transformers does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from moli.models.engine.engine import Engine
from moli.models.engine.worker import EngineWorker
from moli.models.gguf.write import GgufPrecision, write_gguf
from moli.models.protocols.backend import complete
from moli.models.tokenizers import load_tokenizer
from moli.models.weights.loading import folder_of
from moli.records.errors import ModelError
from moli.records.generation import Request, Sampling

pytest.importorskip("llama_cpp", reason="pip install 'moli[gguf]'")

from moli.models.gguf.runner import load_llama_cpp_runner

STARTER = "builtin:starter"
TEXT = "Once there was a cat, and the dog said to the cat that the sea was calm. " * 12
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def random_model(folder: Path, kind: str, **values: Any) -> Path:
    """A small model with the starter's tokenizer; weights larger than at a training's start."""
    import transformers

    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(
        kind, vocab_size=8200, hidden_size=64, num_hidden_layers=2, intermediate_size=96,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=4096,
        eos_token_id=2, bos_token_id=0, **values,
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1 or "bias" in name:
                weight.normal_(0, 0.25)
    model.save_pretrained(folder)
    load_tokenizer(STARTER).save_pretrained(folder)
    return folder


def answer(file: Path, tokens: int) -> list[int]:
    tokenizer = load_tokenizer(f"gguf:{file}")
    worker = EngineWorker(Engine(load_llama_cpp_runner(str(file)), tokenizer, max_model_len=1024))
    ids = tokenizer(TEXT)["input_ids"]
    [completion] = complete(worker, [Request(ids, Sampling(tokens))], None)
    worker.close()
    return list(completion.ids)


@torch.inference_mode()
def expected(folder: Path, tokens: int) -> list[int]:
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder).float().eval()
    ids = load_tokenizer(str(folder))(TEXT)["input_ids"]
    options: Any = {"max_new_tokens": tokens, "do_sample": False, "pad_token_id": 3}
    return list(model.generate(torch.tensor([ids]), **options)[0, len(ids) :].tolist())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("llama", {}),
        ("llama", {"rope_parameters": LLAMA3, "attention_bias": True}),
        ("mistral", {"tie_word_embeddings": True}),
        ("qwen2", {}),
        ("qwen3", {"head_dim": 32}),
    ],
    ids=["llama", "llama 3.1", "mistral", "qwen2", "qwen3"],
)
def test_greedy_answers_are_those_of_transformers(
    kind: str, values: dict[str, Any], tmp_path: Path
) -> None:
    folder = random_model(tmp_path / "模 型", kind, **values)
    write_gguf(folder, tmp_path / "一 个.gguf", "f32")
    assert answer(tmp_path / "一 个.gguf", 16) == expected(folder, 16)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["f16", "bf16", "q8_0"])
def test_the_starter_writes_the_same_with_fewer_bits(
    precision: GgufPrecision, tmp_path: Path
) -> None:
    folder, file = Path(folder_of(STARTER)), tmp_path / "starter.gguf"
    write_gguf(folder, file, precision)
    tokens = 16 if precision == "bf16" else 4  # which the starter has; others round it
    assert answer(file, tokens) == expected(folder, tokens)
    own, written = load_tokenizer(str(folder)), load_tokenizer(f"gguf:{file}")
    talk = [{"role": "user", "content": "你好, <|im_start|>?"}]
    rendered = [
        each.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
        for each in (own, written)
    ]
    assert rendered[0] == rendered[1]


def test_what_is_not_converted_is_refused(tmp_path: Path) -> None:
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path / "gpt2"
    GPT2LMHeadModel(GPT2Config(n_embd=8, n_head=1, n_layer=1, vocab_size=9000)).save_pretrained(
        folder
    )
    tokenizer = load_tokenizer(STARTER)
    tokenizer.save_pretrained(folder)
    with pytest.raises(ModelError, match="models of the kind gpt2 are not converted, only llama"):
        write_gguf(folder, tmp_path / "x.gguf", "f16")
    other = random_model(tmp_path / "other", "llama")
    tokenizer.backend_tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save_pretrained(other)
    with pytest.raises(ModelError, match="its tokenizer is of a kind that is not converted"):
        write_gguf(other, tmp_path / "x.gguf", "f16")
