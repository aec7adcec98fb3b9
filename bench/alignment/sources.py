"""Tokens per second of the two sources of rollouts in this process, in turns, medians, fp32.

Use: make bench-alignment, or python bench/alignment/sources.py [--rows 32] [--rounds 3]
One samples by transformers' own passes over the base with the adapter merged into it; the other is
the serving engine with a copy of the base, to which the merged weights go before each batch.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import torch

from moli.alignment.roles import SharedBase
from moli.alignment.rollouts.buffer import TrainingPrompt, make_rollouts
from moli.alignment.rollouts.engine import EngineRollouts
from moli.alignment.rollouts.sampling import SamplingLimits
from moli.models.tokenizers import load_tokenizer
from moli.models.weights.loading import load_model


def measure(reference: str, rows: int, tokens: int, rounds: int) -> None:
    """Print the line of one model."""
    base: Any = load_model("AutoModelForCausalLM", reference, dtype=torch.float32)
    vocabulary = base.get_input_embeddings().num_embeddings
    draw = torch.Generator().manual_seed(0)
    lengths = torch.randint(8, 64, (rows,), generator=draw).tolist()
    prompts = [
        TrainingPrompt(tuple(torch.randint(100, vocabulary, (n,), generator=draw).tolist()))
        for n in lengths
    ]
    tokenizer, weights = load_tokenizer(reference), {}
    limits = SamplingLimits(tokens, [tokenizer.eos_token_id])
    engine = EngineRollouts(base, tokenizer, limits, lambda: weights)
    shared = SharedBase(base, tokenizer, limits)
    weights |= shared.merged_weights()
    rates: dict[str, list[float]] = {"merged": [], "engine": []}
    gaps: dict[str, float] = {}
    for number in range(rounds + 1):
        for name, source in (("merged", shared.sample), ("engine", engine)):
            weights |= shared.merged_weights()  # both merge in each batch
            begun = time.perf_counter()
            answers = source(prompts, number)
            seconds = time.perf_counter() - begun
            if number:  # the first is a warm-up
                rates[name].append(sum(len(answer.ids) for answer in answers) / seconds)
            else:
                rollouts = make_rollouts(prompts, answers)
                with torch.no_grad():
                    scores = shared.policy(rollouts)
                gap = (scores.logprobs - rollouts.sampled_logprobs)[rollouts.mask].abs().max()
                gaps[name] = float(gap)
    merged, other = (statistics.median(rates[name]) for name in ("merged", "engine"))
    print(
        f"| {reference} | {merged:.0f} | {other:.0f} | {other / merged:.2f}x | "
        f"{gaps['merged']:.1e} | {gaps['engine']:.1e} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    print(f"{args.rows} prompts of 8 to 63 tokens, {args.tokens} tokens of each answer\n")
    print("| model | merged, tokens/s | engine, tokens/s | engine's speed-up | gap | gap |")
    print("|---|---|---|---|---|---|")
    for reference in filter(None, [args.only] if args.only else ["builtin:starter", "smollm2"]):
        measure(reference, args.rows, args.tokens, args.rounds)


if __name__ == "__main__":
    main()
