"""The fused layer against PEFT's own forward and backward pass."""

from __future__ import annotations

import copy

import torch
from peft import LoraConfig, get_peft_model

from moli.training.methods.lora import fuse


class Network(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(12, 20)
        self.second = torch.nn.Linear(20, 6, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.tanh(self.first(x)))


def adapted(**options: object) -> torch.nn.Module:
    torch.manual_seed(0)
    config = LoraConfig(r=3, lora_alpha=7, target_modules=["first", "second"], **options)
    model = get_peft_model(Network().double(), config).double()
    for name, each in model.named_parameters():
        if "lora_B" in name:  # zero at first, when half the gradients are
            torch.nn.init.normal_(each)
    return model


def passed(model: torch.nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    x = x.clone().requires_grad_()
    y = model(x)
    y.square().sum().backward()
    return [y, x.grad, *(each.grad for each in model.parameters() if each.requires_grad)]


def test_results_and_gradients_are_pefts() -> None:
    model = adapted()
    fused = copy.deepcopy(model)
    assert fuse(fused) == 2
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    for ours, theirs in zip(passed(fused, x), passed(model, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_merged_or_switched_off_the_layer_is_pefts_again() -> None:
    model = adapted()
    x = torch.randn(4, 12, dtype=torch.float64)
    together = model(x)
    fuse(model)
    with model.disable_adapter():
        base = model.get_base_model()
        alone = x @ base.first.base_layer.weight.t() + base.first.base_layer.bias
        torch.testing.assert_close(model(x), torch.tanh(alone) @ base.second.base_layer.weight.t())
    model.merge_adapter()
    torch.testing.assert_close(model(x), together)


def test_layers_that_do_more_are_left_as_they_are() -> None:
    assert fuse(adapted(use_dora=True)) == 0
    assert fuse(adapted(lora_dropout=0.1)) == 0
