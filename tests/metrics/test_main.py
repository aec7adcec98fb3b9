from __future__ import annotations

from moli.metrics.main import main_first, main_metric


def test_the_first_that_is_not_the_loss_is_the_main_one_and_comes_first() -> None:
    assert list(main_first({"loss": 1.0, "accuracy": 0.5, "f1": 0.4})) == ["accuracy", "loss", "f1"]
    assert main_metric({"loss": 1.0}) == "loss"
    assert main_first({"loss": 1.0}) == {"loss": 1.0}
    assert main_first({}) == {}
