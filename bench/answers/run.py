"""What `moli ask` answers, shows as closest, and refuses, on the sets of questions in this folder.

Use: python bench/answers/run.py [--encoder e5] [--only cases business across] [--show]

Each set has libraries and questions. The outcome of a question is:

- right, if the answer shows what the set expects, and else wrong;
- closest, if only the sentence that is marked as not sure shows it, and else unsure;
- refused, if nothing is shown.

For a question that the documents do not answer, nothing is expected: any answer is wrong.
"""

from __future__ import annotations

import argparse
import fnmatch
import gzip
import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moli.models.encoders.load import load_encoder
from moli.models.protocols.encoder import Encoder
from moli.records.answers import Answer, Sentence
from moli.retrieval.answer import Answerer
from moli.retrieval.ingest import Ingester
from moli.retrieval.search import Retriever
from moli.workspace import Workspace

HERE = Path(__file__).parent
REPO = HERE.parents[1]
SHARED = REPO.parent / "shared"
OUTCOMES = ("right", "closest", "unsure", "refused", "wrong")


@dataclass(frozen=True)
class Question:
    """A question with what the shown text has to contain: all of `want`, or any of `answers`.

    Both are empty if the documents do not contain the answer.
    """

    text: str
    want: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    unwanted: tuple[str, ...] = ()

    @property
    def is_answerable(self) -> bool:
        return bool(self.want or self.answers)

    def accepts(self, text: str) -> bool:
        shown = _plain(text)
        return (
            all(_plain(each) in shown for each in self.want)
            and (not self.answers or any(_plain(each) in shown for each in self.answers))
            and not any(_plain(each) in shown for each in self.unwanted)
        )


def _plain(text: str) -> str:
    """The text in lower case, without Markdown's marks, which a document's text does not have."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*|]+", r"\1", text)
    return " ".join(text.split()).casefold()


@dataclass(frozen=True)
class Result:
    """A question with the answer that it gets."""

    question: Question
    answer: Answer

    @property
    def outcome(self) -> str:
        """right, closest, wrong, unsure or refused."""
        closest = [self.answer.closest] if self.answer.closest else []
        if not self.question.is_answerable:
            return "wrong" if self.answer.answered else "unsure" if closest else "refused"
        if self.answer.answered:
            return "right" if self._accepts(self.answer.sentences) else "wrong"
        if closest:
            return "closest" if self._accepts(closest) else "unsure"
        return "refused"

    def _accepts(self, sentences: Sequence[Sentence]) -> bool:
        """Whether sentences show what is wanted, as text or in their quotes."""
        shown = [each.text for each in sentences]
        shown += [citation.quote for each in sentences for citation in each.citations]
        return self.question.accepts("\n".join(shown))


class Library:
    """A workspace with documents that questions are put to."""

    def __init__(self, folder: Path, encoder: Encoder) -> None:
        self.workspace = (
            Workspace.open(folder) if (folder / "moli.toml").exists() else Workspace.init(folder)
        )
        self.ingester = Ingester(self.workspace, encoder)
        self.retriever = Retriever(self.workspace, encoder)
        self._answerer = Answerer(self.workspace, self.retriever)

    def add(self, paths: Sequence[Path]) -> None:
        for report in self.ingester.add_files(sorted(paths)):
            if report.outcome == "failed":
                sys.exit(report.message)

    def remove(self, paths: Iterable[Path]) -> None:
        sources = set(map(str, paths))
        documents = self.workspace.documents
        documents.remove([each.id for each in documents.list() if each.source in sources])

    def ask(self, questions: Sequence[Question]) -> list[Result]:
        return [Result(each, self._answerer.ask(each.text)) for each in questions]


@contextmanager
def library(encoder: Encoder) -> Iterator[Library]:
    """A library in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        made = Library(Path(folder), encoder)
        yield made
        made.workspace.close()


def rows(path: Path) -> list[dict[str, Any]]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def cases(encoder: Encoder) -> dict[str, list[Result]]:
    """Small libraries, each with its questions."""
    results: dict[str, list[Result]] = {}
    for folder in (HERE / "cases", SHARED / "cases" / "documents"):
        for case in sorted(path.parent for path in folder.glob("*/q.jsonl")):
            results[f"{folder.parent.name}/{case.name}"] = case_results(case, encoder)
    return results


