"""PPO: Moli's five roles on one base beside a textbook's five models, in turns, medians.

Use: make bench-alignment, or python bench/alignment/ppo.py [--rounds 3] [--only 33m|smollm2]
Prints Markdown tables for bench/RESULTS.md. Each run has the same model, prompts, batch and
number of updates, in float32. A sample is an answer that was sampled, scored by all roles and
learned from.
"""

from __future__ import annotations

import rounds

SYSTEMS = (
    rounds.System("Moli, one base", "moli_rl.py", "", "ppo"),
    rounds.System("textbook, five models", "textbook_ppo.py", "", "full"),
)


def main() -> None:
    args = rounds.parser(__doc__.splitlines()[0], examples=32).parse_args()
    for model in [args.only] if args.only else rounds.MODELS:
        title = "PPO, 16 prompts a step, 64 tokens an answer, 4 epochs of 2 minibatches"
        rounds.compare(title, SYSTEMS, model, args.examples, args.rounds)


if __name__ == "__main__":
    main()
