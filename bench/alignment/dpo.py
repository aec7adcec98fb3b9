"""DPO with LoRA: Moli beside TRL's DPOTrainer, in turns on the same pairs, medians.

Use: make bench-alignment, or python bench/alignment/dpo.py [--rounds 3] [--only 33m|smollm2]
Prints Markdown tables for bench/RESULTS.md. Pairs are HH's (harmless, test), read from
../shared/data. In a round each system goes once over the same pairs, one after another. Seconds
include the pass of the reference; the processor's are those that other programs do not lengthen.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pairs

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[1]
WORK = REPO / "bench" / ".work"
DATA = REPO.parent / "shared" / "data" / "hh_rlhf" / "harmless_base_test.jsonl.gz"
SYSTEMS = (
    ("Moli", "moli_dpo.py", "", "lora"),
    ("TRL, reference before", "trl_dpo.py", "trl_sft", "precomputed"),
    ("TRL, reference each step", "trl_dpo.py", "trl_sft", "each-step"),
)
PAIRS = {"33m": 64, "smollm2": 32}
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


def model_of(name: str) -> str:
    """Folder of SmolLM2, or of a Llama of 33 million random weights with its tokenizer."""
    if name == "smollm2":
        code = "from moli.models.weights.known import installed_folder as f; print(f('smollm2'))"
        return subprocess.check_output([sys.executable, "-c", code], text=True).strip()
    folder = WORK / "llama-33m"
    if not (folder / "config.json").exists():
        code = _MAKE_MODEL.format(folder=str(folder))
        subprocess.run([sys.executable, "-c", code], check=True)
    return str(folder)


def write_pairs() -> Path:
    """The pairs of which nothing is cut, as a file."""
    WORK.mkdir(parents=True, exist_ok=True)
    (WORK / ".gitignore").write_text("*\n", encoding="utf-8")  # made again at will
    path = WORK / "dpo.jsonl"
    with gzip.open(DATA, "rt", encoding="utf-8") as lines:
        rows = [row for row in map(json.loads, lines) if pairs.is_usable(row)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def precision() -> str:
    """The precision that this machine is faster in."""
    code = "from moli.models.hardware.probe import probe; print(probe().precision)"
    return subprocess.check_output([sys.executable, "-c", code], text=True).strip()


def run(system: tuple[str, ...], model: str, data: Path, seed: int, count: int) -> dict[str, Any]:
    """The result of one pass of a system."""
    name, script, environment, recipe = system
    out = WORK / "dpo.json"
    command = [python_of(environment), str(HERE / script), "--recipe", recipe, "--out", str(out)]
    command += ["--data", str(data), "--model", model, "--seed", str(seed)]
    command += ["--examples", str(count), "--precision", precision()]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPO)
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return result


def compare(name: str, rounds: int, scale: float) -> None:
    """Print the table of one model."""
    model, data = model_of(name), write_pairs()
    count = max(pairs.BATCH, int(PAIRS[name] * scale))
    results: dict[str, list[dict[str, Any]]] = {system[0]: [] for system in SYSTEMS}
    for seed in range(rounds):
        for system in SYSTEMS:
            results[system[0]].append(run(system, model, data, seed, count))
            print(system[0], results[system[0]][-1]["seconds"], file=sys.stderr, flush=True)
    print(f"\nDPO, {name}, LoRA r16, batch 8, {count} pairs of HH. Median of {rounds} rounds.\n")
    print("| system | pairs/s | Moli's speed-up | by processor time | peak MB | first losses |")
    print("|---|---|---|---|---|---|")
    ours = results["Moli"]
    for system, own in results.items():
        print(row(system, own, ours))


def row(system: str, own: list[dict[str, Any]], ours: list[dict[str, Any]]) -> str:
    """One line; ratios are of runs in the same round."""
    matched = list(zip(own, ours, strict=True))
    rate = statistics.median(one["samples_per_second"] for one in own)
    ratio = statistics.median(one["seconds"] / our["seconds"] for one, our in matched)
    processor = statistics.median(
        one["settings"]["processor_seconds"] / our["settings"]["processor_seconds"]
        for one, our in matched
    )
    peak = max(one["peak_mb"] for one in own)
    losses = ", ".join(f"{loss:.3f}" for loss in own[0]["losses"][:3])
    return f"| {system} | {rate:.2f} | {ratio:.2f}x | {processor:.2f}x | {peak} | {losses} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=tuple(PAIRS))
    parser.add_argument("--scale", type=float, default=1.0, help="pairs, as a multiple")
    args = parser.parse_args()
    if not DATA.exists():
        sys.exit(f"skipped: {DATA} is not there")
    for name in PAIRS:
        if args.only in (None, name):
            compare(name, args.rounds, args.scale)


if __name__ == "__main__":
    main()
