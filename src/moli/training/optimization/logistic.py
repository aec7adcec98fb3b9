"""Multinomial logistic regression, fitted to its optimum."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy

# Inverse strengths of the L2 penalty that are tried: from few texts with many classes to many.
_STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0)
_VALIDATION_SHARE = 0.2
_ITERATIONS = 200


@dataclass(frozen=True, slots=True)
class LogisticRegression:
    """A linear classifier.

    Attributes:
        weight: [classes, features].
        bias: [classes].
    """

    weight: torch.Tensor
    bias: torch.Tensor

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Logits before the softmax, [examples, classes], of features that may be sparse."""
        return features @ self.weight.T + self.bias


def fit_best_logistic(
    features: torch.Tensor,
    targets: torch.Tensor,
    classes: int,
    seed: int = 0,
    groups: torch.Tensor | None = None,
) -> LogisticRegression:
    """Fit a classifier to all examples, with the penalty that does best on a fifth of them.

    Args:
        features: [examples, features], dense or sparse.
        targets: ids of the classes, [examples].
        seed: chooses that fifth.
        groups: number of the group of each example, [examples]; none is split by the choice.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(targets), generator=generator)
    count = round(_VALIDATION_SHARE * len(targets))
    if groups is not None:
        numbers, indices = groups.unique(return_inverse=True)
        drawn = torch.randperm(len(numbers), generator=generator)[indices]
        order = drawn.argsort(stable=True)  # whole groups in a random order
        count = int((drawn < round(_VALIDATION_SHARE * len(numbers))).sum())
    validation, train = order[:count], order[count:]
    best, least = _STRENGTHS[len(_STRENGTHS) // 2], float("inf")
    for strength in _STRENGTHS if count else ():
        part = fit_logistic(
            features.index_select(0, train), targets[train], classes, strength=strength
        )
        logits = part.logits(features.index_select(0, validation))
        loss = float(cross_entropy(logits, targets[validation]))
        if loss >= least:  # it has one minimum
            break
        best, least = strength, loss
    return fit_logistic(features, targets, classes, strength=best)


def fit_logistic(
    features: torch.Tensor, targets: torch.Tensor, classes: int, *, strength: float
) -> LogisticRegression:
    """The minimum of the summed cross-entropy + |weight|² / (2 · strength), by L-BFGS.

    It is that of scikit-learn's `LogisticRegression(C=strength)`.

    Args:
        features: [examples, features], dense or sparse.
        targets: ids of the classes, [examples].
    """
    weight = torch.zeros(classes, features.shape[1], requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=_ITERATIONS,
        tolerance_grad=1e-5,
        tolerance_change=1e-8,
        history_size=5,
        line_search_fn="strong_wolfe",
    )

    def closure() -> torch.Tensor:
        """The mean loss, with its gradients."""
        optimizer.zero_grad()
        penalty = weight.square().sum() / (2 * strength * len(targets))
        loss = cross_entropy(features @ weight.T + bias, targets) + penalty
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    return LogisticRegression(weight.detach(), bias.detach())
