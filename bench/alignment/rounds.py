"""Rounds of systems that do the same work in turns, each a process of its own, and their table.

A ratio is of two runs of one round. Processor seconds are those that other programs do not
lengthen.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[1]
WORK = REPO / "bench" / ".work"
MODELS = ("33m", "smollm2")
Result = dict[str, Any]
_MAKE_MODEL = """
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
from moli.models.weights.known import installed_folder
torch.manual_seed(0)
tokenizer = AutoTokenizer.from_pretrained(installed_folder("smollm2"))
config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=384, intermediate_size=1024,
    num_hidden_layers=8, num_attention_heads=6, num_key_value_heads=2, tie_word_embeddings=True,
    max_position_embeddings=2048, pad_token_id=tokenizer.pad_token_id,
    eos_token_id=tokenizer.eos_token_id, bos_token_id=tokenizer.bos_token_id)
LlamaForCausalLM(config).save_pretrained({folder!r})
tokenizer.save_pretrained({folder!r})
"""


@dataclass(frozen=True)
class System:
    """A system to measure: its script here, its environment ("": this one) and its recipe."""

    name: str
    script: str
    environment: str
    recipe: str

    def run(self, model: str, seed: int, count: int, data: Path | None = None) -> Result:
        """The result of one run over so many examples."""
        out = WORK / "alignment.json"
        command = [python_of(self.environment), str(HERE / self.script), "--recipe", self.recipe]
        command += ["--out", str(out), "--data", str(data), "--model", model, "--seed", str(seed)]
        command += ["--examples", str(count), "--precision", precision()]
        done = subprocess.run(command, capture_output=True, text=True, cwd=REPO)
        if done.returncode:
            sys.exit(f"{self.name} failed:\n{done.stderr[-3000:]}")
        result: Result = json.loads(out.read_text(encoding="utf-8"))
        print(self.name, result["seconds"], file=sys.stderr, flush=True)
        return result


def compare(
    title: str,
    systems: Sequence[System],
    model: str,
    count: int,
    rounds: int,
    data: Path | None = None,
) -> None:
    """Print the table of one model; the first system is compared with each of the others."""
    WORK.mkdir(parents=True, exist_ok=True)
    (WORK / ".gitignore").write_text("*\n", encoding="utf-8")  # made again at will
    folder = folder_of(model)
    results: dict[str, list[Result]] = {system.name: [] for system in systems}
    for seed in range(rounds):
        for system in systems:
            results[system.name].append(system.run(folder, seed, count, data))
    first = results[systems[0].name]
    load = os.getloadavg()[0]
    print(f"\n{title}, {model}, {count} examples. Median of {rounds} rounds; load {load:.1f}.\n")
    print(
        f"| system | samples/s | tokens/s | {systems[0].name}'s speed-up | by processor time "
        "| peak MB | share of it |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, own in results.items():
        print(row(name, own, first))


def row(name: str, own: Sequence[Result], first: Sequence[Result]) -> str:
    """One line: a system's rates, and how much faster and smaller the first system is."""
    median = statistics.median
    rates = [one["tokens_per_second"] for one in own]
    faster = [ours["tokens_per_second"] / rate for ours, rate in zip(first, rates, strict=True)]
    cheaper = [processor_rate(a) / processor_rate(b) for a, b in zip(first, own, strict=True)]
    peaks = [max(one["peak_mb"] for one in each) for each in (first, own)]
    cells = [
        f"{median(one['samples_per_second'] for one in own):.2f}",
        f"{median(rates):.0f}",
        f"{median(faster):.2f}x",
        f"{median(cheaper):.2f}x",
        f"{peaks[1]}",
        f"{peaks[0] / peaks[1]:.2f}",
    ]
    return f"| {name} | {' | '.join(cells)} |"


def processor_rate(result: Result) -> float:
    """Tokens per second of the processor."""
    return float(result["tokens"] / result["settings"]["processor_seconds"])


def python_of(environment: str) -> str:
    """The interpreter of a peer's environment, which is made where it is missing."""
    if not environment:
        return sys.executable
    interpreter = REPO / "bench" / ".envs" / environment / "bin" / "python"
    if not interpreter.exists():
        needs = REPO / "bench" / "training" / "peers" / f"{environment}.requirements.txt"
        setup = REPO / "bench" / "peers" / "setup.sh"
        subprocess.run(["sh", str(setup), environment, str(needs)], check=True)
    return str(interpreter)


def folder_of(model: str) -> str:
    """Folder of SmolLM2, or of a Llama of 33 million random weights with its tokenizer."""
    if model == "smollm2":
        return output_of(
            "from moli.models.weights.known import installed_folder as f; print(f('smollm2'))"
        )
    folder = WORK / "llama-33m"
    if not (folder / "config.json").exists():
        output_of(_MAKE_MODEL.format(folder=str(folder)))
    return str(folder)


def precision() -> str:
    """The precision that this machine is faster in."""
    return output_of("from moli.models.hardware.probe import probe; print(probe().precision)")


def output_of(code: str) -> str:
    """What a program prints. This process stays small: a peer's peak begins with its parent's."""
    return subprocess.check_output([sys.executable, "-c", code], text=True).strip()


def parser(description: str, examples: int) -> argparse.ArgumentParser:
    """Arguments of every comparison."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=MODELS)
    parser.add_argument("--examples", type=int, default=examples, metavar="N")
    return parser
