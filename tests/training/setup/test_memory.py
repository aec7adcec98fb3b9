"""What a token keeps for the backward pass, counted by hand, and how many tokens fit then."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training.round_trips import recipe_of, run_to_end
from training.small_models import write_labelled, write_model

from moli.training.batching.samples import Sample
from moli.training.setup import memory
from moli.training.setup.memory import tokens_that_fit


class Loss(torch.nn.Module):
    """For the gradient of the weight [5, 4] the input is kept, for that of tanh its result."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(5, 4))
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, samples: list[Sample], *, packed: bool) -> torch.Tensor:
        x = torch.ones(sum(each.size for each in samples), 4)
        return torch.tanh(self.dropout(x @ self.weight.t())).sum()


def sample(tokens: int) -> Sample:
    return Sample((np.zeros(tokens, np.int32),), 0)


def test_what_is_kept_for_a_token_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    loss: Any = Loss()
    state = torch.get_rng_state()
    gradient_and_moments, by_token = 12 * 20, 4 * (4 + 5)
    for fits in (7, 100):
        free = gradient_and_moments + round(fits * by_token / 0.6) + 1
        monkeypatch.setattr(memory, "free_memory", lambda free=free: free)
        assert tokens_that_fit(loss, [sample(3), sample(7)], packed=True) == fits
    monkeypatch.setattr(memory, "free_memory", lambda: 0)
    assert tokens_that_fit(loss, [sample(3)], packed=True) == 3  # it has to be computed
    assert loss.training and torch.equal(torch.get_rng_state(), state)


@pytest.mark.slow
def test_what_was_kept_is_freed() -> None:
    seen: list[weakref.ref[torch.Tensor]] = []

    class Watched(Loss):
        def forward(self, samples: list[Sample], *, packed: bool) -> torch.Tensor:
            y = torch.tanh(torch.ones(samples[0].size, 4) @ self.weight.t())
            seen.append(weakref.ref(y))
            return y.sum()

    loss: Any = Watched()
    tokens_that_fit(loss, [sample(3)], packed=True)
    gc.collect()
    assert seen and seen[0]() is None


@pytest.mark.slow
def test_a_run_takes_parts_that_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_of(
        task="classification",
        base=write_model(tmp_path / "model", "bert"),
        data=write_labelled(tmp_path / "rows.jsonl", 40),
        held_out=0.2,
        epochs=1,
        precision="fp32",
    )
    losses = []
    for name, free in (("roomy", 1 << 33), ("tight", 600_000)):
        monkeypatch.setattr(memory, "free_memory", lambda free=free: free)
        prepared, run_losses = run_to_end(recipe, tmp_path / name)
        losses.append(run_losses)
        most = prepared.resolved.max_tokens
        assert (most == 4096) if name == "roomy" else (most < 100), most
    # The same steps, summed over more parts.
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
