"""GRPO with LoRA: Moli beside TRL's GRPOTrainer, in turns on the same prompts, medians.

Use: make bench-alignment, or python bench/alignment/grpo.py [--rounds 3] [--only 33m|smollm2]
Prints Markdown tables for bench/RESULTS.md. Each run has the same model, prompts, groups of four
answers, one update for a step and a reference, in float32. The reward takes no time.
"""

from __future__ import annotations

import rounds

SYSTEMS = (
    rounds.System("Moli", "moli_rl.py", "", "grpo"),
    rounds.System("TRL", "trl_grpo.py", "trl_sft", "grpo"),
)


def main() -> None:
    args = rounds.parser(__doc__.splitlines()[0], examples=64).parse_args()
    for model in [args.only] if args.only else rounds.MODELS:
        title = "GRPO, LoRA r16, 4 groups of 4 answers a step, 64 tokens an answer"
        rounds.compare(title, SYSTEMS, model, args.examples, args.rounds)


if __name__ == "__main__":
    main()
