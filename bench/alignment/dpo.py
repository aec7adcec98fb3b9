"""DPO with LoRA: Moli beside TRL's DPOTrainer, in turns on the same pairs, medians.

Use: make bench-alignment, or python bench/alignment/dpo.py [--rounds 3] [--only 33m|smollm2]
Prints Markdown tables for bench/RESULTS.md. Pairs are HH's (harmless, test), read from
../shared/data. In a round each system goes once over the same pairs. Seconds include the pass of
the reference.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import pairs
import rounds

DATA = rounds.REPO.parent / "shared" / "data" / "hh_rlhf" / "harmless_base_test.jsonl.gz"
SYSTEMS = (
    rounds.System("Moli", "moli_dpo.py", "", "lora"),
    rounds.System("TRL, reference before", "trl_dpo.py", "trl_sft", "precomputed"),
    rounds.System("TRL, reference each step", "trl_dpo.py", "trl_sft", "each-step"),
)


def write_pairs() -> Path:
    """The pairs of which nothing is cut, as a file."""
    rounds.WORK.mkdir(parents=True, exist_ok=True)
    path = rounds.WORK / "dpo.jsonl"
    with gzip.open(DATA, "rt", encoding="utf-8") as lines:
        rows = [row for row in map(json.loads, lines) if pairs.is_usable(row)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def main() -> None:
    args = rounds.parser(__doc__.splitlines()[0], examples=32).parse_args()
    if not DATA.exists():
        sys.exit(f"skipped: {DATA} is not there")
    for model in [args.only] if args.only else rounds.MODELS:
        title = "DPO, LoRA r16, batch 8, pairs of HH"
        rounds.compare(title, SYSTEMS, model, args.examples, args.rounds, write_pairs())


if __name__ == "__main__":
    main()
