from __future__ import annotations

import pytest
import torch

from moli.training.optimization.optimizers import (
    MasterWeights,
    Optimizers,
    cast_parameters,
    learning_rate_factor,
)


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))


def test_the_rate_rises_in_a_line_and_falls_to_nothing() -> None:
    shares = [learning_rate_factor(step, 20, warmup=0.2) for step in range(20)]
    assert shares[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert shares[5:] == pytest.approx([1 - each / 16 for each in range(1, 16)])


def test_steps_too_small_for_bfloat16_are_not_lost() -> None:
    model = torch.nn.Linear(4, 4, bias=False)
    torch.nn.init.ones_(model.weight)
    weights = MasterWeights(model, torch.bfloat16)
    for _ in range(100):
        weights.masters[0].data += 1e-4  # a bfloat16 of 1 has no neighbour nearer than .0039
        weights.copy_to_model()
    assert model.weight.dtype == torch.bfloat16
    assert torch.all(model.weight == torch.tensor(1.01, dtype=torch.bfloat16))


def test_gradients_of_parts_are_summed_in_float32() -> None:
    model = network()
    weights = MasterWeights(model, torch.bfloat16)
    parts = torch.randn(300, 6).split(1)
    exact = [torch.zeros_like(each) for each in weights.masters]
    for part in parts:
        model(part.bfloat16()).sum().backward()
        for total, each in zip(exact, model.parameters(), strict=True):
            total += each.grad.float()
        weights.accumulate()
    for total, master in zip(exact, weights.masters, strict=True):
        torch.testing.assert_close(master.grad, total, rtol=1e-6, atol=1e-6)


def test_clipping_is_torchs() -> None:
    ours, theirs = network(), network()
    weights = MasterWeights(ours, torch.float32)
    x = torch.randn(5, 6)
    for model in (ours, theirs):
        (model(x).square().sum() * 10).backward()
    norm = weights.clip_gradients(1.0)
    assert norm == pytest.approx(float(torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)))
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_an_optimiser_goes_on_from_its_state_to_the_last_bit(kind: str) -> None:
    def moved(interrupted: bool) -> list[torch.Tensor]:
        model = network()
        weights = MasterWeights(model, torch.float32)
        optimizers = Optimizers(weights, kind, 0.01)
        for step in range(6):
            if interrupted and step == 3:
                kept, values = (
                    optimizers.state_dict(),
                    {k: v.clone() for k, v in weights.state_dict().items()},
                )
                model = network()
                weights = MasterWeights(model, torch.float32)
                weights.load_state_dict(values)
                optimizers = Optimizers(weights, kind, 0.01)
                optimizers.load_state_dict({name: each.clone() for name, each in kept.items()})
            model(torch.full((2, 6), float(step))).square().sum().backward()
            optimizers.step(1.0)
            weights.zero_grad()
        return [each.detach() for each in model.parameters()]

    for one, other in zip(moved(False), moved(True), strict=True):
        assert torch.equal(one, other)


def test_adamw_decays_matrices_and_not_vectors() -> None:
    model = torch.nn.Linear(3, 3)
    before = {name: each.clone() for name, each in model.named_parameters()}
    weights = MasterWeights(model, torch.float32)
    optimizers = Optimizers(weights, "adamw", 0.1)
    for each in weights.masters:
        each.grad = torch.zeros_like(each)
    optimizers.step(1.0)
    assert torch.equal(model.bias, before["bias"])
    torch.testing.assert_close(model.weight, before["weight"] * (1 - 0.1 * 0.01))


def test_running_statistics_and_angles_stay_in_float32() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    model.register_buffer("angles", torch.ones(2))
    cast_parameters(model, torch.bfloat16)
    assert model[0].weight.dtype == torch.bfloat16
    assert model[1].weight.dtype == model[1].running_mean.dtype == torch.float32
    assert model.angles.dtype == torch.float32


def test_two_optimizers_may_share_a_model_and_its_decay_may_be_none() -> None:
    model = torch.nn.ModuleDict({"policy": torch.nn.Linear(3, 3), "value": torch.nn.Linear(3, 1)})
    parts = {name: MasterWeights(model, torch.float32, part=name) for name in ("policy", "value")}
    assert parts["policy"].names == ["policy.weight", "policy.bias"]
    assert parts["value"].names == ["value.weight", "value.bias"]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for tensor in parts["policy"].masters:
        tensor.grad = torch.zeros_like(tensor)
    Optimizers(parts["policy"], "adamw", 0.1, decay=0.0).step(1.0)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
