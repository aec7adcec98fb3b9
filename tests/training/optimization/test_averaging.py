"""The mean of weights over the steps, against the sum written out."""

from __future__ import annotations

import pytest
import torch

from moli.training.optimization.averaging import WeightAverage
from moli.training.optimization.optimizers import MasterWeights


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_weights_of_later_steps_count_more(dtype: torch.dtype) -> None:
    model = torch.nn.Linear(3, 2)
    weights = MasterWeights(model, dtype)
    average = WeightAverage(weights)
    torch.manual_seed(0)
    seen = torch.randn(5, 2, 3)
    for step, values in enumerate(seen, start=1):
        weights.masters[0].data.copy_(values)
        average.add(step)
    weights.copy_to_model()
    expected = sum(share * each for share, each in zip((1, 2, 3, 4, 5), seen, strict=True)) / 15
    with average.applied():
        torch.testing.assert_close(weights.masters[0], expected)
        assert torch.equal(model.weight, weights.masters[0].to(dtype))
    assert torch.equal(weights.masters[0], seen[-1])  # to the last bit
    assert torch.equal(model.weight, seen[-1].to(dtype))
