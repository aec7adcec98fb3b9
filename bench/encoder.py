"""An encoder as it is used against itself in float32: rate, and how far vectors move.

Use: make bench-encoder    (or: python bench/encoder.py --encoder e5)

Texts are every tenth passage of each set of bench/retrieval.py.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from moli.models.encoders.bert import BertEncoder
from moli.models.encoders.encoder_files import read_encoder_files
from moli.models.encoders.load import load_encoder
from moli.models.protocols.encoder import Encoder
from moli.models.weights.builtin import builtin_encoder_folder
from moli.models.weights.known import known_folder

HERE = Path(__file__).parent
sys.path.append(str(HERE / "peers"))

from contract import passage_text, read_jsonl  # noqa: E402

SETS = ("squad", "scifact", "cmrc")
ROUNDS = 3


def texts(name: str) -> list[str]:
    passages = read_jsonl(HERE / ".data" / name / "passages.jsonl")
    return [passage_text(passage) for passage in passages[::10]]


def measured(encoder: Encoder, some: list[str]) -> tuple[np.ndarray, float]:
    """Vectors, and the median of texts a second."""
    rates = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        vectors = encoder.encode(some, "passage")
        rates.append(len(some) / (time.perf_counter() - begun))
    return vectors, statistics.median(rates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", default="builtin:minilm", choices=("builtin:minilm", "e5"))
    args = parser.parse_args()
    if not all((HERE / ".data" / name).exists() for name in SETS):
        subprocess.run([sys.executable, str(HERE / "peers" / "prepare.py")], check=True)
    used = load_encoder(args.encoder)
    folder = known_folder(args.encoder) or builtin_encoder_folder()
    exact = BertEncoder(read_encoder_files(folder, args.encoder), name="float32", precision="f32")
    print("| set | texts | texts/s | in float32 | mean deviation | largest |")
    print("|---|---|---|---|---|---|")
    for name in SETS:
        some = texts(name)
        vectors, rate = measured(used, some)
        truth, exact_rate = measured(exact, some)
        deviation = 1 - (vectors * truth).sum(axis=1)
        print(
            f"| {name} | {len(some)} | {rate:.1f} | {exact_rate:.1f} "
            f"| {deviation.mean():.5f} | {deviation.max():.5f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
