"""Search within and across languages: the documentation in English and Chinese, 240 places.

Each place is a sentence of a page, in both languages, with a question that it answers, in words of
its own. Queries are the questions, and the sentences themselves: across languages, whoever reads
one of them looks for its translation. The library is of whole pages, with many things in a passage,
or of the places' paragraphs, each a document. A query counts as found at rank n if the n-th passage
is of the right page and contains the sentence.

Use: python bench/parallel/run.py [--encoder e5] [--library pages]
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from moli.models.encoders.load import load_encoder
from moli.models.protocols.encoder import Encoder
from moli.records.answers import Fusion, Hit
from moli.retrieval.discover import discover
from moli.retrieval.ingest import Ingester, source_from_text
from moli.retrieval.search import Retriever
from moli.workspace import Workspace

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
LIBRARIES = (("en",), ("zh",), ("en", "zh"))
FUSIONS = {"default": None, "meaning": Fusion("minmax", 0.0), "words": Fusion("minmax", 1.0)}
QUERIES = {
    "en": "question, en",
    "zh": "question, zh",
    "answer_en": "sentence, en",
    "answer_zh": "sentence, zh",
}
DEPTH = 20


def questions() -> list[dict[str, str]]:
    """Rows with a question (en, zh), its source and its answer (answer_en, answer_zh)."""
    lines = (HERE / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def ranks(
    rows: list[dict[str, str]], retriever: Retriever, column: str, held: tuple[str, ...], name: str
) -> Iterator[int]:
    """Rank of each query's passage, from 1; DEPTH + 1 if it is not found."""
    for row in rows:
        hits = retriever.search(row[column], DEPTH, None, FUSIONS[name])
        yield next((rank for rank, hit in enumerate(hits, 1) if answers(row, hit, held)), DEPTH + 1)


def answers(row: dict[str, str], hit: Hit, held: tuple[str, ...]) -> bool:
    """Whether a passage contains a question's answer, in a language of the library."""
    return any(
        f"/{language}/{row['source']}" in hit.source
        and plain(row[f"answer_{language}"])[:30] in plain(hit.text)
        for language in held
    )


def plain(text: str) -> str:
    """A text without white space and Markdown's signs."""
    return "".join(each for each in text if each.isalnum())


def open_library(folder: str, encoder: Encoder, held: tuple[str, ...], kind: str) -> Retriever:
    """A workspace with the pages in some languages, or with their paragraphs."""
    workspace = Workspace.init(Path(folder))
    ingester = Ingester(workspace, encoder)
    if kind == "pages":
        paths, _ = discover([str(DOCS / language) for language in held])
        reports = ingester.add_files(paths)
    else:
        texts = {name: text for language in held for name, text in paragraphs(language)}
        reports = ingester.add_documents(source_from_text(*item) for item in texts.items())
    for _ in reports:
        pass  # the reports do not matter here
    return Retriever(workspace, encoder)


def paragraphs(language: str) -> Iterator[tuple[str, str]]:
    """Name and text of each paragraph that answers a question."""
    for row in questions():
        page = (DOCS / language / row["source"]).read_text(encoding="utf-8").split("\n\n")
        for number, text in enumerate(page):
            if row[f"answer_{language}"] in text:
                yield f"/{language}/{row['source']}#{number}", text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", default="e5")
    parser.add_argument("--library", default="paragraphs", choices=("paragraphs", "pages"))
    args = parser.parse_args()
    encoder, rows = load_encoder(args.encoder), questions()
    print("| query | library | by | recall@1 | recall@5 | recall@20 |")
    print("|---|---|---|---|---|---|")
    for held in LIBRARIES:
        with tempfile.TemporaryDirectory() as folder:
            retriever = open_library(folder, encoder, held, args.library)
            for column, name in itertools.product(QUERIES, FUSIONS):
                found = list(ranks(rows, retriever, column, held, name))
                shares = (sum(rank <= k for rank in found) / len(found) for k in (1, 5, 20))
                shown = " | ".join(f"{share:.3f}" for share in shares)
                print(f"| {QUERIES[column]} | {' + '.join(held)} | {name} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
