"""A new model compared, on held-out examples, with its base and with the model it would replace."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from moli.records.examples import Example
from moli.workspace.content import StoredModel


@dataclass(frozen=True, slots=True)
class HeldOutResult:
    """Metrics of a new model on held-out examples; all are empty without any.

    Attributes:
        metric: the one that models are compared by: "loss", or one of which larger is better.
        metrics: metrics of the weights that are kept.
        base_metrics: metrics before the first step.
        examples_hash: SHA-256 of the examples, by which others are compared on the same ones only.
        base_was_candidate: whether the run itself would have kept the weights before the first step
            if they were clearly better, so that a small difference to them is chance.
    """

    metric: str
    metrics: Mapping[str, float]
    base_metrics: Mapping[str, float]
    examples_hash: str
    base_was_candidate: bool = False


def hash_examples(examples: Sequence[Example]) -> str:
    """SHA-256 of examples, in any order; "" if there are none."""
    if not examples:
        return ""
    identities = sorted(repr(example.identity) for example in examples)
    return hashlib.sha256("\0".join(identities).encode("utf-8", "surrogatepass")).hexdigest()


def find_better_model(result: HeldOutResult, present: StoredModel | None) -> str:
    """A sentence on a better model than the new one: its base, or else the present one; "" if none.

    Args:
        present: the model that the new one would replace, if there is one. It is compared only if
            it was evaluated on the same examples.
    """
    rivals: dict[str, Mapping[str, float]] = {}
    if not result.base_was_candidate:
        rivals["its base had before the first step"] = result.base_metrics
    if present and present.manifest.held_out_hash == result.examples_hash != "":
        rivals[f"{present.name} has on the same examples"] = present.manifest.metrics
    metric, metrics = result.metric, result.metrics
    for name, other in rivals.items():
        if metric in metrics and metric in other and _is_worse(metric, metrics, other):
            word = "above" if metric == "loss" else "below"
            return f"its {metric} of {metrics[metric]:.4g} is {word} the {other[metric]:.4g} {name}"
    return ""


def _is_worse(metric: str, new: Mapping[str, float], old: Mapping[str, float]) -> bool:
    """Whether a model's metric is worse than another's; never if the other's is no number."""
    sign = -1.0 if metric == "loss" else 1.0
    return not (math.isnan(old[metric]) or sign * new[metric] >= sign * old[metric])
