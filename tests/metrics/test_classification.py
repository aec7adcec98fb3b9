"""Classification scores against scikit-learn and against values worked out by hand."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moli.metrics.classification import (
    accuracy,
    classification_report,
    confusion_matrix,
    macro_f1,
    weighted_f1,
)
from moli.records.errors import InputError

# Three classes, one never expected (c), one never predicted (b).
EXPECTED = ["a", "a", "a", "b"]
PREDICTED = ["a", "a", "c", "a"]

CHOSEN = st.sampled_from(["no", "yes", "否"])
ASKED = st.sampled_from(["no", "yes", "否", "perhaps so"])
PAIRS = st.lists(st.tuples(ASKED, CHOSEN), min_size=1, max_size=40)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """scikit-learn warns of classes that are not there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def sklearn_metrics() -> Any:
    return pytest.importorskip("sklearn.metrics")


def test_the_scores_by_hand() -> None:
    report = classification_report(EXPECTED, PREDICTED)
    a, b, c = report.classes
    # a: chosen 3 times, right twice, of 3: both 2/3. b was never found, c never asked for.
    assert (a.label, a.support) == ("a", 3)
    assert (a.precision, a.recall, a.f1) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert (b.precision, b.recall, b.f1, b.support) == (0, 0, 0, 1)
    assert (c.precision, c.recall, c.f1, c.support) == (0, 0, 0, 0)
    assert report.accuracy == accuracy(EXPECTED, PREDICTED) == 0.5
    assert report.macro.f1 == macro_f1(EXPECTED, PREDICTED) == pytest.approx(2 / 9)
    assert report.weighted.f1 == weighted_f1(EXPECTED, PREDICTED) == pytest.approx(3 / 4 * 2 / 3)


def test_rows_of_the_matrix_are_what_was_expected() -> None:
    assert confusion_matrix(EXPECTED, PREDICTED).tolist() == [[2, 0, 1], [1, 0, 0], [0, 0, 0]]
    assert confusion_matrix(EXPECTED, PREDICTED, ["c", "b", "a"]).tolist() == [
        [0, 0, 0],
        [0, 0, 1],
        [1, 0, 2],
    ]


def test_the_report_is_a_table() -> None:
    assert str(classification_report(EXPECTED, PREDICTED)) == (
        "              precision    recall  f1-score   support\n"
        "\n"
        "           a       0.67      0.67      0.67         3\n"
        "           b       0.00      0.00      0.00         1\n"
        "           c       0.00      0.00      0.00         0\n"
        "\n"
        "    accuracy                           0.50         4\n"
        "   macro avg       0.22      0.22      0.22         4\n"
        "weighted avg       0.50      0.50      0.50         4\n"
    )


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(PAIRS)
def test_scikit_learn_agrees(pairs: list[tuple[str, str]]) -> None:
    reference = sklearn_metrics()
    expected, predicted = ([pair[side] for pair in pairs] for side in (0, 1))
    labels = sorted({*expected, *predicted})
    scores = reference.precision_recall_fscore_support(
        expected, predicted, labels=labels, zero_division=0
    )
    report = classification_report(expected, predicted)
    result = [(c.precision, c.recall, c.f1, c.support) for c in report.classes]
    np.testing.assert_allclose(np.transpose(result), scores, atol=1e-12)
    for name, mean in (("macro", report.macro), ("weighted", report.weighted)):
        theirs = reference.precision_recall_fscore_support(
            expected, predicted, average=name, zero_division=0
        )
        assert (mean.precision, mean.recall, mean.f1) == pytest.approx(theirs[:3])
    assert accuracy(expected, predicted) == reference.accuracy_score(expected, predicted)
    np.testing.assert_array_equal(
        confusion_matrix(expected, predicted), reference.confusion_matrix(expected, predicted)
    )


@pytest.mark.parametrize("seed", range(4))
def test_the_table_is_that_of_scikit_learn(seed: int) -> None:
    reference = sklearn_metrics()
    generator = np.random.default_rng(seed)
    names = ["no", "yes", "perhaps so", "否", "a very long name of a class"]
    expected, predicted = (list(map(str, generator.choice(names, 97))) for _ in range(2))
    for digits in (2, 4):
        table = reference.classification_report(expected, predicted, digits=digits)
        assert classification_report(expected, predicted).text(digits) == table


def test_classes_that_are_named_are_all_in_the_report() -> None:
    reference = sklearn_metrics()
    names = ["z", "c", "b", "a", "a very long name of a class"]
    assert str(classification_report(EXPECTED, PREDICTED, names)) == (
        reference.classification_report(EXPECTED, PREDICTED, labels=names, zero_division=0)
    )


def test_classes_may_be_numbers_in_an_array() -> None:
    expected, predicted = np.array([10, 2, 2]), np.array([10, 10, 2])
    report = classification_report(list(expected), list(predicted))
    assert [each.label for each in report.classes] == ["2", "10"]
    assert report.accuracy == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("expected", "predicted", "labels", "part"),
    [
        ([], [], (), "too few"),
        (["a"], ["a", "b"], (), "2 predictions for 1 references"),
        (["a"], ["b"], ["a"], "'b' is not among the labels"),
    ],
)
def test_what_cannot_be_scored_is_told(
    expected: list[str], predicted: list[str], labels: list[str], part: str
) -> None:
    with pytest.raises(InputError, match=part):
        classification_report(expected, predicted, labels)
