"""The main metric of an evaluation, to show first or alone."""

from collections.abc import Mapping


def main_metric(metrics: Mapping[str, float]) -> str:
    """The name of the first metric that is not the loss; "loss" if there is no other."""
    return next((name for name in metrics if name != "loss"), "loss")


def main_first(metrics: Mapping[str, float]) -> dict[str, float]:
    """The same metrics in an order that begins with the main one."""
    main = main_metric(metrics)
    return {main: metrics[main], **metrics} if metrics else {}
