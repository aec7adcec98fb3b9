from __future__ import annotations

import numpy as np
import pytest

from moli.metrics.calibration import expected_calibration_error, fit_temperature


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_logits_that_were_scaled_are_scaled_back(temperature: float) -> None:
    """Labels are drawn from the probabilities of known logits, which are then scaled."""
    draw = np.random.default_rng(0)
    logits = 2 * draw.normal(size=(20_000, 4))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    targets = (probabilities.cumsum(1) > draw.random((20_000, 1))).argmax(1)
    assert fit_temperature(logits * temperature, targets) == pytest.approx(temperature, rel=0.03)


def test_a_few_right_answers_do_not_make_a_model_certain() -> None:
    logits = np.tile([2.0, 0.0], (20, 1))
    assert 0.3 < fit_temperature(logits, np.zeros(20, int)) < 1


def test_the_calibration_error_is_the_mean_gap_of_the_bins() -> None:
    confidences = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    correct = np.array([True, True, True, False, True, False])
    # A gap of .95 - .75 for 4 of 6, and of .55 - .5 for the others.
    assert expected_calibration_error(confidences, correct) == pytest.approx(
        (4 * 0.2 + 2 * 0.05) / 6
    )
