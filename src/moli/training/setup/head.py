"""A classifier's linear head, fitted to the frozen base before the first step."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch

from moli.training.batching.samples import Batching, Sample, plan_epoch
from moli.training.optimization.logistic import fit_best_logistic
from moli.training.tasks.base.task import Task
from moli.training.tasks.base.wrapped_models import evaluation_mode
from moli.training.tasks.classification import Classification

_MAX_TOKENS = 300_000  # that the base reads for the fit: a fraction of a long run's time
_BATCHING = Batching(batch=256, max_tokens=8192, packed=False)


def fit_head(task: Task, model: torch.nn.Module, samples: Sequence[Sample], seed: int) -> bool:
    """Set a model's head to a logistic regression on the vectors that the base gives now.

    Training then begins where a frozen base would end, not at random. A classifier of texts also
    learns from the same vectors which direction each class is to have.

    Args:
        samples: training samples; if they have more than `_MAX_TOKENS` tokens, some are drawn.
        seed: chooses them.

    Returns:
        Whether the task has such a head.
    """
    head = task.linear_head(model)
    if head is None:
        return False
    chosen = _draw(samples, seed)
    plan = plan_epoch([each.size for each in chosen], _BATCHING, 0, 0)
    batches = [[chosen[index] for index in part] for step in plan for part in step]
    with evaluation_mode(model):
        inputs = torch.cat([task.head_inputs(model, batch).cpu() for batch in batches])
    rows = task.head_rows(inputs, [each for batch in batches for each in batch])
    # Vectors of about length 1, as those of sentence encoders are used, suit the penalties tried.
    scale = 1.0 if inputs.is_sparse else float(inputs.norm(dim=1).mean())
    classes = max(2, head.out_features)
    vectors = (rows.vectors / scale).clone()
    fitted = fit_best_logistic(vectors, rows.targets, classes, seed, rows.groups)
    weight, bias = fitted.weight / scale, fitted.bias
    if head.out_features == 1:  # the one logit of two classes is the difference of theirs
        weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)
    if isinstance(task, Classification):
        task.directions = class_directions(inputs, rows.targets, classes)
    return True


def class_directions(
    vectors: torch.Tensor, targets: torch.Tensor, classes: int
) -> torch.Tensor | None:
    """Orthonormal vectors nearest to the classes' mean directions, [classes, features].

    They are the orthogonal factor of the means' polar decomposition (Higham 1986).

    Args:
        vectors: [samples, features].
        targets: the class of each, [samples].

    Returns:
        None if there are more classes than features.
    """
    if classes > vectors.shape[1]:
        return None
    means = torch.zeros(classes, vectors.shape[1])
    means.index_add_(0, targets, torch.nn.functional.normalize(vectors))
    left, _, right = torch.linalg.svd(torch.nn.functional.normalize(means), full_matrices=False)
    directions: torch.Tensor = left @ right
    return directions


def _draw(samples: Sequence[Sample], seed: int) -> list[Sample]:
    """All samples, or as many as have `_MAX_TOKENS` tokens, in a random order."""
    order = list(samples)
    random.Random(seed).shuffle(order)  # noqa: S311 - no secret
    tokens = 0
    for count, sample in enumerate(order, start=1):
        tokens += sample.size
        if tokens >= _MAX_TOKENS:
            return order[:count]
    return order
