"""PPO: Moli's five roles on one base beside a textbook's five models, in turns, medians.

Use: make bench-alignment, or python bench/alignment/ppo.py [--rounds 3] [--only 33m|smollm2]
Prints Markdown tables for bench/RESULTS.md. Each run is a process of its own with the same model,
prompts, batch and number of updates, in float32. A sample is an answer that was sampled, scored by
all roles and learned from. Processor seconds are those that other programs do not lengthen.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from pathlib import Path
from typing import Any

import dpo

SYSTEMS = (
    ("Moli, one base", "moli_rl.py", "", "ppo"),
    ("textbook, five models", "textbook_ppo.py", "", "full"),
)


def compare(name: str, rounds: int, count: int) -> None:
    """Print the table of one model."""
    model = dpo.model_of(name)
    results: dict[str, list[dict[str, Any]]] = {system[0]: [] for system in SYSTEMS}
    for seed in range(rounds):
        for system in SYSTEMS:
            results[system[0]].append(dpo.run(system, model, Path("none"), seed, count))
            print(system[0], results[system[0]][-1]["seconds"], file=sys.stderr, flush=True)
    load = os.getloadavg()[0]
    print(f"\nPPO, {name}, {count} answers. Median of {rounds} rounds; load {load:.0f}.\n")
    print("| system | samples/s | textbook's time / own | by processor time | peak MB |")
    print("|---|---|---|---|---|")
    for system, own in results.items():
        print(row(system, own, results[SYSTEMS[1][0]]))


def row(system: str, own: list[dict[str, Any]], others: list[dict[str, Any]]) -> str:
    """One line; ratios are of runs in the same round."""
    matched = list(zip(own, others, strict=True))
    rate = statistics.median(one["samples_per_second"] for one in own)
    ratio = statistics.median(other["seconds"] / one["seconds"] for one, other in matched)
    processor = statistics.median(
        other["settings"]["processor_seconds"] / one["settings"]["processor_seconds"]
        for one, other in matched
    )
    peak = max(one["peak_mb"] for one in own)
    return f"| {system} | {rate:.2f} | {ratio:.2f}x | {processor:.2f}x | {peak} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=tuple(dpo.PAIRS))
    parser.add_argument("--answers", type=int, default=16)
    args = parser.parse_args()
    for name in dpo.PAIRS:
        if args.only in (None, name):
            compare(name, args.rounds, args.answers)


if __name__ == "__main__":
    main()
