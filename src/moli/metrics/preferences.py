"""Metrics of scores for answers of which one is preferred to the other: of reward models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from moli.metrics.calibration import expected_calibration_error
from moli.metrics.checks import check_predictions
from moli.metrics.correlation import pearson
from moli.metrics.statistics import Interval, wilson_interval

Values = NDArray[np.float64]

# A model is not used as a reward beyond these.
_MIN_PAIRS = 50
_MAX_CALIBRATION_ERROR = 0.1
_MAX_LENGTH_CORRELATION = 0.5
_MAX_DRIFT = 1.0  # standard deviations


@dataclass(frozen=True, slots=True)
class RewardCalibration:
    """A report on a reward model, with the verdict whether it may be used as a reward.

    Attributes:
        pairs: number of pairs of answers that it is based on.
        accuracy: share of the pairs whose chosen answer has the higher score; a tie is half.
        interval: 95 % confidence interval of the accuracy over prompts.
        accuracy_by_margin: accuracy on the pairs of each margin, or range of margins.
        calibration_error: expected calibration error of sigmoid(difference of the scores) as the
            probability that the first answer is the chosen one.
        longer_accuracy: accuracy of always preferring the longer answer.
        length_correlation: correlation of the difference in score with that in length.
        problems: reasons not to use it as a reward.
    """

    pairs: int
    accuracy: float
    interval: Interval
    accuracy_by_margin: Mapping[str, float]
    calibration_error: float
    longer_accuracy: float
    length_correlation: float
    problems: tuple[str, ...] = field(default=())

    @property
    def may_be_used(self) -> bool:
        """Whether nothing speaks against using the model as a reward."""
        return not self.problems


def pair_accuracy(differences: Values) -> float:
    """Share of pairs whose chosen answer has the higher score; a tie counts half.

    Args:
        differences: score of the chosen answer minus that of the rejected one, [pairs].
    """
    return float((np.sign(differences) + 1).mean() / 2)


def grouped_interval(right: Values, groups: Sequence[int]) -> Interval:
    """95 % confidence interval for a share of pairs, of which those of a prompt go together.

    Wilson's interval with as many trials as independent pairs would tell as much as these (Kish
    1965, section 5.4): their number divided by the ratio of the share's variance over groups to
    that over pairs.

    Args:
        right: 1 for each pair that is ordered rightly, 0 or one half for others, [pairs].
        groups: number of the prompt of each pair, [pairs].
    """
    share, count = float(right.mean()), len(right)
    _, indices = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.bincount(indices, right - share)
    if share in (0.0, 1.0):  # no variance to measure
        return wilson_interval(share * len(sums), len(sums))
    ratio = float((sums**2).sum()) / (count * share * (1 - share))
    trials = count / max(ratio, 1.0)
    return wilson_interval(share * trials, trials)


def accuracy_by_margin(differences: Values, margins: Values, ranges: int = 4) -> dict[str, float]:
    """Accuracy on the pairs of each margin, the smallest first; empty if all margins are 0.

    Args:
        margins: how much better each chosen answer is, [pairs].
        ranges: maximum number of groups; of more margins, each group has about as many pairs.
    """
    if not margins.any():
        return {}
    distinct = np.unique(margins)
    if len(distinct) > ranges:
        edges = np.unique(np.quantile(margins, np.linspace(0, 1, ranges + 1)[1:]))
        names = [f"up to {edge:.4g}" for edge in edges]
        groups = np.searchsorted(edges, margins)
    else:
        names = [f"{margin:.4g}" for margin in distinct]
        groups = np.searchsorted(distinct, margins)
    return {
        name: pair_accuracy(differences[groups == number])
        for number, name in enumerate(names)
        if (groups == number).any()
    }


def preference_calibration_error(differences: Values) -> float:
    """Expected calibration error of sigmoid(|difference|) as the probability of being right."""
    confidences = 1 / (1 + np.exp(-np.abs(differences)))
    return expected_calibration_error(confidences, differences > 0)


def length_correlation(differences: Values, longer_by: Values) -> float:
    """Correlation of the differences in score and in length; the order in a pair has no effect.

    Args:
        longer_by: length of the chosen answer minus that of the rejected one, [pairs].
    """
    return pearson(
        np.concatenate([longer_by, -longer_by]), np.concatenate([differences, -differences])
    )


def calibrate_reward(
    differences: Sequence[float],
    longer_by: Sequence[float],
    margins: Sequence[float],
    prompts: Sequence[int],
) -> RewardCalibration:
    """The report on a reward model from its scores of pairs.

    Args:
        differences: score of the chosen answer minus that of the rejected one, [pairs].
        longer_by: length of the chosen answer minus that of the rejected one, [pairs].
        margins: how much better each chosen answer is, [pairs]; 0 where that is unknown.
        prompts: number of each pair's prompt, [pairs].

    Raises:
        InputError: there are no pairs.
    """
    check_predictions(longer_by, differences, minimum=1)
    scores, lengths = np.asarray(differences, float), np.asarray(longer_by, float)
    accuracy, longer = pair_accuracy(scores), pair_accuracy(lengths)
    interval = grouped_interval((np.sign(scores) + 1) / 2, prompts)
    error = preference_calibration_error(scores)
    correlation = length_correlation(scores, lengths)
    length_only = max(longer, 1 - longer)  # the shorter answer may be the better one, too
    problems = []
    if len(scores) < _MIN_PAIRS:
        problems.append(f"only {len(scores)} pairs were held out; {_MIN_PAIRS} are needed")
    if not interval[0] > length_only:
        problems.append(
            f"its accuracy may be as low as {interval[0]:.3f}, and length alone reaches "
            f"{length_only:.3f}"
        )
    if not error <= _MAX_CALIBRATION_ERROR:
        problems.append(f"its probabilities are off by {error:.3f} in the mean")
    if not abs(correlation) <= _MAX_LENGTH_CORRELATION:
        problems.append(f"its scores follow the length of answers (correlation {correlation:.2f})")
    by_margin = accuracy_by_margin(scores, np.asarray(margins, float))
    return RewardCalibration(
        len(scores), accuracy, interval, by_margin, error, longer, correlation, tuple(problems)
    )


@dataclass(frozen=True, slots=True)
class ScoreDrift:
    """A comparison of scores for a policy's own answers with those for held-out ones.

    Attributes:
        shift: mean score of the policy's answers minus that of the held-out ones, in standard
            deviations of the latter.
        spread: standard deviation of the policy's scores as a share of the held-out ones'.
        outside: share of the policy's scores beyond all held-out ones.
    """

    shift: float
    spread: float
    outside: float

    @property
    def is_large(self) -> bool:
        """Whether the model scores answers of another kind than it was evaluated on."""
        return abs(self.shift) > _MAX_DRIFT or self.outside > 0.05


def score_drift(held_out: Sequence[float], policy: Sequence[float]) -> ScoreDrift:
    """The comparison of a policy's scores with those of held-out answers.

    Args:
        held_out: scores on which the model was calibrated; at least two that differ.
        policy: scores of answers that the policy has given.
    """
    known = np.asarray(held_out, float)
    return score_drift_from(
        policy,
        mean=float(known.mean()),
        deviation=float(known.std()),
        low=float(known.min()),
        high=float(known.max()),
    )


def score_drift_from(
    policy: Sequence[float], *, mean: float, deviation: float, low: float, high: float
) -> ScoreDrift:
    """The same from the mean, standard deviation and range of the held-out scores.

    Raises:
        InputError: the policy has given no answers.
    """
    check_predictions(policy, policy, minimum=1)
    new = np.asarray(policy, float)
    deviation = max(deviation, 1e-12)
    return ScoreDrift(
        shift=float((new.mean() - mean) / deviation),
        spread=float(new.std() / deviation),
        outside=float(((new < low) | (new > high)).mean()),
    )
