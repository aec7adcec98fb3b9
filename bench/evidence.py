"""Fit and evaluate the model of evidence: the probability that a sentence contains the answer.

Use: python bench/evidence.py            fit on training questions, evaluate on dev questions
     python bench/evidence.py --judge    evaluate the coefficients in src/moli as they are

The library contains three quarters of some articles' paragraphs. Questions are of three kinds, a
third each: on paragraphs in it; on paragraphs left out, whose neighbors are in it (near misses);
and on articles that are not in it at all. Only the first kind has an answer.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moli.models.encoders.load import load_encoder
from moli.retrieval.evidence import (
    COEFFICIENTS,
    FEATURES,
    INTERCEPTS,
    candidate_sentences,
    sentence_features,
)
from moli.retrieval.ingest import Ingester, source_from_text
from moli.retrieval.search import Retriever
from moli.workspace import Workspace

DATA = Path(__file__).parents[2] / "shared" / "data"
SETS = {
    "en": ("squad/train-v1.1.jsonl.gz", "squad/dev-v1.1.jsonl.gz"),
    "zh": ("cmrc2018/train.jsonl.gz", "cmrc2018/dev.jsonl.gz"),
}
PARAGRAPHS = 1500
PASSAGES = 8


@dataclass(frozen=True)
class Question:
    """A question with its answers, which are empty if the library does not contain any."""

    text: str
    answers: tuple[str, ...]
    kind: str


@dataclass(frozen=True)
class QuestionFeatures:
    """A question's sentences: features [n, f] and whether each contains the answer [n]."""

    question: Question
    values: np.ndarray
    has_answer: np.ndarray


