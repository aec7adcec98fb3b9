"""Make the retrieval sets: bench/.data/<set>/passages.jsonl, queries.jsonl and qrels.tsv.

Use: python bench/peers/prepare.py [--data ../shared/data] [squad crowd scifact cmrc]

squad and cmrc: every distinct paragraph of the dev set is a passage, every question a query whose
one relevant passage is its paragraph. crowd: squad with the training set's paragraphs besides.
scifact: abstracts, claims and judgements as BEIR has them.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
Row = dict[str, str]
Qrels = list[tuple[str, str, int]]
Set = tuple[list[Row], list[Row], Qrels]


def reading(path: Path) -> Set:
    """A reading-comprehension set (question beside its paragraph) as a retrieval set."""
    ids: dict[tuple[str, str], str] = {}
    passages, queries, qrels = [], [], []
    for row in rows(path):
        key = (row["title"], row["context"])
        if key not in ids:
            ids[key] = f"p{len(ids):04d}"
            # The titles are page names: "Super_Bowl_50".
            title = row["title"].replace("_", " ")
            passages.append({"id": ids[key], "title": title, "text": row["context"]})
        queries.append({"id": row["id"], "text": row["question"]})
        qrels.append((row["id"], ids[key], 1))
    return passages, queries, qrels


def crowd(folder: Path) -> Set:
    """SQuAD's dev questions among the paragraphs of its training set too, ten times as many."""
    passages, queries, qrels = reading(folder / "dev-v1.1.jsonl.gz")
    others, _, _ = reading(folder / "train-v1.1.jsonl.gz")
    return [*passages, *(row | {"id": "t" + row["id"]} for row in others)], queries, qrels


def scifact(folder: Path) -> Set:
    judged = {}  # a dict, since one judgement stands there twice
    for line in (folder / "qrels_test.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        claim, document, grade = line.split("\t")
        judged[claim, document] = int(grade)
    # BEIR's test judgements are for the claims of SciFact's own validation file (those of its test
    # file are unpublished), so the claims are looked up by id wherever they are.
    texts = {
        row["_id"]: row["text"]
        for path in sorted(folder.glob("claims_*.jsonl.gz"))
        for row in rows(path)
    }
    passages = [
        {"id": row["_id"], "title": row["title"], "text": row["text"]}
        for row in rows(folder / "corpus.jsonl.gz")
    ]
    claims = dict.fromkeys(claim for claim, _ in judged)
    queries = [{"id": claim, "text": texts[claim]} for claim in claims]
    return passages, queries, [(*pair, grade) for pair, grade in judged.items()]


SETS: dict[str, Callable[[Path], Set]] = {
    "squad": lambda data: reading(data / "squad" / "dev-v1.1.jsonl.gz"),
    "crowd": lambda data: crowd(data / "squad"),
    "scifact": lambda data: scifact(data / "scifact"),
    "cmrc": lambda data: reading(data / "cmrc2018" / "dev.jsonl.gz"),
}


def rows(path: Path) -> Iterator[dict]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def write_jsonl(path: Path, values: Iterable[Row]) -> None:
    lines = (json.dumps(value, ensure_ascii=False) + "\n" for value in values)
    path.write_text("".join(lines), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of {', '.join(SETS)} (all)")
    parser.add_argument("--data", type=Path, default=REPO.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=REPO / "bench" / ".data")
    args = parser.parse_args()
    if unknown := set(args.sets) - set(SETS):
        parser.error(f"no such set: {', '.join(sorted(unknown))}")
    if not args.data.is_dir():
        sys.exit(f"skipped: {args.data} is not there, so there is nothing to make the sets from")

    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / ".gitignore").write_text("*\n", encoding="utf-8")  # made again at will
    for name in args.sets or SETS:
        passages, queries, qrels = SETS[name](args.data)
        folder = args.out / name
        folder.mkdir(exist_ok=True)
        write_jsonl(folder / "passages.jsonl", passages)
        write_jsonl(folder / "queries.jsonl", queries)
        lines = (f"{query}\t{passage}\t{grade}\n" for query, passage, grade in qrels)
        (folder / "qrels.tsv").write_text("".join(lines), encoding="utf-8")
        print(f"{name}: {len(passages)} passages, {len(queries)} queries, {len(qrels)} judgements")


if __name__ == "__main__":
    main()
