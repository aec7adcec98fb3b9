from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from moli.training.optimization.logistic import fit_best_logistic, fit_logistic


def data(classes: int, count: int = 60, width: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Points around a centre for each class."""
    draw = np.random.default_rng(0)
    targets = np.arange(count) % classes
    centres = draw.normal(size=(classes, width))
    points = centres[targets] + draw.normal(size=(count, width))
    return torch.tensor(points, dtype=torch.float32), torch.tensor(targets)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("strength", [0.3, 10.0])
def test_the_optimum_is_that_of_scikit_learn(classes: int, sparse: bool, strength: float) -> None:
    features, targets = data(classes)
    fitted = fit_logistic(
        features.to_sparse_coo() if sparse else features, targets, classes, strength=strength
    )
    # With two classes scikit-learn has one vector w, and here they have w/2 and -w/2.
    theirs = LogisticRegression(C=2 * strength if classes == 2 else strength, tol=1e-8)
    theirs.fit(features.numpy(), targets.numpy())
    ours = torch.softmax(fitted.logits(features), -1).numpy()
    np.testing.assert_allclose(ours, theirs.predict_proba(features.numpy()), atol=1e-3)


def test_the_penalty_suits_the_data() -> None:
    """Labels without a pattern need a strong penalty, and separate classes a weak one."""
    features, targets = data(3, count=90)
    noise = fit_best_logistic(features, targets[torch.randperm(90)], 3)
    clear = fit_best_logistic(features * 3, targets, 3)
    assert noise.weight.norm() < clear.weight.norm()


def test_the_generator_of_torch_is_left_alone() -> None:
    features, targets = data(3)
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    fit_best_logistic(features, targets, 3)
    assert torch.rand(1) == expected


def test_the_penalty_is_chosen_on_groups_that_were_not_fitted() -> None:
    """Copies of an example tell nothing of others: with their groups, noise is not learnt."""
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(30, 20, generator=draw).repeat_interleave(6, 0)
    targets = torch.randint(2, (30,), generator=draw).repeat_interleave(6)
    groups = torch.arange(30).repeat_interleave(6)
    by_example = fit_best_logistic(features, targets, 2)
    by_group = fit_best_logistic(features, targets, 2, groups=groups)
    assert by_group.weight.norm() < by_example.weight.norm() / 2
