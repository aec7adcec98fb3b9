"""The metric that says most, to show first or where there is room for only one."""

from collections.abc import Mapping


def main_metric(metrics: Mapping[str, float]) -> str:
    """The name of the first metric that is not the loss; "loss" where there is no other."""
    return next((name for name in metrics if name != "loss"), "loss")


def main_first(metrics: Mapping[str, float]) -> dict[str, float]:
    """The same metrics, the main one first."""
    main = main_metric(metrics)
    return {main: metrics[main], **metrics} if metrics else {}
