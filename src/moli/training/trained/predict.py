"""A trained model's answers to new rows, and its metrics on labelled examples.

with loaded_model(workspace.models.get("support")) as trained:
    predict(trained, [Labelled("It came broken.", "?")])    # [{"label": "complaint", ...}]
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
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
from moli.records.examples import Example, MalformedRow, UnreadLines
from moli.training import inference
from moli.training.batching.samples import Sample
from moli.training.data import (
    count_unknown_labels,
    examples_of,
    examples_with_labels,
    read_part,
)
from moli.training.inference import InferenceResult, OnProgress, Progress, answers_of_examples
from moli.training.recipes.task_table import GENERATIVE_TASKS
from moli.training.tasks.base.labels import TaskWithLabels
from moli.training.tasks.base.task import Task
from moli.training.trained.generate import AnswerGenerator, load_generator
from moli.training.trained.load import TrainedModel, load_trained
from moli.workspace.content import StoredModel
from moli.workspace.datasets import (
    Dataset,
    Row,
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
    """Metrics of a model on a data set.

    Attributes:
        metric: name of the main metric.
        interval: 95 % confidence interval of the main metric over examples of the same kind: by
            Wilson if it is a share of the examples, otherwise by bootstrap.
        malformed: rows that were left out.
        unread: lines that are no rows, because of a fault before them.
        rows: numbers of rows by what became of them, and their sum as `total`.
        cut: number of examples that were truncated.
        report, confusion: report and confusion matrix of classes; None for other tasks.
        unknown_labels: number of examples with each label that the model does not know. They count
            as wrong, and are not in the loss.
        known_labels: the labels that the model knows; empty for other tasks.
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
    unknown_labels: Mapping[str, int] = field(default_factory=dict)
    known_labels: tuple[str, ...] = ()
    unread: tuple[UnreadLines, ...] = ()
    rows: dict[str, int] = field(default_factory=dict)


@contextmanager
def loaded_model(stored: StoredModel) -> Iterator[TrainedModel | AnswerGenerator]:
    """Load a stored model to answer examples; one that generates text runs on the engine.

    Raises:
        ModelError: it or its base has changed.
    """
    if stored.manifest.task not in GENERATIVE_TASKS:
        yield load_trained(stored)
        return
    with closing(load_generator(stored)) as generator:
        yield generator


def read_unanswered(trained: TrainedModel | AnswerGenerator, path: Path) -> Dataset:
    """Read rows to be answered from a file, in which answers may be missing.

    It may be any file that data sets are read from, or a text file with one text per line.

    Raises:
        InputError: it cannot be read, or has no row that this model reads.
    """
    if path.suffix.lower() == ".txt":
        rows = read_lines(path, _text_column(trained, str(path)))
    else:
        rows = read_rows(path)
    return _read_questions(trained, rows, path)


def _read_questions(
    trained: TrainedModel | AnswerGenerator, rows: Iterable[Row | MalformedRow], path: Path
) -> Dataset:
    """The questions in rows, which are named as in the data that the model was trained on."""
    recipe, allowed = trained.task.recipe, trained.task.prediction_formats
    return read_questions(rows, allowed, path=path, columns=recipe.columns, roles=recipe.roles)


