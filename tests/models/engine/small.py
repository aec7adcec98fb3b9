"""Small random models of several makes, and adapters for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

VOCABULARY, MAX_MODEL_LEN = 60, 128


class Letters:
    """A tokenizer of single characters, as far as the engine needs one: id n is character n."""

    eos_token_id = 0
    chat_template = None

    def decode(self, ids: Any, **_: Any) -> str:
        return "".join(chr(ord("0") + int(each)) for each in ids)


def config(kind: str) -> Any:
    import transformers

    shape: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": MAX_MODEL_LEN,
        "eos_token_id": 0,
        "pad_token_id": 0,
        "bos_token_id": 1,
    }
    grouped = shape | {"num_key_value_heads": 2}
    if kind == "llama":
        return transformers.LlamaConfig(**grouped, tie_word_embeddings=True)
    if kind == "qwen3":
        return transformers.Qwen3Config(**grouped, head_dim=8)
    if kind == "mistral":  # each token sees the 8 before it
        return transformers.MistralConfig(**grouped, sliding_window=8)
    if kind == "gpt2":  # trained position embeddings, and layers that are no torch.nn.Linear
        return transformers.GPT2Config(
            vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=MAX_MODEL_LEN,
            eos_token_id=0, bos_token_id=1,
        )  # fmt: skip
    if kind == "gpt_neox":  # biases
        return transformers.GPTNeoXConfig(**shape)
    if kind == "phi":
        return transformers.PhiConfig(**shape)
    raise ValueError(kind)


KINDS = ("llama", "qwen3", "mistral", "gpt2", "gpt_neox", "phi")


def write(folder: Path, kind: str) -> str:
    """A random model; its weights are larger than at a training's start, so that it is not dull."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config(kind))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1 and "norm" not in name:
                weight.normal_(0, 0.25)
    model.save_pretrained(folder)
    return str(folder)


def adapt(base: str, folder: Path, seed: int, rank: int = 4, **options: Any) -> Path:
    """A random LoRA adapter in PEFT's layout."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base)
    config = LoraConfig(**{"r": rank, "lora_alpha": 8, "target_modules": "all-linear"} | options)
    adapted = get_peft_model(model, config)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_" in name:
                weight.normal_(0, 0.3)
    adapted.save_pretrained(str(folder))
    return folder


def expected(base: str, prompts: list[list[int]], tokens: int, adapter: Path | None = None) -> Any:
    """Token ids by transformers' (and PEFT's) own greedy decoding, prompt by prompt."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(base).eval()
    if adapter:
        model = PeftModel.from_pretrained(model, str(adapter)).eval()
    generated = []
    for ids in prompts:
        whole = model.generate(
            input_ids=torch.tensor([ids]), max_new_tokens=tokens, do_sample=False, pad_token_id=0
        )
        generated.append(tuple(whole[0, len(ids) :].tolist()))
    return generated
