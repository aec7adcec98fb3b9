"""The one metric to show where there is room for only one."""

from collections.abc import Mapping


def main_metric(metrics: Mapping[str, float]) -> str:
    """The name of the first metric that is not the loss; "loss" where there is no other."""
    return next((name for name in metrics if name != "loss"), "loss")
