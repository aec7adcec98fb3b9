"""Code that the training peers share: arguments, examples, the clock and the result file.

A peer is one process: `python trainer.py --recipe best --data FILE --model FOLDER --examples N
--seed S --out FILE.json`. It goes once over N examples, and all N are in its figures. The warm-up,
two optimiser steps, is a run of its own before it, with a model of its own: the first steps of the
pass itself cannot be left out, since a Trainer that groups by length begins with the longest
examples, and without them it would look faster than it is.

The peak is that of the GPU's memory where there is one; else that of the process as the kernel
keeps it, which on Linux begins with the memory that the parent held: whatever starts a peer should
be small.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2] / "peers"))
from contract import peak_mb, stack

WARM_UP = 2  # optimiser steps
Row = dict[str, Any]


@dataclass(frozen=True)
class Pass:
    """One pass over the examples: seconds from the first batch's to the last step's end."""

    seconds: float
    tokens: int  # without padding
    losses: list[float]  # of each optimiser step


def parser(description: str, recipes: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--recipe", choices=recipes, required=True)
    parser.add_argument("--data", type=Path, required=True, metavar="FILE.jsonl[.gz]")
    parser.add_argument("--model", required=True, metavar="FOLDER")
    parser.add_argument("--examples", type=int, default=320, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--precision",
        choices=("bf16", "fp32"),
        default="bf16",
        help="fp32 where the processor only imitates bfloat16, a hundred times slower",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json")
    return parser


def offline() -> None:
    """Nothing may reach for the network or tell anyone; call it before a framework is imported."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
        os.environ[name] = "1"
    os.environ |= {"HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}


def examples(path: Path, count: int, seed: int) -> list[Row]:
    """`count` rows drawn without replacement: the same for every system, for a path and a seed.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "rows.jsonl")
    ...     _ = path.write_text('{"n": 1}\\n{"n": 2}\\n', encoding="utf-8")
    ...     sorted(row["n"] for row in examples(path, 2, 0))
    [1, 2]
    """
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines if line.strip()]
    if count > len(rows):
        sys.exit(f"{path}: {len(rows)} examples, {count} asked for; give a smaller --examples")
    return random.Random(seed).sample(rows, count)


def messages(row: Row) -> list[dict[str, str]]:
    """An instruction, its input (if any) below it, and its output, as two turns.

    >>> messages({"instruction": "Add.", "input": "1, 2", "output": "3"})[0]["content"]
    'Add.\\n\\n1, 2'
    """
    prompt = "\n\n".join(filter(None, (row["instruction"], row["input"])))
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": row["output"]}]


def stopwatch() -> Any:
    """A TrainerCallback whose `seconds` are those of the training loop."""
    from transformers import TrainerCallback

    class Stopwatch(TrainerCallback):
        def on_train_begin(self, *_: object, **__: object) -> None:
            self.begun = time.perf_counter()

        def on_epoch_end(self, *_: object, **__: object) -> None:
            self.seconds = time.perf_counter() - self.begun

    return Stopwatch()


def arguments_of_trainer(folder: str, seed: int, steps: int) -> dict[str, Any]:
    """TrainingArguments of every peer: one pass (or `steps`), and nothing but that."""
    import torch

    return {
        "output_dir": folder,
        "num_train_epochs": 1,
        "max_steps": steps,
        "seed": seed,
        "use_cpu": not torch.cuda.is_available(),
        "dataloader_pin_memory": False,
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
        "report_to": "none",
    }


def timed_training(trainer: Any, tokens: int) -> Pass:
    """Train with a Trainer, and return time, tokens and losses."""
    from transformers import PrinterCallback

    clock = stopwatch()
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(clock)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return Pass(clock.seconds, tokens, losses)


def peak() -> int:
    """MB that were held at once."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_reserved() >> 20
    return round(peak_mb())


def write(args: argparse.Namespace, system: str, settings: Row, one: Pass) -> None:
    """The result file, and the same without the losses on standard output."""
    summary = {
        "system": system,
        "version": version(system),
        "recipe": args.recipe,
        "examples": args.examples,
        "tokens": one.tokens,
        "steps": len(one.losses),
        "seconds": round(one.seconds, 3),
        "samples_per_second": round(args.examples / one.seconds, 3),
        "tokens_per_second": round(one.tokens / one.seconds, 1),
        "peak_mb": peak(),
        "settings": settings,
        "stack": stack(),
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(summary | {"losses": one.losses}), encoding="utf-8")
    print(json.dumps(summary, indent=1))