def read_text(trained: TrainedModel | AnswerGenerator, text: str) -> Example:
    """An example from one text to be answered; a JSON object is taken for a row with its columns.

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
    dataset = _read_questions(trained, [Row("--text", row)], Path("--text"))
    if dataset.malformed:
        problem = dataset.malformed[0]
        raise InputError(problem.what, where=problem.where, fix=problem.fix)
    return dataset.examples[0].example


def predict(
    trained: TrainedModel | AnswerGenerator,
    examples: Sequence[Example],
    *,
    max_tokens: int = 512,
    on_progress: OnProgress | None = None,
) -> list[dict[str, Any]]:
    """An answer for each example, as its task reports it; empty where an example has no samples.

    Args:
        max_tokens: maximum tokens in a generated answer.
        on_progress: called after each part of the work.
    """
    if isinstance(trained, AnswerGenerator):
        return trained.answer(examples, max_tokens=max_tokens, on_progress=on_progress)
    task = trained.task
    groups = task.samples(examples, training=False)
    result = _answer_groups(trained, groups, with_losses=False, on_progress=on_progress)
    return [
        task.to_row(task.aggregate(answers, example)) if answers else {}
        for answers, example in zip(result.answers, examples, strict=True)
    ]


def classify(
    trained: TrainedModel | AnswerGenerator, texts: Sequence[str], *, top_k: int = 5
) -> list[dict[str, Any]]:
    """The label of each text, and the `top_k` likeliest labels with their probabilities.

    Raises:
        InputError: the model is no classifier of texts.
    """
    task = trained.task
    if isinstance(trained, AnswerGenerator) or not isinstance(task, TaskWithLabels):
        raise InputError(
            f"a model for {task.recipe.task}, not for classification",
            where=trained.name,
            fix="Use one that was tuned for classification.",
        )
    examples = [read_text(trained, text) for text in texts]
    groups = task.samples(examples, training=False)
    result = _answer_groups(trained, groups, with_losses=False, on_progress=None)
    return [task.label_row(answers[0], top_k) for answers in result.answers]


def evaluate_on(
    trained: TrainedModel, path: Path, *, on_progress: OnProgress | None = None
) -> Evaluation:
    """The model's metrics on the examples of a file or a folder.

    Raises:
        InputError: it cannot be read, or its examples are not of the model's kind.
    """
    task = trained.task
    dataset = read_part(task.recipe, path, "test", task.example_types)
    examples = examples_of(examples_with_labels(dataset, task.recipe, task.known_labels))
    unknown_labels = count_unknown_labels(examples, task.known_labels, str(path))
    groups = task.samples(examples, training=False)
    if not any(groups):
        raise InputError("no example can be evaluated", where=str(path), fix="Add examples.")
    begun = time.perf_counter()
    trained.set_references([sample for group in groups for sample in group])
    result = _answer_groups(trained, groups, with_losses=True, on_progress=on_progress)
    seconds = time.perf_counter() - begun
    answers, answered = answers_of_examples(task, result, examples)
    metrics = {"loss": result.loss, **task.metrics(answers, answered)}
    metric = task.metric if task.metric in metrics else main_metric(metrics)
    tokens = sum(each.size for group in groups for each in group)
    report, confusion = _class_report(trained, answers, answered)
    return Evaluation(
        metrics=metrics,
        metric=metric,
        interval=_confidence_interval(task, metric, result, answers, answered),
        examples=len(answered),
        malformed=dataset.malformed,
        cut=sum(any(each.truncated_tokens for each in group) for group in groups),
        tokens=tokens,
        seconds=seconds,
        tokens_per_second=tokens / max(seconds, 1e-9),
        report=report,
        confusion=confusion,
        unknown_labels=unknown_labels,
        known_labels=tuple(task.known_labels),
        unread=dataset.unread,
        rows={
            "total": dataset.row_count,
            "evaluated": len(answered),
            "malformed": len(dataset.malformed),
            "dropped": len(examples) - len(answered),
            "unread": dataset.unread_lines,
        },
    )


def _answer_groups(
    trained: TrainedModel,
    groups: Sequence[Sequence[Sample]],
    *,
    with_losses: bool,
    on_progress: OnProgress | None,
) -> InferenceResult:
    """Answer the samples of each example, packed if that changes nothing."""
    samples = [sample for group in groups for sample in group]
    total, done, begun = sum(sample.size for sample in samples), 0, time.perf_counter()

    def on_tokens(tokens: int) -> None:
        nonlocal done
        done += tokens
        if on_progress:
            on_progress(Progress(done / max(1, total), done, time.perf_counter() - begun))

    packed = trained.should_pack(samples)
    task, model = trained.task, trained.model
    return inference.run_inference(
        task, model, groups, packed=packed, with_losses=with_losses, on_tokens=on_tokens
    )


def _confidence_interval(
    task: Task,
    metric: str,
    result: InferenceResult,
    answers: Sequence[Any],
    examples: Sequence[Example],
) -> Interval:
    """The 95 % confidence interval of a metric over examples."""
    if metric == "loss":  # a mean over supervised items, by whose number examples are weighted
        losses, supervised = result.losses, result.supervised
        return bootstrap_interval(
            lambda rows: float(losses[rows].sum() / max(1, supervised[rows].sum())), len(losses)
        )
    scores = np.array(task.example_scores(answers, examples))
    if not len(scores):

        def metric_of(rows: NDArray[np.int64]) -> float:
            return task.metrics([answers[n] for n in rows], [examples[n] for n in rows])[metric]

        return bootstrap_interval(metric_of, len(answers))
    if set(scores) <= {0.0, 1.0}:
        return wilson_interval(float(scores.sum()), len(scores))
    return bootstrap_interval(lambda rows: float(scores[rows].mean()), len(scores))


def _class_report(
    trained: TrainedModel, answers: Sequence[Any], examples: Sequence[Example]
) -> tuple[ClassificationReport | None, Confusion | None]:
    """The report and the confusion matrix of classes; None if there are none, or no matrix."""
    expected = [each.class_label for each in examples if each.class_label is not None]
    classes = [trained.task.predicted_class(answer) for answer in answers]
    predicted = [each for each in classes if each is not None]
    if not expected or len(predicted) < len(expected):
        return trained.task.class_report(answers, examples), None
    known = list(trained.task.known_labels)
    labels = known + sorted({*expected, *predicted} - set(known))
    counts = confusion_matrix(expected, predicted, labels)
    confusion = Confusion(tuple(labels), tuple(map(tuple, counts.tolist())))
    return classification_report(expected, predicted, labels), confusion


def _text_column(trained: TrainedModel | AnswerGenerator, where: str) -> str:
    """The column that a plain text fills.

    Raises:
        InputError: the task needs more than a text.
    """
    task = trained.task
    if task.text_column:
        return task.text_column
    raise InputError(
        f"the task {task.recipe.task} needs more than a text",
        where=where,
        fix="Give rows with columns, such as JSONL, or one row as a JSON object in --text.",
    )
