"""A trained model's answers, and how good they are.

with loaded(workspace.models.get("support")) as trained:
    predict(trained, [Labelled("It came broken.", "?")])    # [{"label": "complaint", ...}]
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moli.metrics.classification import (
    ClassificationReport,
    classification_report,
    confusion_matrix,
)
from moli.metrics.main import main_metric
from moli.metrics.statistics import Interval, bootstrap_interval, wilson_interval
from moli.records.errors import InputError
from moli.records.examples import Example, Labelled, LabelledImage, MalformedRow
from moli.training import inference
from moli.training.batching.samples import Sample
from moli.training.data import check_dataset, examples_of
from moli.training.inference import InferenceResult, OnProgress, Progress, answers_of_examples
from moli.training.recipes.task_table import GENERATIVE_TASKS
from moli.training.trained.generate import Writer, load_writer
from moli.training.trained.load import Trained, load_trained
from moli.workspace.content import StoredModel
from moli.workspace.datasets import (
    Dataset,
    Row,
    read_dataset,
    read_lines,
    read_questions,
    read_rows,
)


@dataclass(frozen=True, slots=True)
class Confusion:
    """The confusion matrix: rows are true classes, columns predicted ones."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How well a model answers a data set.

    Attributes:
        metric: the main one of `metrics`.
        interval: the 95 % confidence interval of that one over examples of the same kind: by
            Wilson where it is a share of the examples, otherwise by bootstrap.
        malformed: rows that were left out.
        cut: examples that were truncated.
        report, confusion: of classes; None for other tasks.
    """

    metrics: dict[str, float]
    metric: str
    interval: Interval
    examples: int
    malformed: tuple[MalformedRow, ...]
    cut: int
    tokens: int
    seconds: float
    tokens_per_second: float
    report: ClassificationReport | None = None
    confusion: Confusion | None = None


@contextmanager
def loaded(stored: StoredModel) -> Iterator[Trained | Writer]:
    """A stored model, ready to answer rows; one that generates text runs on the engine.

    Raises:
        ModelError: it or its base has changed.
    """
    if stored.manifest.task not in GENERATIVE_TASKS:
        yield load_trained(stored)
        return
    with closing(load_writer(stored)) as writer:
        yield writer


def read_unanswered(trained: Trained | Writer, path: Path) -> Dataset:
    """Rows of a file to be answered, in which answers may be missing.

    It may be any file that data sets are read from, or a text file with one text per line.

    Raises:
        InputError: it cannot be read, or has no row that this model reads.
    """
    if path.suffix.lower() == ".txt":
        rows = read_lines(path, _text_column(trained, str(path)))
    else:
        rows = read_rows(path)
    columns = trained.task.recipe.columns
    return read_questions(rows, trained.task.prediction_formats, path=path, columns=columns)


def read_text(trained: Trained | Writer, text: str) -> Example:
    """One text to be answered; a JSON object is taken for a row with its columns.

    Raises:
        InputError: the model needs more than a text.
    """
    row = None
    if text.lstrip().startswith("{"):
        try:
            row = json.loads(text)
        except json.JSONDecodeError:
            row = None  # then it is a text that begins so
    row = row if isinstance(row, dict) else {_text_column(trained, "--text"): text}
    task = trained.task
    rows = [Row("--text", row)]
    found = read_questions(
        rows, task.prediction_formats, path=Path("--text"), columns=task.recipe.columns
    )
    if found.malformed:
        wrong = found.malformed[0]
        raise InputError(wrong.what, where=wrong.where, fix=wrong.fix)
    return found.examples[0].example


def predict(
    trained: Trained | Writer,
    examples: Sequence[Example],
    *,
    max_tokens: int = 512,
    hear: OnProgress | None = None,
) -> list[dict[str, Any]]:
    """An answer for each example, as its task reports it; empty where an example has no samples.

    Args:
        max_tokens: maximum tokens in a generated answer.
        hear: called with its progress.
    """
    if isinstance(trained, Writer):
        return trained.answers(examples, max_tokens=max_tokens, hear=hear)
    task = trained.task
    groups = task.samples(examples, training=False)
    outcome = _run(trained, groups, judged=False, hear=hear)
    return [
        task.to_row(task.aggregate(answers, example)) if answers else {}
        for answers, example in zip(outcome.answers, examples, strict=True)
    ]


def evaluate_on(trained: Trained, path: Path, *, hear: OnProgress | None = None) -> Evaluation:
    """The model's metrics on the examples of a file or a folder.

    Raises:
        InputError: it cannot be read, or its examples are not of the model's kind.
    """
    task = trained.task
    dataset = read_dataset(path, columns=task.recipe.columns)
    check_dataset(dataset, task.recipe, task.example_types)
    examples = examples_of(dataset.examples)
    groups = task.samples(examples, training=False)
    if not any(groups):
        raise InputError("no example can be evaluated", where=str(path), fix="Add examples.")
    begun = time.perf_counter()
    outcome = _run(trained, groups, judged=True, hear=hear)
    seconds = time.perf_counter() - begun
    answers, answered = answers_of_examples(task, outcome, examples)
    metrics = {"loss": outcome.loss, **task.metrics(answers, answered)}
    metric = task.metric if task.metric in metrics else main_metric(metrics)
    tokens = sum(each.size for group in groups for each in group)
    report, confusion = _classes(trained, answers, answered)
    return Evaluation(
        metrics=metrics,
        metric=metric,
        interval=_interval(trained, metric, outcome, answers, answered),
        examples=len(answered),
        malformed=dataset.malformed,
        cut=sum(any(each.truncated_tokens for each in group) for group in groups),
        tokens=tokens,
        seconds=seconds,
        tokens_per_second=tokens / max(seconds, 1e-9),
        report=report,
        confusion=confusion,
    )


def _run(
    trained: Trained, groups: Sequence[Sequence[Sample]], *, judged: bool, hear: OnProgress | None
) -> InferenceResult:
    flat = [each for group in groups for each in group]
    total, done, begun = sum(each.size for each in flat), 0, time.perf_counter()

    def tell(tokens: int) -> None:
        nonlocal done
        done += tokens
        if hear:
            hear(Progress(done / max(1, total), done, time.perf_counter() - begun))

    packed = trained.pack(flat)
    task, model = trained.task, trained.model
    return inference.run_inference(
        task, model, groups, packed=packed, with_losses=judged, on_tokens=tell
    )


def _interval(
    trained: Trained,
    metric: str,
    outcome: InferenceResult,
    answers: Sequence[Any],
    examples: Sequence[Example],
) -> Interval:
    task = trained.task
    if metric == "loss":  # of all that is supervised, so examples weigh as much as they have of it
        losses, supervised = outcome.losses, outcome.supervised
        return bootstrap_interval(
            lambda rows: float(losses[rows].sum() / max(1, supervised[rows].sum())), len(losses)
        )
    scores = np.array(task.example_scores(answers, examples))
    if not len(scores):

        def judged(rows: NDArray[np.int64]) -> float:
            return task.metrics([answers[n] for n in rows], [examples[n] for n in rows])[metric]

        return bootstrap_interval(judged, len(answers))
    if set(scores) <= {0.0, 1.0}:
        return wilson_interval(float(scores.sum()), len(scores))
    return bootstrap_interval(lambda rows: float(scores[rows].mean()), len(scores))


def _classes(
    trained: Trained, answers: Sequence[Any], examples: Sequence[Example]
) -> tuple[ClassificationReport | None, Confusion | None]:
    wanted = [each.label for each in examples if isinstance(each, Labelled | LabelledImage)]
    if not wanted:
        return None, None
    said = [trained.task.to_row(each)["label"] for each in answers]
    labels = sorted({*wanted, *said, *getattr(trained.task, "labels", ())})
    counts = confusion_matrix(wanted, said, labels)
    confusion = Confusion(tuple(labels), tuple(map(tuple, counts.tolist())))
    return classification_report(wanted, said, labels), confusion


def _text_column(trained: Trained | Writer, where: str) -> str:
    task = trained.task
    if task.text_column:
        return task.text_column
    raise InputError(
        f"the task {task.recipe.task} needs more than a text",
        where=where,
        fix="Give rows with columns, such as JSONL, or one row as a JSON object in --text.",
    )
