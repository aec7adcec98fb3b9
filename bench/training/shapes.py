"""The causal model that speed is measured on: SmolLM2 if it was fetched, else one of its shape.

With random weights a step takes as long as with real ones. The model of that shape has 135 million
parameters, a byte-level BPE trained on the given text, and a ChatML template. It is written once,
to bench/.work/llama-135m, as bf16, as such models come. Prints the folder of the model.

Use: python bench/training/shapes.py [--data ../shared/data/alpaca_en/train.jsonl.gz]
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[2]
DATA = REPO.parent / "shared" / "data" / "alpaca_en" / "train.jsonl.gz"
WORK = REPO / "bench" / ".work"
VOCABULARY = 49152
SEED = 0
PAD, BEGIN, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
# The markers say which tokens are the assistant's: its words and the token that ends its turn.
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def base_model(data: Path = DATA, work: Path = WORK) -> Path:
    """Folder of the fetched SmolLM2; without it, of a model of its shape."""
    from moli.models.weights.known import installed_folder

    return installed_folder("smollm2") or llama_135m(data, work)


def llama_135m(data: Path = DATA, work: Path = WORK) -> Path:
    """The model's folder, made from the texts in `data` if it is not there yet."""
    folder = work / "llama-135m"
    if folder.exists():
        return folder
    if not data.exists():
        sys.exit(f"skipped: {data} is not there, so there is no text to learn a vocabulary from")
    work.mkdir(parents=True, exist_ok=True)
    (work / ".gitignore").write_text("*\n", encoding="utf-8")  # made again at will
    part = folder.with_suffix(".part")  # so that, if interrupted, there is no half of a folder
    tokenizer = train_tokenizer(texts(data))
    tokenizer.save_pretrained(part)
    model(tokenizer).save_pretrained(part)
    return part.rename(folder)


def texts(path: Path) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            yield from (value for value in row.values() if isinstance(value, str) and value)


def train_tokenizer(some: Iterator[str]) -> Any:
    """A byte-level BPE tokenizer with at most VOCABULARY tokens."""
    from transformers import PreTrainedTokenizerFast

    from moli.training.tasks.base.byte_pair_encoding import train_byte_pair_encoding

    tokenizer = train_byte_pair_encoding(some, VOCABULARY, [PAD, BEGIN, END])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=PAD)
    fast.chat_template = TEMPLATE
    return fast


def model(tokenizer: Any) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(SEED)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config).to(torch.bfloat16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, metavar="FILE.jsonl.gz")
    parser.add_argument("--work", type=Path, default=WORK, metavar="FOLDER")
    args = parser.parse_args()
    print(base_model(args.data, args.work))


if __name__ == "__main__":
    main()
