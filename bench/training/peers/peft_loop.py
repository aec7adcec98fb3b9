"""A plain loop with transformers and PEFT, as tutorials write it: padded batches of eight, AdamW.

Instructions become two turns in the model's chat template; the loss is on the assistant's tokens.
LoRA of rank 16 on every linear layer of the blocks. bf16 weights; with --precision fp32, float32.
"""

from __future__ import annotations

import argparse
import gc
import time
from typing import Any

import measure

LENGTH, BATCH = 1024, 8
RANK, ALPHA = 16, 32
LEARNING_RATE = 2e-4


def main() -> None:
    args = measure.parser(__doc__.splitlines()[0], ("plain",)).parse_args()
    measure.offline()
    rows = measure.examples(args.data, args.examples, args.seed)
    trained(args, rows[: measure.WARM_UP * BATCH])
    gc.collect()
    one = trained(args, rows)
    settings = {"length": LENGTH, "batch": BATCH, "lora": RANK, "lora_alpha": ALPHA}
    measure.write(args, "peft", settings, one)


def trained(args: argparse.Namespace, rows: list[measure.Row]) -> measure.Pass:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(args.seed)
    tokenizer: Any = AutoTokenizer.from_pretrained(args.model)
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[args.precision]
    base: Any = AutoModelForCausalLM.from_pretrained(args.model, dtype=dtype)
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear")
    model = get_peft_model(base, config).train()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=LEARNING_RATE)
    encoded = [encode(tokenizer, measure.messages(row)) for row in rows]
    losses = []
    begun = time.perf_counter()
    for start in range(0, len(encoded), BATCH):
        loss = model(**padded(encoded[start : start + BATCH], tokenizer.pad_token_id)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss))
    seconds = time.perf_counter() - begun
    return measure.Pass(seconds, sum(len(ids) for ids, _ in encoded), losses)


def encode(tokenizer: Any, messages: list[dict[str, str]]) -> tuple[list[int], list[int]]:
    """The tokens of a conversation, and the labels: -100 for those that are not the assistant's."""
    prompt = tokenizer.apply_chat_template(messages[:1], add_generation_prompt=True)["input_ids"]
    ids = tokenizer.apply_chat_template(messages)["input_ids"][:LENGTH]
    return ids, [-100] * len(prompt[:LENGTH]) + ids[len(prompt) :]


def padded(batch: list[tuple[list[int], list[int]]], pad: int) -> dict[str, Any]:
    """Token ids, attention mask and labels, each [rows, longest]."""
    import torch

    longest = max(len(ids) for ids, _ in batch)
    missing = [longest - len(ids) for ids, _ in batch]
    columns = {
        "input_ids": [ids + [pad] * n for (ids, _), n in zip(batch, missing, strict=True)],
        "attention_mask": [[1] * (longest - n) + [0] * n for n in missing],
        "labels": [row + [-100] * n for (_, row), n in zip(batch, missing, strict=True)],
    }
    return {name: torch.tensor(rows) for name, rows in columns.items()}


if __name__ == "__main__":
    main()
