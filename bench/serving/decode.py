"""Speed of generation: Moli's engine, transformers' generate and PEFT's mixed adapters.

Use: python bench/serving/decode.py [--rounds 3]
SmolLM2 if it was fetched, else a model of its shape; 16 sequences, prompts of 64 tokens, 64 tokens
generated, greedy.
Adapters have rank 16 on all linear layers. Prints a Markdown table for bench/RESULTS.md.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[1]
ENVS, WORK = REPO / "bench" / ".envs", REPO / "bench" / ".work"
ADAPTERS = WORK / "adapters"
SEQUENCES, PROMPT, TOKENS, ADAPTER_COUNT = 16, 64, 64, 64


@functools.cache
def model_folder() -> Path:
    """Folder of the model that is measured."""
    shapes = [sys.executable, str(REPO / "bench/training/shapes.py")]
    return Path(subprocess.check_output(shapes, text=True).strip())


def make() -> None:
    """Make adapters with random weights in PEFT's format."""
    if ADAPTERS.is_dir() and len(list(ADAPTERS.iterdir())) == ADAPTER_COUNT:
        return
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(model_folder(), dtype=torch.float32)
    config = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(base, config)
    for number in range(ADAPTER_COUNT):
        torch.manual_seed(number)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "lora_" in name:
                    weight.normal_(0, 0.02)
        model.save_pretrained(str(ADAPTERS / f"a{number:02}"))


class Numbers:
    """A tokenizer that costs nothing: the model has none."""

    eos_token_id = 0

    def decode(self, ids: Any, **_: Any) -> str:
        return "x" * len(ids)


def measure_here(adapters: int, registered: int, precision: str) -> float:
    """Tokens a second of 16 sequences that use so many adapters, of so many registered."""
    import torch

    from moli.models.engine.engine import Engine
    from moli.models.engine.transformers_runner import load_transformers_runner
    from moli.models.weights.lora import read_adapter

    runner = load_transformers_runner(str(model_folder()), precision=precision)
    engine = Engine(runner, Numbers(), max_num_seqs=SEQUENCES, prefix_slots=0)
    names = [f"a{number:02}" for number in range(registered)]
    for name in names:
        engine.add_adapter(read_adapter(ADAPTERS / name, name, runner.dtype))
    step = max(1, registered // max(1, adapters))
    adapter_of = [names[(row % adapters) * step] if adapters else "" for row in range(SEQUENCES)]
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 1000, (SEQUENCES, PROMPT), generator=draw).tolist()
    generate(engine, ids, adapter_of, 3)
    return generate(engine, ids, adapter_of, TOKENS + 2)


def generate(engine: Any, ids: list[list[int]], adapters: list[str], tokens: int) -> float:
    """Tokens a second in the steps after the prompts are read, all sequences together."""
    from moli.records.generation import Request, Sampling

    deltas: list[Any] = []
    for prompt, adapter in zip(ids, adapters, strict=True):
        engine.submit(Request(prompt, Sampling(tokens, ignore_eos=True), adapter), deltas.append)
    while len(deltas) < SEQUENCES:  # until every prompt is read
        engine.step()
    before, begun = len(deltas), time.perf_counter()
    while engine.step():
        pass
    return (len(deltas) - before) / (time.perf_counter() - begun)


CASES = {
    "Moli": (0, 0),
    "Moli, 1 adapter": (1, 1),
    "Moli, 8 adapters": (8, 8),
    "Moli, 16 of 64 adapters": (16, 64),
}
PEERS = {"transformers, generate": 0, "PEFT, adapter_names, 8 adapters": 8}


def measure_moli(name: str, precision: str) -> float:
    """Tokens a second of a case of `CASES`, in a process of its own."""
    command = [sys.executable, __file__, "--moli", *map(str, CASES[name]), precision]
    return float(subprocess.check_output(command, text=True).split()[-1])


def measure_peer(name: str, precision: str) -> float:
    """Tokens a second of a peer of `PEERS`, in its own environment."""
    out = WORK / "decode.json"
    python = ENVS / "trainer" / "bin" / "python"
    command = [str(python), str(HERE / "peers" / "generate.py"), "--model", str(model_folder())]
    command += ["--precision", precision, "--out", str(out)]
    command += ["--rows", str(SEQUENCES), "--prompt", str(PROMPT), "--tokens", str(TOKENS)]
    if PEERS[name]:
        command += ["--adapters", str(ADAPTERS), "--count", str(PEERS[name])]
    subprocess.run(command, check=True, capture_output=True)
    return float(json.loads(out.read_text())["tokens_per_second"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--moli", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.moli:
        print(measure_here(int(args.moli[0]), int(args.moli[1]), args.moli[2]))
        return
    make()
    from moli.models.hardware.probe import probe

    precision = probe().precision
    rates: dict[str, list[float]] = {name: [] for name in (*CASES, *PEERS)}
    for _ in range(args.rounds):
        for name, measured in rates.items():
            measure = measure_moli if name in CASES else measure_peer
            measured.append(measure(name, precision))
            print(f"{name}: {measured[-1]:.1f}", file=sys.stderr, flush=True)
    own = statistics.median(rates["Moli"])
    print(
        f"\nMedian of {args.rounds} rounds, {precision}.\n\n| system | tokens/s | of Moli's rate |"
    )
    print("|---|---|---|")
    for name, measured in rates.items():
        rate = statistics.median(measured)
        print(f"| {name} | {rate:.1f} | {rate / own:.2f} |")


if __name__ == "__main__":
    main()