def questions(path: Path, count: int, seed: int) -> tuple[list[tuple[str, str]], list[Question]]:
    """A library of (title, paragraph) and `count` questions of each kind."""
    generator = random.Random(seed)
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    titles = list(dict.fromkeys(row["title"] for row in rows))
    generator.shuffle(titles)
    library: dict[tuple[str, str], None] = {}
    held_titles: set[str] = set()
    by_title: dict[str, list[dict]] = {}
    for row in rows:
        by_title.setdefault(row["title"], []).append(row)
    for title in titles[: len(titles) * 2 // 3]:
        held_titles.add(title)
        library.update(dict.fromkeys((title, row["context"]) for row in by_title[title]))
        if len(library) >= PARAGRAPHS:
            break
    left_out = set(generator.sample(list(library), len(library) // 4))
    kept = [each for each in library if each not in left_out]
    of_kind = {
        "held": [r for r in rows if (r["title"], r["context"]) in set(kept)],
        "near miss": [r for r in rows if (r["title"], r["context"]) in left_out],
        "elsewhere": [r for r in rows if r["title"] not in held_titles],
    }
    selected = [
        Question(row["question"], tuple(row["answers"]) if kind == "held" else (), kind)
        for kind, pool in of_kind.items()
        for row in generator.sample(pool, min(count, len(pool)))
    ]
    return kept, selected


def compute_features(
    library: Sequence[tuple[str, str]], selected: Sequence[Question]
) -> list[QuestionFeatures]:
    """The features of each question's retrieved sentences, in a workspace with the library."""
    encoder = load_encoder("builtin:minilm")
    with tempfile.TemporaryDirectory() as folder, Workspace.init(Path(folder)) as workspace:
        sources = (
            source_from_text(str(n), text, title.replace("_", " "))
            for n, (title, text) in enumerate(library)
        )
        for _ in Ingester(workspace, encoder).add_documents(sources):
            pass  # the reports do not matter here
        retriever = Retriever(workspace, encoder)
        results = []
        for question in selected:
            hits = retriever.search(question.text, PASSAGES)
            headings = {hit.document_id: () for hit in hits}
            spans = candidate_sentences(hits, headings)
            if not spans:
                continue
            lexical = retriever.indexes.lexical
            values = sentence_features(question.text, hits, spans, headings, encoder, lexical)
            texts = [hits[span.hit].text[span.start : span.end] for span in spans]
            has_answer = [any(answer in text for answer in question.answers) for text in texts]
            results.append(QuestionFeatures(question, values, np.array(has_answer)))
        return results


def fit(results: Sequence[QuestionFeatures]) -> tuple[np.ndarray, float]:
    """Coefficients and intercept of a regression on sentences, scaled on the best sentences."""
    from sklearn.linear_model import LogisticRegression

    x = np.concatenate([each.values for each in results])
    y = np.concatenate([each.has_answer for each in results])
    sentence = LogisticRegression(C=10.0, max_iter=3000).fit(x, y)
    best = np.array([sentence.decision_function(each.values).max() for each in results])
    held = [each.has_answer.any() for each in results]
    scale = LogisticRegression(C=10.0).fit(best[:, None], held)
    slope, shift = float(scale.coef_[0, 0]), float(scale.intercept_[0])
    return slope * sentence.coef_[0], slope * float(sentence.intercept_[0]) + shift


def evaluate(
    results: Sequence[QuestionFeatures], weights: np.ndarray, intercept: float
) -> dict[str, object]:
    """Accuracy of the best sentences, and calibration of their probabilities."""
    logits = [each.values @ weights + intercept for each in results]
    confidence = np.array([1 / (1 + np.exp(-logit.max())) for logit in logits])
    right = np.array(
        [e.has_answer[logit.argmax()] for e, logit in zip(results, logits, strict=True)]
    )
    held = np.array([each.question.kind == "held" for each in results])
    order = np.argsort(-confidence)
    report: dict[str, object] = {
        "questions": len(results),
        "best sentence holds the answer (held questions)": round(float(right[held].mean()), 3),
        "any of the passages does": round(
            float(np.mean([e.has_answer.any() for e, h in zip(results, held, strict=True) if h])), 3
        ),
        "auc held vs not": round(auc(confidence[held], confidence[~held]), 3),
    }
    for kind in ("near miss", "elsewhere"):
        of_kind = np.array([each.question.kind == kind for each in results])
        report[f"auc held vs {kind}"] = round(auc(confidence[held], confidence[of_kind]), 3)
    answerable = np.array([each.has_answer.any() for each in results])
    report["risk at coverage"] = {
        f"{share:.0%}": round(1 - float(right[order[: int(share * len(order))]].mean()), 3)
        for share in (0.1, 0.2, 0.3, 0.4, 0.5, 1.0)
    }
    report["at threshold"] = {
        f"{t:.2f}": {
            "answered of held": round(float((confidence[held] >= t).mean()), 3),
            "answered of not held": round(float((confidence[~held] >= t).mean()), 3),
            "right of answered": round(float(right[confidence >= t].mean()), 3),
        }
        for t in (0.3, 0.4, 0.5, 0.6, 0.7)
        if (confidence >= t).any()
    }
    report["calibration error"] = round(calibration_error(confidence, answerable), 3)
    return report


def calibration_error(confidence: np.ndarray, answerable: np.ndarray) -> float:
    """Expected calibration error in ten equal bins (Guo et al. 2017)."""
    bins = np.digitize(confidence, np.linspace(0, 1, 11)[1:-1])
    gaps = (
        abs(confidence[bins == b].mean() - answerable[bins == b].mean()) * (bins == b).mean()
        for b in set(bins)
    )
    return float(sum(gaps))


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Chance that a positive scores above a negative."""
    return float(np.mean(positive[:, None] > negative[None, :]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--judge", action="store_true", help="do not fit")
    parser.add_argument("--count", type=int, default=400, help="questions of each kind")
    parser.add_argument("--languages", nargs="+", default=list(SETS))
    args = parser.parse_args()
    for language in args.languages:
        train, dev = (DATA / name for name in SETS[language])
        weights, intercept = np.array(COEFFICIENTS[language]), INTERCEPTS[language]
        if not args.judge:
            weights, intercept = fit(compute_features(*questions(train, args.count, seed=0)))
            shown = ", ".join(f"{value:.3f}" for value in weights)
            print(f"{language}: ({shown}), intercept {intercept:.3f}")
            print("   ", dict(zip(FEATURES, np.round(weights, 2).tolist(), strict=True)))
        report = evaluate(compute_features(*questions(dev, args.count, seed=1)), weights, intercept)
        print(language, json.dumps(report, indent=2), flush=True)


if __name__ == "__main__":
    main()
