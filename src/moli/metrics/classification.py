"""Metrics of classification. `expected` and `predicted` correspond one to one.

A class that is never predicted has precision 0, a class that never occurs has recall 0, and F1 is 0
if both are: the convention of scikit-learn's `zero_division=0`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moli.metrics.checks import check_predictions
from moli.records.errors import InputError

Label = str | int


@dataclass(frozen=True, slots=True)
class ClassScore:
    """Scores of one class, or means over classes; `support` is the number of examples."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True)
class ClassificationReport:
    """Scores of all classes, with means; `macro` weighs classes equally, `weighted` by support."""

    classes: tuple[ClassScore, ...]
    accuracy: float
    examples: int
    macro: ClassScore
    weighted: ClassScore

    def text(self, digits: int = 2) -> str:
        """A table in the layout of scikit-learn's `classification_report`."""
        rows = (*self.classes, self.macro, self.weighted)
        width = max(len(row.label) for row in rows)
        heads = ("precision", "recall", "f1-score", "support")
        accuracy = f"{self.accuracy:>9.{digits}f} {self.examples:>9}"
        lines = [
            f"{'':>{width}} " + "".join(f" {head:>9}" for head in heads),
            "",
            *(_line(row, width, digits) for row in self.classes),
            "",
            f"{'accuracy':>{width}} {'':>20} {accuracy}",
            _line(self.macro, width, digits),
            _line(self.weighted, width, digits),
        ]
        return "\n".join(lines) + "\n"

    def __str__(self) -> str:
        return self.text()


def accuracy(expected: Sequence[object], predicted: Sequence[object]) -> float:
    """Share of predictions that equal their reference.

    Raises:
        InputError: there are none, or not as many as references; all functions below raise it too.
    """
    check_predictions(expected, predicted)
    return sum(a == b for a, b in zip(expected, predicted, strict=True)) / len(expected)


def confusion_matrix(
    expected: Sequence[Label], predicted: Sequence[Label], labels: Sequence[Label] = ()
) -> NDArray[np.int64]:
    """Number of examples by expected class (rows) and predicted class (columns).

    Args:
        labels: the order of the classes; by default all that occur, sorted.

    Raises:
        InputError: a class is not among `labels`.
    """
    check_predictions(expected, predicted)
    number = {label: n for n, label in enumerate(labels or _labels(expected, predicted))}
    try:
        rows = [number[label] for label in expected]
        columns = [number[label] for label in predicted]
    except KeyError as error:
        raise InputError(
            f"{error} is not among the labels", fix=f"Known labels: {', '.join(map(str, number))}."
        ) from None
    size = len(number)
    cells = np.asarray(rows, np.int64) * size + np.asarray(columns, np.int64)
    return np.bincount(cells, minlength=size * size).reshape(size, size).astype(np.int64)


def classification_report(
    expected: Sequence[Label], predicted: Sequence[Label], labels: Sequence[Label] = ()
) -> ClassificationReport:
    """Precision, recall, F1 and support of each class, and their means.

    Args:
        labels: the order of the classes; by default all that occur, sorted.
    """
    names = labels or _labels(expected, predicted)
    counts = confusion_matrix(expected, predicted, names)
    correct = np.diag(counts)
    share = float(correct.sum() / counts.sum())
    support, predictions = counts.sum(axis=1), counts.sum(axis=0)
    return report_of_counts(names, correct, support, predictions, share, len(expected))


def report_of_counts(
    names: Sequence[Label],
    correct: NDArray[np.int64],
    support: NDArray[np.int64],
    predictions: NDArray[np.int64],
    accuracy: float,
    examples: int,
) -> ClassificationReport:
    """The report on classes, from numbers of examples, [classes].

    Args:
        correct: number of examples that have a class and are predicted to have it.
        support: number of examples that have it.
        predictions: number of examples that are predicted to have it.
        accuracy: share of examples without any error.
        examples: number of examples, which may have several classes or none.
    """
    scores = np.stack(  # [3, classes]: precision, recall, F1
        [
            _share(correct, predictions),
            _share(correct, support),
            _share(2 * correct, support + predictions),
        ]
    )
    total = int(support.sum())
    return ClassificationReport(
        classes=tuple(
            _score(str(name), scores[:, n], int(support[n])) for n, name in enumerate(names)
        ),
        accuracy=accuracy,
        examples=examples,
        macro=_score("macro avg", scores.mean(axis=1), total),
        weighted=_score("weighted avg", scores @ (support / max(total, 1)), total),
    )


def macro_f1(expected: Sequence[Label], predicted: Sequence[Label]) -> float:
    """Mean F1 of all expected or predicted classes; rare classes count like common ones."""
    return classification_report(expected, predicted).macro.f1


def weighted_f1(expected: Sequence[Label], predicted: Sequence[Label]) -> float:
    """Mean F1 of the classes, weighted by their support."""
    return classification_report(expected, predicted).weighted.f1


def _labels(expected: Sequence[Label], predicted: Sequence[Label]) -> list[Label]:
    """All classes that occur, sorted; numbers before texts."""
    return sorted({*expected, *predicted}, key=lambda label: (isinstance(label, str), label))


def _share(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """Elementwise part / whole; 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


def _score(label: str, scores: NDArray[np.float64], support: int) -> ClassScore:
    """The scores of one class, from its precision, recall and F1, [3]."""
    precision, recall, f1 = map(float, scores)
    return ClassScore(label, precision, recall, f1, support)


def _line(row: ClassScore, width: int, digits: int) -> str:
    """A line of `ClassificationReport.text`.

    Args:
        width: width of the column with the labels.
        digits: number of decimals.
    """
    scores = "".join(f" {each:>9.{digits}f}" for each in (row.precision, row.recall, row.f1))
    return f"{row.label:>{width}} {scores} {row.support:>9}"
