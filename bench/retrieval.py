"""Moli and its peers on the same passages and queries, in one run, each in its own environment.

Use: make bench-retrieval            (or: python bench/retrieval.py --sets squad --encoder e5)
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from moli.models.weights.known import known_folder

HERE = Path(__file__).parent
sys.path.append(str(HERE / "peers"))

from contract import ENCODER_FOLDER  # noqa: E402
from score import read_qrels, score  # noqa: E402

SETS = ("squad", "crowd", "scifact", "cmrc")
PEERS = ("moli", "llamaindex", "haystack", "txtai")
MODES = ("hybrid", "default", "lexical")
DATA = HERE / ".data"


def measure(peer: str, name: str, mode: str, *, sample: bool) -> dict[str, object]:
    """Run one peer on one set: its summary, with its scores on the queries that were sent."""
    folder = DATA / name
    out = DATA / "results" / f"{name}-{peer}-{mode}.json"
    runner = HERE / "peers" / peer / "run.py"
    files = [str(folder / "passages.jsonl"), str(folder / "queries.jsonl"), str(out)]
    command = [python_of(peer), str(runner), *files, "--mode", mode]
    command += ["--sample"] if sample else []
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    summary = json.loads(out.read_text(encoding="utf-8"))
    results = summary.pop("results")
    qrels = read_qrels(folder / "qrels.tsv")
    return summary | score(results, {query: qrels[query] for query in results})


def python_of(peer: str) -> str:
    """The Python interpreter of a peer's environment, which is set up if needed."""
    if peer == "moli":
        return sys.executable
    python = HERE / ".envs" / peer / "bin" / "python"
    if not python.exists():
        subprocess.run(["sh", str(HERE / "peers" / "setup.sh"), peer], check=True)
    return str(python)


def row(name: str, summary: dict[str, object]) -> str:
    """A row of the table, from one peer's summary on one set."""
    times: dict[str, float] = summary["query_ms"]  # type: ignore[assignment]
    scores = " | ".join(
        f"{summary[key]:.4f}" for key in ("recall@1", "recall@5", "recall@20", "ndcg@10")
    )
    return (
        f"| {name} | {summary['peer']} {summary['version']} | {summary['mode']} "
        f"| {summary['index_rate']} | {times['p50']} | {times['p95']} "
        f"| {scores} | {summary['peak_rss_mb']} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    # By default not the crowd: it takes the slower peers half an hour each.
    parser.add_argument("--sets", nargs="+", default=("squad", "scifact", "cmrc"), choices=SETS)
    parser.add_argument("--peers", nargs="+", default=PEERS, choices=PEERS)
    parser.add_argument("--modes", nargs="+", default=MODES, choices=MODES)
    parser.add_argument(
        "--encoder",
        default="builtin:minilm",
        help="for all systems: builtin:minilm, or a name of `moli models get` such as e5",
    )
    parser.add_argument(
        "--all", action="store_true", help="every query, not only the 1,000 that are timed"
    )
    args = parser.parse_args()
    if args.encoder != "builtin:minilm":
        os.environ[ENCODER_FOLDER] = str(known_folder(args.encoder))
    if not all((DATA / name / "qrels.tsv").exists() for name in args.sets):
        subprocess.run([sys.executable, str(HERE / "peers" / "prepare.py")], check=True)
    print(
        "| set | system | mode | passages/s | p50 ms | p95 ms | R@1 | R@5 | R@20 | nDCG@10 | MB |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name in args.sets:
        for mode in args.modes:
            for peer in args.peers if mode != "lexical" else {"moli"} & {*args.peers}:
                print(row(name, measure(peer, name, mode, sample=not args.all)), flush=True)


if __name__ == "__main__":
    main()
