"""Scores of predicted classes. `expected` and `predicted` correspond one to one.

A class that was never predicted has precision 0, one that never occurs has recall 0, and F1 is 0
where both are: the convention of scikit-learn's `zero_division=0`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moli.metrics.pairs import check_pairs
from moli.records.errors import InputError

Label = str | int


@dataclass(frozen=True, slots=True)
class ClassScore:
    """Scores of one class, or a mean over classes. `support` counts its examples."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True)
class ClassificationReport:
    """How well classes were predicted. `macro` weighs classes equally, `weighted` by support."""

    classes: tuple[ClassScore, ...]
    accuracy: float
    macro: ClassScore
    weighted: ClassScore

    def text(self, digits: int = 2) -> str:
        """A table for people, laid out as scikit-learn's `classification_report`."""
        rows = (*self.classes, self.macro, self.weighted)
        width = max(len(row.label) for row in rows)
        heads = ("precision", "recall", "f1-score", "support")
        accuracy = f"{self.accuracy:>9.{digits}f} {self.macro.support:>9}"
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


def accuracy(expected: Sequence[Label], predicted: Sequence[Label]) -> float:
    """Share of predictions that are right.

    Raises:
        InputError: there are none, or not as many as references; all scores below raise it too.
    """
    check_pairs(expected, predicted)
    return sum(a == b for a, b in zip(expected, predicted, strict=True)) / len(expected)


def confusion_matrix(
    expected: Sequence[Label], predicted: Sequence[Label], labels: Sequence[Label] = ()
) -> NDArray[np.int64]:
    """Counts [classes, classes]: row, the class that was expected; column, the one predicted.

    Args:
        labels: the classes in the order wanted; by default those that occur, sorted.

    Raises:
        InputError: a class occurs that is not among `labels`.
    """
    check_pairs(expected, predicted)
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
    """Precision, recall, F1 and support of each class, and their means; see `confusion_matrix`."""
    names = labels or _labels(expected, predicted)
    counts = confusion_matrix(expected, predicted, names)
    right = np.diag(counts).astype(np.float64)
    support, chosen = counts.sum(axis=1), counts.sum(axis=0)
    scores = np.stack(  # [3, classes]: precision, recall, F1
        [_share(right, chosen), _share(right, support), _share(2 * right, support + chosen)]
    )
    total = int(support.sum())
    return ClassificationReport(
        classes=tuple(
            _score(str(name), scores[:, n], int(support[n])) for n, name in enumerate(names)
        ),
        accuracy=float(right.sum() / total),
        macro=_score("macro avg", scores.mean(axis=1), total),
        weighted=_score("weighted avg", scores @ (support / total), total),
    )


def macro_f1(expected: Sequence[Label], predicted: Sequence[Label]) -> float:
    """Mean F1 of the classes that occur on either side; rare classes count like common ones."""
    return classification_report(expected, predicted).macro.f1


def weighted_f1(expected: Sequence[Label], predicted: Sequence[Label]) -> float:
    """Mean F1 of the classes, each weighed by how often it was expected."""
    return classification_report(expected, predicted).weighted.f1


def _labels(expected: Sequence[Label], predicted: Sequence[Label]) -> list[Label]:
    return sorted({*expected, *predicted}, key=lambda label: (isinstance(label, str), label))


def _share(part: NDArray[np.float64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """part / whole, and 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


def _score(label: str, scores: NDArray[np.float64], support: int) -> ClassScore:
    precision, recall, f1 = map(float, scores)
    return ClassScore(label, precision, recall, f1, support)


def _line(row: ClassScore, width: int, digits: int) -> str:
    scores = "".join(f" {each:>9.{digits}f}" for each in (row.precision, row.recall, row.f1))
    return f"{row.label:>{width}} {scores} {row.support:>9}"
