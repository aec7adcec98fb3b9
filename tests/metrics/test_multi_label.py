"""F1 and accuracy of decisions on several labels, as scikit-learn defines them."""

from __future__ import annotations

import numpy as np
import pytest

from moli.metrics.multi_label import (
    best_threshold,
    macro_f1,
    micro_f1,
    multi_label_report,
    subset_accuracy,
)
from moli.records.errors import InputError

EXPECTED = np.array([[1, 0, 1, 0], [0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]], bool)
PREDICTED = np.array([[1, 0, 0, 0], [0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]], bool)


def test_f1_by_hand() -> None:
    # 3 right of 5 that apply and 4 that are predicted; by label 1, 2/3, 0 and, of nothing, 0.
    assert micro_f1(EXPECTED, PREDICTED) == pytest.approx(2 * 3 / (5 + 4))
    assert macro_f1(EXPECTED, PREDICTED) == pytest.approx((1 + 2 / 3 + 0 + 0) / 4)
    assert subset_accuracy(EXPECTED, PREDICTED) == 1 / 4
    assert micro_f1(EXPECTED, EXPECTED) == subset_accuracy(EXPECTED, EXPECTED) == 1
    with pytest.raises(InputError):
        micro_f1(EXPECTED, PREDICTED[:2])


def test_the_report_has_each_label() -> None:
    report = multi_label_report(EXPECTED, PREDICTED, ["a", "b", "c", "d"])
    scores = [(each.precision, each.recall, each.f1, each.support) for each in report.classes]
    assert scores == [(1, 1, 1, 2), (1, 0.5, pytest.approx(2 / 3), 2), (0, 0, 0, 1), (0, 0, 0, 0)]
    assert (report.accuracy, report.examples) == (1 / 4, 4)
    assert report.macro.f1 == pytest.approx(macro_f1(EXPECTED, PREDICTED))
    assert report.weighted.recall == pytest.approx((2 + 1) / 5)


def test_the_threshold_is_the_best_one_nearest_to_a_half() -> None:
    expected = np.array([True, True, False, False])
    # Any threshold between 0.2 and 0.3 is perfect.
    assert best_threshold(expected, np.array([0.3, 0.4, 0.2, 0.1])) == pytest.approx(0.25)
    assert best_threshold(expected, np.array([0.9, 0.8, 0.2, 0.1])) == pytest.approx(0.5)
    draw = np.random.default_rng(0)
    expected, values = draw.random(50) < 0.3, draw.random(50)

    def f1(threshold: float) -> float:
        return micro_f1(expected[:, None], (values >= threshold)[:, None])

    assert f1(best_threshold(expected, values)) == max(f1(each) for each in values)