def case_results(case: Path, encoder: Encoder) -> list[Result]:
    """The answers of a case, after its removals, which must change none."""
    questions = [case_question(row) for row in rows(case / "q.jsonl")]
    files = [path for path in (case / "files").rglob("*") if path.is_file()]
    with library(encoder) as made:
        made.add(files)
        results = made.ask(questions)
        steps = case / "steps.json"
        if not steps.exists():
            return results
        before = [result.answer.text for result in results]
        for pattern in json.loads(steps.read_text("utf-8"))["remove"]:
            names = {path: str(path.relative_to(case / "files")) for path in files}
            made.remove(path for path in files if fnmatch.fnmatch(names[path], pattern))
        results = made.ask(questions)
    changed = sum(a != b.answer.text for a, b in zip(before, results, strict=True))
    if changed:
        print(f"{case.name}: {changed} answers changed after the removal")
    return results


def case_question(row: dict[str, Any]) -> Question:
    return Question(row["q"], tuple(row.get("want", ())), (), tuple(row.get("not", ())))


def business(encoder: Encoder) -> dict[str, list[Result]]:
    """Everyday questions on short business documents."""
    results = {}
    for name in ("business", "business_en"):
        questions = [
            Question(row["question"], answers=tuple(row["answers"]))
            for row in rows(HERE / name / "questions.jsonl")
        ]
        unanswerable = rows(HERE / name / "unanswerable.jsonl")
        with library(encoder) as made:
            made.add(list((HERE / name / "documents").iterdir()))
            results[name] = made.ask(questions)
            for kind in ("near", "elsewhere"):
                of_kind = [Question(row["question"]) for row in unanswerable if row["kind"] == kind]
                results[f"{name}, {kind}"] = made.ask(of_kind)
    return results


def across(encoder: Encoder) -> dict[str, list[Result]]:
    """Questions in one language on the documentation in the other, and in the same."""
    results = {}
    questions = rows(HERE / "across.jsonl")
    for of_pages in ("en", "zh"):
        with library(encoder) as made:
            made.add(list((REPO / "docs" / of_pages).glob("*.md")))
            for language in ("en", "zh"):
                results[f"across, {language} to {of_pages}"] = made.ask(
                    [
                        Question(row[language], answers=(row[f"answer_{of_pages}"],))
                        for row in questions
                    ]
                )
    return results


SETS: dict[str, Callable[[Encoder], dict[str, list[Result]]]] = {
    "cases": cases, "business": business, "across": across,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", default="e5")
    parser.add_argument("--only", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--show", action="store_true", help="print what is not right")
    args = parser.parse_args()
    encoder = load_encoder(args.encoder)
    for name in args.only:
        results = SETS[name](encoder)
        if args.show:
            show(results)
        report(results)


def show(results: dict[str, list[Result]]) -> None:
    """Print each result that is not as it should be."""
    for name, of_set in results.items():
        for result in of_set:
            question, answer = result.question, result.answer
            if result.outcome == ("right" if question.is_answerable else "refused"):
                continue
            closest = answer.closest.text if answer.closest else ""
            text = " ".join((answer.text if answer.answered else f"({closest})").split())
            expected = question.want or question.answers
            outcome = f"{result.outcome} {answer.confidence:.2f}"
            print(f"{name} | {outcome} | {question.text} | {expected} | {text[:160]}")


def report(results: dict[str, list[Result]]) -> None:
    """Print how many questions of each set have each outcome, and the totals."""
    print(f"| set | questions | {' | '.join(OUTCOMES)} |\n|{'---|' * (2 + len(OUTCOMES))}")
    totals: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    for name, of_set in results.items():
        for is_answerable, total in totals.items():
            of_kind = [each for each in of_set if each.question.is_answerable is is_answerable]
            outcomes = [result.outcome for result in of_kind]
            if outcomes:
                total.update(outcomes)
                line(name if is_answerable else f"{name}, not answerable", Counter(outcomes))
    line("all answerable", totals[True])
    line("all not answerable", totals[False])


def line(name: str, counts: Counter[str]) -> None:
    """Print a row of the table."""
    numbers = [counts.total(), *(counts[outcome] for outcome in OUTCOMES)]
    print(f"| {name} | {' | '.join(map(str, numbers))} |")


if __name__ == "__main__":
    main()
