"""Small models, and data to train them on."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

WORDS = [f"w{number}" for number in range(40)]
MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def write_encoder(folder: Path) -> str:
    """A random encoder whose vectors are means of the tokens' states."""
    write_model(folder, "bert")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    return str(folder)


def write_model(folder: Path, kind: str) -> str:
    """A random model of two layers, and a tokenizer of 44 words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import (
        BertConfig,
        BertModel,
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
    )

    torch.manual_seed(0)
    raw = Tokenizer(
        models.WordLevel({word: n for n, word in enumerate(MARKS + WORDS)}, unk_token="[UNK]")
    )
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        eos_token="[SEP]",
        model_max_length=64,
    )
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role }} {{ m.content }} {{ eos_token }} {% endfor %}"
        "{% if add_generation_prompt %}assistant {% endif %}"
    )
    tokenizer.save_pretrained(folder)
    shape = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
    }
    if kind == "bert":
        BertModel(BertConfig(**shape, hidden_dropout_prob=0.0)).save_pretrained(folder)
    else:
        config = LlamaConfig(
            **shape, num_key_value_heads=2, eos_token_id=3, bos_token_id=2, tie_word_embeddings=True
        )
        LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


def write_labelled(path: Path, count: int = 30) -> Path:
    """Texts of very different lengths, of one class if they begin with the first half of words."""
    draw = random.Random(0)
    rows = []
    for _ in range(count):
        words = draw.choices(WORDS, k=draw.randint(2, 30))
        rows.append({"text": " ".join(words), "label": "ab"[int(words[0][1:]) >= 20]})
    return _write(path, rows)


def write_conversations(path: Path, count: int = 30) -> Path:
    """Questions whose answers repeat their last words."""
    draw = random.Random(0)
    rows = []
    for _ in range(count):
        words = draw.choices(WORDS, k=draw.randint(4, 20))
        rows.append(
            {
                "messages": [
                    {"role": "user", "content": " ".join(words)},
                    {"role": "assistant", "content": " ".join(words[-draw.randint(1, 4) :])},
                ]
            }
        )
    return _write(path, rows)


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    return path
