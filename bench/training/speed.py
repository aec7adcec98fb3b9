"""Moli's training speed beside its peers': each in its own environment, in turns, medians.

Use: make bench-training, or python bench/training/speed.py [--rounds 3] [--only imdb|sft]
Prints Markdown tables for bench/RESULTS.md. Environments and the model are made where missing.

In a round every system goes once over the same rows, one after another, so what the machine does
meanwhile meets all of them. The matrix-product limit is measured between them: what the products of
a pass alone would take at the rate of large ones. Where the processor has no bfloat16 that is the
rate of float32, and the peers are set to float32 too.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[1]
DATA = REPO.parent / "shared" / "data"
ENVS, WORK = REPO / "bench" / ".envs", REPO / "bench" / ".work"
Result = dict[str, Any]


@dataclass(frozen=True)
class Entrant:
    """A system with its settings, and how many examples a round gives it."""

    name: str
    script: str
    environment: str  # empty: Moli's own
    options: tuple[str, ...]
    examples: int
    frozen: bool = False  # whether only an adapter is trained


@dataclass(frozen=True)
class Comparison:
    title: str
    data: Path
    unit: str
    parameters: int  # in matrices that every token meets
    entrants: tuple[Entrant, ...]


def comparisons(scale: float) -> dict[str, Comparison]:
    many, few, chats = (max(16, int(each * scale)) for each in (640, 48, 160))
    return {
        "imdb": Comparison(
            "IMDb, MiniLM, one pass",
            DATA / "imdb" / "train.jsonl.gz",
            "samples_per_second",
            10_620_000,
            (
                Entrant("Moli, defaults", "moli_speed.py", "", ("classification",), many),
                Entrant("Moli, LoRA r8", "moli_speed.py", "", ("classification-lora",), many, True),
                Entrant("HF Trainer, best", "peers/trainer.py", "trainer", ("best",), many),
                Entrant(
                    "HF Trainer, best, LoRA r8",
                    "peers/trainer.py",
                    "trainer",
                    ("best", "--lora", "8"),
                    many,
                    frozen=True,
                ),
                Entrant("HF Trainer, tutorial", "peers/trainer.py", "trainer", ("tutorial",), few),
            ),
        ),
        "sft": Comparison(
            "Instruction tuning, SmolLM2-135M or its shape, LoRA r16, 1,024 tokens",
            DATA / "alpaca_en" / "train.jsonl.gz",
            "tokens_per_second",
            134_500_000,
            (
                Entrant("Moli, defaults", "moli_speed.py", "", ("instruction",), chats, True),
                Entrant("PEFT, loop", "peers/peft_loop.py", "trainer", ("plain",), chats, True),
                Entrant("TRL, best", "peers/trl_sft.py", "trl_sft", ("best",), chats, True),
                Entrant("TRL, defaults", "peers/trl_sft.py", "trl_sft", ("default",), chats, True),
            ),
        ),
    }


def python_of(environment: str) -> str:
    if not environment:
        return sys.executable
    interpreter = ENVS / environment / "bin" / "python"
    if not interpreter.exists():
        needs = HERE / "peers" / f"{environment}.requirements.txt"
        setup = REPO / "bench" / "peers" / "setup.sh"
        subprocess.run(["sh", str(setup), environment, str(needs)], check=True)
    return str(interpreter)


def run(entrant: Entrant, comparison: Comparison, model: str, seed: int, precision: str) -> Result:
    out = WORK / "speed.json"
    recipe, *options = entrant.options
    command = [python_of(entrant.environment), str(HERE / entrant.script), "--recipe", recipe]
    command += [*options, "--data", str(comparison.data), "--model", model]
    command += ["--examples", str(entrant.examples), "--seed", str(seed), "--out", str(out)]
    command += ["--precision", precision]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPO)
    if done.returncode:
        sys.exit(f"{entrant.name} failed:\n{done.stderr[-3000:]}")
    result: Result = json.loads(out.read_text(encoding="utf-8"))
    return result


def limit() -> tuple[float, str]:
    """GFLOP/s of large products, and in which precision, found in a process of its own."""
    code = (
        "from moli.models.hardware.probe import probe; p = probe(); "
        "print(p.precision, *p.gflops.values())"
    )
    precision, *rates = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    return max(map(float, rates)), precision


def model_of(name: str) -> str:
    if name == "imdb":
        module = "moli.models.weights.builtin"
        code = f"from {module} import builtin_encoder_folder as folder; print(folder())"
        return subprocess.check_output([sys.executable, "-c", code], text=True).strip()
    return subprocess.check_output([sys.executable, str(HERE / "shapes.py")], text=True).strip()


def compare(name: str, comparison: Comparison, rounds: int) -> None:
    model = model_of(name)
    results: dict[str, list[Result]] = {each.name: [] for each in comparison.entrants}
    limits: list[float] = []
    for seed in range(rounds):
        for entrant in comparison.entrants:
            rate, precision = limit()
            limits.append(rate)
            results[entrant.name].append(run(entrant, comparison, model, seed, precision))
            speed = results[entrant.name][-1][comparison.unit]
            print(f"{entrant.name}: {speed}", file=sys.stderr, flush=True)
    print(f"\n{comparison.title}. Median of {rounds} rounds, each on rows of its own.\n")
    print("| system | rate | tokens/s | Moli's speed-up | of the limit | peak MB |")
    print("|---|---|---|---|---|---|")
    ours = results[comparison.entrants[0].name]
    for entrant in comparison.entrants:
        print(row(entrant, results[entrant.name], ours, comparison, limits))
    print(f"\nMatrix products in {precision}: {statistics.median(limits):.0f} GFLOP/s.")


def row(
    entrant: Entrant,
    all_of: list[Result],
    ours: list[Result],
    comparison: Comparison,
    limits: list[float],
) -> str:
    """One line; ratios are of runs in the same round."""
    rate = statistics.median(each[comparison.unit] for each in all_of)
    tokens = statistics.median(each["tokens_per_second"] for each in all_of)
    pairs = zip(ours, all_of, strict=True)
    ratio = statistics.median(our[comparison.unit] / one[comparison.unit] for our, one in pairs)
    # Forwards, and backwards to the inputs; frozen weights have no third product.
    products = 4 if entrant.frozen else 6
    share = tokens * products * comparison.parameters / 1e9 / statistics.median(limits)
    peak = max(each["peak_mb"] for each in all_of)
    return f"| {entrant.name} | {rate:.2f} | {tokens:.0f} | {ratio:.2f}x | {share:.0%} | {peak} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("imdb", "sft"))
    parser.add_argument("--scale", type=float, default=1.0, help="examples, as a multiple")
    args = parser.parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    for name, comparison in comparisons(args.scale).items():
        if not comparison.data.exists():
            print(f"skipped: {comparison.data} is not there")
        elif args.only in (None, name):
            compare(name, comparison, args.rounds)


if __name__ == "__main__":
    main()
