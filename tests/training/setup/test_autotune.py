"""Of ways to put samples together the fastest is chosen, and a larger one only if it pays."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from moli.training.batching.samples import Batching
from moli.training.setup import autotune

RATES = {
    # tokens at once and packed: tokens a second
    (1024, True): 100.0,
    (1024, False): 90.0,
    (2048, True): 120.0,
    (4096, True): 121.0,  # within the noise: not worth its memory
    (8192, True): 500.0,
}


def chosen(monkeypatch: pytest.MonkeyPatch, batching: Batching, **slow: float) -> Batching:
    def timing(_loss: Any, _samples: Any, tried: Batching) -> autotune.Timing:
        torch.rand(3)
        assert tried.max_tokens is not None
        return autotune.Timing(RATES[tried.max_tokens, tried.packed], slow.get("seconds", 0.1))

    monkeypatch.setattr(autotune, "_time_batching", timing)
    loss: Any = None
    return autotune.fastest_batching(loss, [], batching)


def test_it_grows_as_long_as_that_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(monkeypatch, Batching(16, 8192, True)) == Batching(16, 2048, True)


def test_it_keeps_within_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(monkeypatch, Batching(16, 1024, True)) == Batching(16, 1024, True)


def test_padding_is_chosen_where_it_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RATES, (1024, False), 200.0)
    monkeypatch.setitem(RATES, (2048, False), 190.0)
    assert chosen(monkeypatch, Batching(16, 8192, True)) == Batching(16, 1024, False)
    assert chosen(monkeypatch, Batching(16, 8192, False)) == Batching(16, 1024, False)


def test_where_a_part_takes_long_nothing_more_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RATES, (4096, True), 300.0)
    slow = chosen(monkeypatch, Batching(16, 8192, True), seconds=5.0)
    assert slow == Batching(16, 2048, True)


def test_the_random_state_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_rng_state()
    chosen(monkeypatch, Batching(16, 8192, True))
    assert torch.equal(torch.get_rng_state(), before)
