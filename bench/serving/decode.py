"""How fast Moli's engine writes, beside transformers' generate and PEFT's mixed adapters.

Use: python bench/serving/decode.py [--rounds 3]
A llama shape of 135M with random weights, 16 rows, prompts of 64 tokens, 64 tokens written, greedy.
Adapters have rank 16 on all linear layers. Prints a Markdown table for bench/RESULTS.md.
"""

from __future__ import annotations

import argparse
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
MODEL, ADAPTERS = WORK / "llama-135m", WORK / "adapters"
ROWS, PROMPT, TOKENS, REGISTERED = 16, 64, 64, 64


def make() -> None:
    """The model, and adapters that are drawn at random in PEFT's layout."""
    subprocess.run([sys.executable, str(REPO / "bench/training/shapes.py")], check=True)
    if ADAPTERS.is_dir() and len(list(ADAPTERS.iterdir())) == REGISTERED:
        return
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    config = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(base, config)
    for number in range(REGISTERED):
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


def moli(adapters: int, registered: int, precision: str) -> float:
    """Tokens a second of 16 rows over so many adapters, of so many registered."""
    import torch

    from moli.models.engine.engine import Engine
    from moli.models.engine.transformers_runner import load_transformers_runner
    from moli.models.weights.lora import read_adapter

    runner = load_transformers_runner(str(MODEL), precision=precision)
    engine = Engine(runner, Numbers(), max_num_seqs=ROWS, prefix_slots=0)
    names = [f"a{number:02}" for number in range(registered)]
    for name in names:
        engine.add_adapter(read_adapter(ADAPTERS / name, name, runner.dtype))
    step = max(1, registered // max(1, adapters))
    of_row = [names[(row % adapters) * step] if adapters else "" for row in range(ROWS)]
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 1000, (ROWS, PROMPT), generator=draw).tolist()
    written(engine, ids, of_row, 3)
    return written(engine, ids, of_row, TOKENS + 2)


def written(engine: Any, ids: list[list[int]], adapters: list[str], tokens: int) -> float:
    """Tokens a second in the steps that write, all rows together."""
    from moli.records.generation import Request, Sampling

    told: list[Any] = []
    for row, adapter in zip(ids, adapters, strict=True):
        engine.submit(Request(row, Sampling(tokens, ignore_eos=True), adapter), told.append)
    while len(told) < ROWS:  # until every prompt is read
        engine.step()
    before, begun = len(told), time.perf_counter()
    while engine.step():
        pass
    return (len(told) - before) / (time.perf_counter() - begun)


CASES = {
    "Moli": (0, 0),
    "Moli, 1 adapter": (1, 1),
    "Moli, 8 adapters": (8, 8),
    "Moli, 16 of 64 adapters": (16, 64),
}
PEERS = {"transformers, generate": 0, "PEFT, adapter_names, 8 adapters": 8}


def of_moli(name: str, precision: str) -> float:
    """In a process of its own."""
    words = [sys.executable, __file__, "--moli", *map(str, CASES[name]), precision]
    return float(subprocess.check_output(words, text=True).split()[-1])


def of_peer(name: str, precision: str) -> float:
    out = WORK / "decode.json"
    python = ENVS / "trainer" / "bin" / "python"
    words = [str(python), str(HERE / "peers" / "generate.py"), "--model", str(MODEL)]
    words += ["--precision", precision, "--out", str(out)]
    words += ["--rows", str(ROWS), "--prompt", str(PROMPT), "--tokens", str(TOKENS)]
    if PEERS[name]:
        words += ["--adapters", str(ADAPTERS), "--count", str(PEERS[name])]
    subprocess.run(words, check=True, capture_output=True)
    return float(json.loads(out.read_text())["tokens_per_second"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--moli", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.moli:
        print(moli(int(args.moli[0]), int(args.moli[1]), args.moli[2]))
        return
    make()
    from moli.models.hardware.probe import probe

    precision = probe().precision
    rates: dict[str, list[float]] = {name: [] for name in (*CASES, *PEERS)}
    for _ in range(args.rounds):
        for name, found in rates.items():
            measure = of_moli if name in CASES else of_peer
            found.append(measure(name, precision))
            print(f"{name}: {found[-1]:.1f}", file=sys.stderr, flush=True)
    own = statistics.median(rates["Moli"])
    print(
        f"\nMedian of {args.rounds} rounds, {precision}.\n\n| system | tokens/s | of Moli's rate |"
    )
    print("|---|---|---|")
    for name, found in rates.items():
        rate = statistics.median(found)
        print(f"| {name} | {rate:.1f} | {rate / own:.2f} |")


if __name__ == "__main__":
    main()
