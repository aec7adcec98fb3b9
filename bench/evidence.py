"""Fit and judge the models of evidence: the probability that a candidate is the answer.

Use: python bench/evidence.py [--encoder e5] [--pairs en zh zh-en en-zh] [--count 400] [--judge]

Within a language, questions come from two kinds of libraries:

- Three quarters of the paragraphs of some articles of SQuAD or CMRC. A quarter each of the
  questions is on paragraphs in it; on paragraphs left out, whose neighbors are in it (near misses);
  on other articles; and on paragraphs in it, but with an entity swapped.
- The short documents of bench/evidence_data, which have everyday questions.

Across languages, the questions of bench/parallel and of bench/evidence_data/across.jsonl are asked
on the documentation and on the short documents in the other language.

Models are fitted on training questions and judged on others: SQuAD's and CMRC's dev sets, and the
business documents of bench/answers. Each prints its weights for src/moli/retrieval/evidence.py, its
calibration, and what is answered at several thresholds.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from moli.metrics.calibration import expected_calibration_error
from moli.models.encoders.load import load_encoder
from moli.models.protocols.encoder import Encoder
from moli.retrieval.candidates import candidates
from moli.retrieval.evidence import (
    FEATURES,
    candidate_features,
    evidence_model,
    missing_of,
    required_entities,
    shortlist,
)
from moli.retrieval.ingest import Ingester, SourceDocument, source_from_text
from moli.retrieval.search import Retriever
from moli.workspace import Workspace

HERE = Path(__file__).parent
sys.path.append(str(HERE / "answers"))
from swapped import swapped  # noqa: E402

DATA = HERE.parents[1] / "shared" / "data"
SETS = {"en": "squad/{}-v1.1.jsonl.gz", "zh": "cmrc2018/{}.jsonl.gz"}
BUSINESS = {"en": "business_en", "zh": "business"}
PAIRS = {"en": ("en", "en"), "zh": ("zh", "zh"), "zh-en": ("zh", "en"), "en-zh": ("en", "zh")}
DOCS = HERE.parent / "docs"
PARALLEL = HERE / "parallel" / "questions.jsonl"
ACROSS = HERE / "evidence_data" / "across.jsonl"
# Features that count for encoders without models of their own.
WORDS = tuple(name for name in FEATURES if "similarity" not in name)
PARAGRAPHS, PASSAGES = 1200, 8
# Of the questions of a set, this share counts as answerable; everyday questions count most.
ANSWERABLE = 0.6
PER_SET = (1000.0, 3000.0)
THRESHOLDS = (0.3, 0.4, 0.5, 0.6)
CONFIDENCE = 0.5  # the default setting
Rows = list[dict[str, Any]]
Library = list[SourceDocument] | list[Path]


@dataclass(frozen=True)
class Question:
    """A question with its answers, which are empty if the library does not contain any."""

    text: str
    answers: tuple[str, ...]
    kind: str

    @property
    def is_answerable(self) -> bool:
        return self.kind == "held"


@dataclass(frozen=True)
class Scores:
    """A question's candidates.

    Attributes:
        values: their features [n, f].
        is_right: whether each contains the answer [n].
        is_about: whether each has all entities of the question [n].
        weight: how much the question counts in the fit.
    """

    question: Question
    values: np.ndarray
    is_right: np.ndarray
    is_about: np.ndarray
    weight: float = 1.0


def read(path: Path) -> Rows:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def paragraphs(language: str, part: str, count: int) -> tuple[Library, list[Question]]:
    """A library of paragraphs, and `count` questions of each kind."""
    draw = random.Random(0 if part == "train" else 1)
    rows = read(DATA / SETS[language].format(part))
    titles = list(dict.fromkeys(row["title"] for row in rows))
    draw.shuffle(titles)
    of_title: dict[str, list[str]] = {}
    for row in rows:
        of_title.setdefault(row["title"], []).append(row["context"])
    library: dict[str, str] = {}
    for title in titles[: len(titles) * 2 // 3]:
        library |= dict.fromkeys(of_title[title], title)
        if len(library) >= PARAGRAPHS:
            break
    left_out = set(draw.sample(list(library), len(library) // 4))
    inside = [row for row in rows if row["context"] in library.keys() - left_out]
    of_kind = {
        "held": draw.sample(inside, min(count, len(inside))),
        "near miss": [row for row in rows if row["context"] in left_out],
        "elsewhere": [row for row in rows if row["title"] not in set(library.values())],
    }
    questions = [
        Question(row["question"], tuple(row["answers"]) if kind == "held" else (), kind)
        for kind, pool in of_kind.items()
        for row in draw.sample(pool, min(count, len(pool)))
    ]
    of_swapped = swapped(inside, of_kind["elsewhere"], language, count)
    questions += [Question(text, (), "swapped") for text in of_swapped]
    kept = [(title, text) for text, title in library.items() if text not in left_out]
    return [
        source_from_text(str(number), text, title.replace("_", " "))
        for number, (title, text) in enumerate(kept)
    ], questions


def everyday(language: str) -> tuple[Library, list[Question]]:
    """Short documents with everyday questions."""
    folder = HERE / "evidence_data"
    rows = read(folder / f"{language}.jsonl")
    return sorted((folder / language).iterdir()), list(map(asked, rows))


def asked(row: dict[str, Any]) -> Question:
    """The question of a row of everyday questions."""
    kind = "held" if row.get("answers") else "near" if row["near"] else "elsewhere"
    return Question(row["question"], tuple(row.get("answers", ())), kind)


def business(language: str) -> tuple[Library, list[Question]]:
    """Short business documents with everyday questions, on which nothing is fitted."""
    folder = HERE / "answers" / BUSINESS[language]
    asked = [
        Question(row["question"], tuple(row["answers"]), "held")
        for row in read(folder / "questions.jsonl")
    ]
    others = [
        Question(row["question"], (), row["kind"]) for row in read(folder / "unanswerable.jsonl")
    ]
    return sorted((folder / "documents").iterdir()), asked + others


def documentation(language: str, of_passages: str, is_fit: bool) -> tuple[Library, list[Question]]:
    """The documentation in one language; questions on it and on other things in another."""
    rows = read(HERE / "answers" / "across.jsonl")
    if is_fit:
        rows = read(PARALLEL) + [row for row in read(ACROSS) if row["library"] == "docs"]
    held = [Question(row[language], (row[f"answer_{of_passages}"],), "held") for row in rows]
    _, others = everyday(language) if is_fit else business(language)
    elsewhere = [replace(other, answers=(), kind="elsewhere") for other in others]
    return sorted((DOCS / of_passages).glob("*.md")), held + elsewhere


def everyday_across(of_passages: str) -> tuple[Library, list[Question]]:
    """Short documents with everyday questions in the other language."""
    rows = [row for row in read(ACROSS) if row["library"] == of_passages]
    return sorted((HERE / "evidence_data" / of_passages).iterdir()), list(map(asked, rows))


def scores(library: Library, questions: Sequence[Question], encoder: Encoder) -> list[Scores]:
    """The candidates of each question in a workspace with the library."""
    with tempfile.TemporaryDirectory() as folder, Workspace.init(Path(folder)) as workspace:
        ingester = Ingester(workspace, encoder)
        are_files = isinstance(library[0], Path)
        add = ingester.add_files if are_files else ingester.add_documents
        for _ in add(library):  # type: ignore[arg-type]
            pass  # the reports do not matter here
        retriever = Retriever(workspace, encoder)
        return list(filter(None, (score(workspace, retriever, each) for each in questions)))


def score(workspace: Workspace, retriever: Retriever, question: Question) -> Scores | None:
    """The candidates of a question; None if nothing is retrieved for it."""
    hits = retriever.search(question.text, PASSAGES)
    documents = workspace.documents.list(None, {hit.document_id for hit in hits})
    headings = {document.id: document.headings for document in documents}
    shortlisted = shortlist(question.text, candidates(hits, headings))
    if not shortlisted:
        return None
    required = required_entities(question.text, hits)
    texts = [plain(hits[each.hit].text[each.start : each.end]) for each in shortlisted]
    answers = [plain(answer) for answer in question.answers]
    return Scores(
        question,
        candidate_features(question.text, hits, shortlisted, retriever.encoder),
        np.array([any(answer in text for answer in answers) for text in texts]),
        np.array(
            [not missing_of(required[each.hit], each, hits[each.hit]) for each in shortlisted]
        ),
    )


def plain(text: str) -> str:
    """The letters and digits of a text: Markdown's marks are not in a document's text."""
    return re.sub(r"\[([^\]]*)\]\([^)]*\)|[\W_]+", r"\1", text).casefold()


def weigh(results: Sequence[Scores], total: float) -> list[Scores]:
    """The questions of a set with weights, which add up to `total`."""
    counts = Counter(each.question.is_answerable for each in results)
    shares = {True: ANSWERABLE, False: 1 - ANSWERABLE}
    return [
        replace(each, weight=total * shares[kind] / counts[kind])
        for each in results
        for kind in [each.question.is_answerable]
    ]


def fit(results: Sequence[Scores], counted: Sequence[str] = FEATURES) -> tuple[np.ndarray, float]:
    """Weights and intercept of a regression on candidates, scaled on the best candidates.

    Args:
        counted: features that count; the others' weights are 0.
    """
    from sklearn.linear_model import LogisticRegression

    values = np.concatenate([each.values[each.is_about] for each in results])
    is_right = np.concatenate([each.is_right[each.is_about] for each in results])
    mean, deviation = values.mean(axis=0), values.std(axis=0) + 1e-9
    deviation[[name not in counted for name in FEATURES]] = 1e9
    weight_of_each = np.concatenate(
        [np.full(int(each.is_about.sum()), each.weight) for each in results]
    )
    candidate = LogisticRegression(max_iter=3000)
    candidate.fit((values - mean) / deviation, is_right, sample_weight=weight_of_each)
    weights = candidate.coef_[0] / deviation
    intercept = float(candidate.intercept_[0] - weights @ mean)
    logits, are_right, weights_of_best = [], [], []
    for each in results:
        if each.is_about.any():
            of_question = each.values[each.is_about] @ weights + intercept
            best = max(zip(of_question, each.is_right[each.is_about], strict=True))
            logits.append(best[0])
            are_right.append(best[1])
            weights_of_best.append(each.weight)
    scale = LogisticRegression(C=100.0)
    scale.fit(np.array(logits)[:, None], are_right, sample_weight=weights_of_best)
    slope, shift = float(scale.coef_[0, 0]), float(scale.intercept_[0])
    return np.where(deviation < 1e8, slope * weights, 0.0), slope * intercept + shift


def judge(name: str, results: Sequence[Scores], weights: np.ndarray, intercept: float) -> None:
    """Print how good the best candidates are, and what is answered at some thresholds."""
    probabilities, are_right, right_without_gate = [], [], 0
    for each in results:
        without_gate = 1 / (1 + np.exp(-(each.values @ weights + intercept)))
        probability = each.is_about * without_gate
        best = int(probability.argmax())
        probabilities.append(probability[best])
        are_right.append(bool(each.is_right[best]))
        first = int(without_gate.argmax())
        is_answered = each.question.is_answerable and without_gate[first] >= CONFIDENCE
        right_without_gate += bool(is_answered and each.is_right[first])
    confidence, is_right = np.array(probabilities), np.array(are_right)
    kinds = np.array([each.question.kind for each in results])
    held = kinds == "held"
    any_is_right = np.array([each.is_right.any() for each in results])
    error = expected_calibration_error(confidence, is_right, bins=10)
    print(
        f"{name}: {held.sum()} answerable, best candidate right {is_right[held].mean():.3f} "
        f"(any {any_is_right[held].mean():.3f}), calibration error {error:.3f}"
    )
    for threshold in THRESHOLDS:
        answered = confidence >= threshold
        others = ", ".join(
            f"{kind} answered {answered[kinds == kind].mean():.3f}"
            for kind in sorted({*kinds} - {"held"})
        )
        right, wrong = (answered & held & is_right).sum(), (answered & held & ~is_right).sum()
        refused = (held & ~answered).sum()
        if threshold == CONFIDENCE:
            print(f"  without the gate of entities, at {threshold}: right {right_without_gate}")
        print(f"  at {threshold}: right {right}, wrong {wrong}, refused {refused}; {others}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--judge", action="store_true", help="judge the models in src, do not fit")
    parser.add_argument("--count", type=int, default=400, help="questions of each kind")
    parser.add_argument("--encoder", default="e5")
    parser.add_argument("--pairs", nargs="+", default=list(PAIRS), choices=PAIRS)
    args = parser.parse_args()
    encoder = load_encoder(args.encoder)
    for name in args.pairs:
        language, of_passages = PAIRS[name]
        is_across = language != of_passages
        if args.judge:
            model = evidence_model(args.encoder, language, of_passages)
            models = {"as it is": (np.array(model.weights), model.intercept)}
        else:
            fit_sets = [one for _, one in sets(name, args.count, True)]
            totals = PER_SET[:1] * 2 if is_across else PER_SET
            results = [
                result
                for one, total in zip(fit_sets, totals, strict=True)
                for result in weigh(scores(*one, encoder), total)
            ]
            models = {"fitted": fit(results)}
            if not is_across:
                models["words alone"] = fit(results, WORDS)
        judged = [(label, scores(*one, encoder)) for label, one in sets(name, args.count, False)]
        for kind, (weights, intercept) in models.items():
            numbers = ", ".join(f"{weight:.3f}" for weight in weights)
            print(f"\n{name}, {kind}: ({numbers}), {intercept:.3f}")
            for label, of_label in judged:
                judge(label, of_label, weights, intercept)


def sets(
    name: str, count: int, is_fit: bool
) -> Iterator[tuple[str, tuple[Library, list[Question]]]]:
    """The libraries and questions of a pair of languages, to fit on or to judge with."""
    language, of_passages = PAIRS[name]
    if language != of_passages:
        yield "documentation", documentation(language, of_passages, is_fit)
        if is_fit:
            yield "everyday", everyday_across(of_passages)
        return
    yield "paragraphs", paragraphs(language, "train" if is_fit else "dev", count)
    yield ("everyday", everyday(language)) if is_fit else ("business", business(language))


if __name__ == "__main__":
    main()
