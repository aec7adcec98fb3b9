"""Fit and evaluate the models of evidence: the probability that a sentence contains the answer.

Use: python bench/evidence.py            fit on training questions, evaluate on dev questions
     python bench/evidence.py --judge    evaluate the models in src/moli as they are

Within a language, the library contains three quarters of some articles' paragraphs. Questions are
of three kinds, a third each: on paragraphs in it; on paragraphs left out, whose neighbors are in it
(near misses); and on articles that are not in it at all. Only the first kind has an answer. Across
languages, the library is three quarters of the documentation's pages in one language, and the
questions of bench/parallel are asked in the other.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from moli.models.encoders.load import load_encoder
from moli.models.protocols.encoder import Encoder
from moli.retrieval.evidence import (
    FEATURES,
    candidate_sentences,
    evidence_model,
    sentence_features,
)
from moli.retrieval.ingest import Ingester, source_from_text
from moli.retrieval.search import Retriever
from moli.workspace import Workspace

DATA = Path(__file__).parents[2] / "shared" / "data"
SETS = {
    ("en", "en"): ("squad/train-v1.1.jsonl.gz", "squad/dev-v1.1.jsonl.gz"),
    ("zh", "zh"): ("cmrc2018/train.jsonl.gz", "cmrc2018/dev.jsonl.gz"),
}
PAIRS = {"en": ("en", "en"), "zh": ("zh", "zh"), "zh-en": ("zh", "en"), "en-zh": ("en", "zh")}
DOCS = Path(__file__).parents[1] / "docs"
PARALLEL = Path(__file__).parent / "parallel" / "questions.jsonl"
# Features that count across languages, where words are hardly ever shared.
MEANING = ("similarity", "rank", "passage_similarity")
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


def parallel_questions(
    language: str, passage_language: str, seed: int
) -> tuple[list[tuple[str, str]], list[Question]]:
    """A library of (name, page), and half of the questions, some on pages that are left out.

    Args:
        seed: 0 for one half of the questions and of the pages that are left out, 1 for the other.
    """
    with PARALLEL.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines][seed::2]
    pages = sorted((DOCS / passage_language).glob("*.md"))
    left_out = {page.name for page in pages[seed::4]}
    library = [(page.stem, page.read_text("utf-8")) for page in pages if page.name not in left_out]
    return library, [
        Question(row[language], (), "elsewhere")
        if row["source"] in left_out
        else Question(row[language], (row[f"answer_{passage_language}"],), "held")
        for row in rows
    ]


def compute_features(
    library: Sequence[tuple[str, str]], selected: Sequence[Question], encoder: Encoder
) -> list[QuestionFeatures]:
    """The features of each question's retrieved sentences, in a workspace with the library."""
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
            has_answer = [contains(text, question.answers) for text in texts]
            results.append(QuestionFeatures(question, values, np.array(has_answer)))
        return results


def contains(text: str, answers: Sequence[str]) -> bool:
    """Whether a sentence contains an answer, or most of a long one."""
    return any(answer in text or (len(text) > 20 and text in answer) for answer in answers)


def fit(
    results: Sequence[QuestionFeatures], counted: Sequence[str] = FEATURES
) -> tuple[np.ndarray, float]:
    """Weights and intercept of a regression on sentences, scaled on the best sentences.

    Args:
        counted: features that count; the others' weights are 0.
    """
    from sklearn.linear_model import LogisticRegression

    columns = np.array([name in counted for name in FEATURES])
    results = [replace(each, values=each.values * columns) for each in results]
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
    kinds = {each.question.kind for each in results} - {"held"}
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
    for kind in sorted(kinds):
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
    parser.add_argument("--encoder", default="e5")
    parser.add_argument("--pairs", nargs="+", default=list(PAIRS), choices=PAIRS)
    args = parser.parse_args()
    encoder = load_encoder(args.encoder)
    for name in args.pairs:
        pair = PAIRS[name]
        model = evidence_model(args.encoder, *pair)
        models = {"as it is": (np.array(model.weights), model.intercept)}
        if not args.judge:
            results = compute_features(*questions_of(pair, args.count, seed=0), encoder)
            is_across = pair not in SETS
            models = {"fitted": fit(results, MEANING if is_across else FEATURES)}
            if not is_across:
                words = [each for each in FEATURES if "similarity" not in each]
                models["words alone"] = fit(results, words)
        dev = compute_features(*questions_of(pair, args.count, seed=1), encoder)
        for kind, (weights, intercept) in models.items():
            shown = ", ".join(f"{value:.3f}" for value in weights)
            print(f"{name}, {kind}: ({shown}), {intercept:.3f}")
            print(json.dumps(evaluate(dev, weights, intercept), indent=2), flush=True)


def questions_of(
    pair: tuple[str, str], count: int, seed: int
) -> tuple[list[tuple[str, str]], list[Question]]:
    """A library and questions for a pair of languages; with seed 0 to fit on, with 1 to judge."""
    if pair not in SETS:
        return parallel_questions(*pair, seed)
    return questions(DATA / SETS[pair][seed], count, seed)


if __name__ == "__main__":
    main()
