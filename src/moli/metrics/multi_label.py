"""Metrics of classification with several labels for each example.

`expected` and `predicted` say which labels apply, as truth values [examples, labels]. F1 is 0 where
a label neither occurs nor is predicted: the convention of scikit-learn's `zero_division=0`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from moli.metrics.checks import check_predictions
from moli.metrics.classification import ClassificationReport, report_of_counts

Flags = NDArray[np.bool_]


def micro_f1(expected: Flags, predicted: Flags) -> float:
    """F1 of all decisions on all labels together, so that frequent labels count more.

    Raises:
        InputError: there are none, or not as many as references; all functions below raise it too.
    """
    check_predictions(expected, predicted)
    return float(_f1(expected.reshape(-1, 1), predicted.reshape(-1, 1))[0])


def macro_f1(expected: Flags, predicted: Flags) -> float:
    """Mean F1 of the labels; rare labels count like common ones."""
    check_predictions(expected, predicted)
    return float(_f1(expected, predicted).mean())


def subset_accuracy(expected: Flags, predicted: Flags) -> float:
    """Share of examples for which the decision on every label is right."""
    check_predictions(expected, predicted)
    return float((expected == predicted).all(axis=1).mean())


def multi_label_report(
    expected: Flags, predicted: Flags, labels: Sequence[str]
) -> ClassificationReport:
    """Precision, recall, F1 and support of each label, and their means; accuracy is of subsets."""
    correct = (expected & predicted).sum(axis=0)
    support, predictions = expected.sum(axis=0), predicted.sum(axis=0)
    accuracy = subset_accuracy(expected, predicted)
    return report_of_counts(labels, correct, support, predictions, accuracy, len(expected))


def best_threshold(expected: Flags, probabilities: NDArray[np.floating]) -> float:
    """The threshold with the highest F1 for one label; of equal ones, that nearest to 0.5.

    Args:
        expected: whether the label applies, [examples].
        probabilities: the label's probabilities, [examples].
    """
    values = np.unique(probabilities)
    candidates = np.append((values[1:] + values[:-1]) / 2, 0.5)
    predicted = probabilities[:, None] >= candidates[None]
    scores = _f1(np.broadcast_to(expected[:, None], predicted.shape), predicted)
    best = candidates[scores >= scores.max() - 1e-9]
    return float(best[np.argmin(np.abs(best - 0.5))])


def _f1(expected: Flags, predicted: Flags) -> NDArray[np.float64]:
    """F1 of each column, [labels]."""
    correct = (expected & predicted).sum(axis=0)
    total = expected.sum(axis=0) + predicted.sum(axis=0)
    return np.where(total > 0, 2 * correct / np.maximum(total, 1), 0.0)
