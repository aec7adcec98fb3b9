"""Moli's greedy answers beside transformers', and seeded ones alone and in batches; real weights.

Use: python bench/serving/exact.py [--model smollm2] [--prompts 50] [--tokens 48]
All in float32. Prompts are instructions of Alpaca's in the model's chat template, with no adapter
and with three random ones in turn. Greedy: Moli answers all prompts in shared batches, and
transformers with PEFT one after the other. Seeded: Moli draws each answer alone, and then in
batches of several sizes, among other prompts and in another order. Prints how many answers are
equal, and for each that is not, where it first differs and how close the two likeliest tokens are.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

REPO = Path(__file__).resolve().parents[2]
DATA = REPO.parent / "shared" / "data" / "alpaca_en" / "train.jsonl.gz"
ADAPTERS = REPO / "bench" / ".work" / "exact-adapters"
RANKS = {"r4": 4, "r8": 8, "r16": 16}
Answers = list[tuple[int, ...]]


def make_adapters(folder: str) -> None:
    """Random adapters whose outputs are large enough to change most answers."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    for number, (name, rank) in enumerate(RANKS.items()):
        base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        layers: Any = "all-linear" if number else ["q_proj", "v_proj"]
        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=layers)
        model = get_peft_model(base, config)
        torch.manual_seed(number)
        with torch.no_grad():
            for layer, weight in model.named_parameters():
                if "lora_B" in layer:
                    weight.normal_(0, 0.003 if number else 0.05)
        model.save_pretrained(str(ADAPTERS / name))


def prompts(tokenizer: Any, count: int) -> list[list[int]]:
    with gzip.open(DATA, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in itertools.islice(lines, 20 * count)]
    texts = random.Random(0).sample([row["instruction"] for row in rows if not row["input"]], count)
    chats = [[{"role": "user", "content": text}] for text in texts]
    return [
        tokenizer.apply_chat_template(chat, add_generation_prompt=True)["input_ids"]
        for chat in chats
    ]


def transformers_answers(
    folder: str, ids: list[list[int]], adapters: list[str], tokens: int
) -> tuple[Answers, list[torch.Tensor]]:
    """Greedy answers, one prompt at a time, and the gaps of each token's logit to the next."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    answers: dict[int, tuple[int, ...]] = {}
    gaps: dict[int, torch.Tensor] = {}
    for name in ("", *RANKS):
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        if name:
            model = PeftModel.from_pretrained(model, str(ADAPTERS / name)).eval()
        for number in (n for n, each in enumerate(adapters) if each == name):
            result = model.generate(
                input_ids=torch.tensor([ids[number]]),
                attention_mask=torch.ones(1, len(ids[number]), dtype=torch.long),
                max_new_tokens=tokens,
                do_sample=False,
                output_logits=True,
                return_dict_in_generate=True,
            )
            answers[number] = tuple(result.sequences[0, len(ids[number]) :].tolist())
            top = torch.cat(result.logits).topk(2).values
            gaps[number] = top[:, 0] - top[:, 1]
    return [answers[n] for n in range(len(ids))], [gaps[n] for n in range(len(ids))]


def make_engine(model: str, max_num_seqs: int) -> Any:
    from moli.models.engine.engine import Engine
    from moli.models.engine.transformers_runner import load_transformers_runner
    from moli.models.tokenizers import load_tokenizer
    from moli.models.weights.lora import read_adapter

    runner = load_transformers_runner(model, precision="fp32")
    engine = Engine(runner, load_tokenizer(model), max_num_seqs=max_num_seqs)
    for name in RANKS:
        engine.add_adapter(read_adapter(ADAPTERS / name, name, runner.dtype))
    return engine


def report(title: str, answers: Answers, expected: Answers, gaps: list[torch.Tensor] | None) -> int:
    """Print how many answers are equal; returns how many are not."""
    equal = sum(one == other for one, other in zip(answers, expected, strict=True))
    print(f"{title}: {equal} of {len(expected)} equal", flush=True)
    for number, (one, other) in enumerate(zip(answers, expected, strict=True)):
        if one != other:
            pairs = zip(one, other, strict=False)
            at = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
            gap = (
                ""
                if gaps is None
                else f", where the two likeliest are {gaps[number][at]:.1e} apart"
            )
            print(f"  prompt {number} differs at token {at}{gap}")
    return len(expected) - equal


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--tokens", type=int, default=48)
    args = parser.parse_args()
    if not DATA.exists():
        sys.exit(f"skipped: {DATA} is not there")
    from moli.models.tokenizers import load_tokenizer
    from moli.models.weights.known import installed_folder, known_models
    from moli.models.weights.loading import folder_of
    from moli.records.generation import Request, Sampling

    if args.model in known_models() and installed_folder(args.model) is None:
        print(f"skipped: {args.model} is not here; get it with 'moli models get {args.model}'")
        return
    folder = folder_of(args.model)
    make_adapters(folder)
    ids = prompts(load_tokenizer(args.model), args.prompts)
    adapters = [("", *RANKS)[n % (1 + len(RANKS))] for n in range(len(ids))]
    engine = make_engine(args.model, 16)
    greedy = [
        Request(each, Sampling(args.tokens), name) for each, name in zip(ids, adapters, strict=True)
    ]
    answers = [each.ids for each in engine.complete(greedy)]
    expected, gaps = transformers_answers(folder, ids, adapters, args.tokens)
    different = report("greedy, Moli in batches of 16 and transformers", answers, expected, gaps)
    print(f"  {sum(map(len, expected)):,} tokens; {len(set(expected))} different answers")
    different += compare_seeded(
        engine, [replace(each, sampling=drawn(n, args.tokens)) for n, each in enumerate(greedy)]
    )
    sys.exit(bool(different))


def drawn(seed: int, tokens: int) -> Any:
    from moli.records.generation import Sampling

    return Sampling(tokens, temperature=1.0, seed=seed)


def compare_seeded(engine: Any, requests: list[Any]) -> int:
    """Answer each request alone and in batches; returns how many answers differ."""
    alone = [engine.complete([each])[0].ids for each in requests]
    different = 0
    for size in (2, 5, 16):
        order = random.Random(size).sample(range(len(requests)), len(requests))
        batched = in_batches(engine, [requests[n] for n in order], size)
        answers = [ids for _, ids in sorted(zip(order, batched, strict=True))]
        different += report(f"seeded, alone and in batches of {size}", answers, alone, None)
    return different


def in_batches(engine: Any, requests: list[Any], size: int) -> Answers:
    answered: Answers = []
    for begin in range(0, len(requests), size):
        answered += [each.ids for each in engine.complete(requests[begin : begin + size])]
    return answered


if __name__ == "__main__":
    main()
