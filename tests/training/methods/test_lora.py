"""The fused layers against PEFT's own forward and backward pass."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaMLP
from transformers.models.seed_oss.modeling_seed_oss import SeedOssConfig, SeedOssMLP

from moli.training.methods.lora import fuse_lora_layers


class Network(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(12, 20)
        self.second = torch.nn.Linear(20, 6, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.tanh(self.first(x)))


def gate(kind: type[LlamaMLP] = LlamaMLP) -> LlamaMLP:
    shape = {"hidden_size": 12, "intermediate_size": 20, "num_attention_heads": 3}
    return kind(LlamaConfig(**shape, mlp_bias=True))


class Clamped(LlamaMLP):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).clamp(-0.1, 0.1)


def wrapped(network: torch.nn.Module, layers: list[str], **options: object) -> torch.nn.Module:
    torch.manual_seed(0)
    config = LoraConfig(r=3, lora_alpha=7, target_modules=layers, **options)
    model = get_peft_model(network.double(), config).double()
    for name, each in model.named_parameters():
        if "lora_B" in name:  # zero at first, when half the gradients are
            torch.nn.init.normal_(each)
    return model


def gated(block: torch.nn.Module, *layers: str) -> torch.nn.Module:
    return wrapped(torch.nn.Sequential(block), [f"{each}_proj" for each in layers])


def adapted(**options: object) -> torch.nn.Module:
    torch.manual_seed(0)
    return wrapped(Network(), ["first", "second"], **options)


def passed(model: torch.nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    x = x.clone().requires_grad_()
    y = model(x)
    y.square().sum().backward()
    return [y, x.grad, *(each.grad for each in model.parameters() if each.requires_grad)]


def test_results_and_gradients_are_pefts() -> None:
    model = adapted()
    fused = copy.deepcopy(model)
    assert fuse_lora_layers(fused) == 2
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    for ours, theirs in zip(passed(fused, x), passed(model, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_merged_or_switched_off_the_layer_is_pefts_again() -> None:
    model = adapted()
    x = torch.randn(4, 12, dtype=torch.float64)
    together = model(x)
    fuse_lora_layers(model)
    with model.disable_adapter():
        base = model.get_base_model()
        alone = x @ base.first.base_layer.weight.t() + base.first.base_layer.bias
        torch.testing.assert_close(model(x), torch.tanh(alone) @ base.second.base_layer.weight.t())
    model.merge_adapter()
    torch.testing.assert_close(model(x), together)


def test_layers_that_do_more_are_left_as_they_are() -> None:
    assert fuse_lora_layers(adapted(use_dora=True)) == 0
    assert fuse_lora_layers(adapted(lora_dropout=0.1)) == 0


@pytest.mark.parametrize("layers", [("gate", "up", "down"), ("down",)])
@pytest.mark.parametrize("activation", [torch.nn.SiLU(), torch.nn.GELU(approximate="tanh")])
def test_of_a_gated_block_too(layers: tuple[str, ...], activation: torch.nn.Module) -> None:
    block = gate()
    block.act_fn = activation
    model = gated(block, *layers)
    fused = copy.deepcopy(model)
    assert fuse_lora_layers(fused) == len(layers)
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    for ours, theirs in zip(passed(fused, x), passed(model, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    with fused.disable_adapter(), model.disable_adapter():
        assert torch.equal(fused(x), model(x))


def kept(model: torch.nn.Module, x: torch.Tensor) -> int:
    """Numbers kept for the backward pass besides the parameters."""
    seen: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            seen[tensor.data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = model(x)
    assert y.requires_grad
    return sum(seen.values())


def test_a_gated_block_keeps_neither_its_product_nor_the_activated_gate() -> None:
    x = torch.randn(50, 12, dtype=torch.float64)
    model = gated(gate(), "gate", "up", "down")
    before = kept(model, x)
    fuse_lora_layers(model)
    # The input, gate and values, and three thin products.
    assert kept(model, x) == 50 * (12 + 2 * 20 + 3 * 3) < before


def test_a_block_that_does_more_keeps_its_own_forward_pass() -> None:
    model = gated(gate(Clamped), "gate", "up", "down")
    fused = copy.deepcopy(model)
    fuse_lora_layers(fused)
    x = torch.randn(4, 12, dtype=torch.float64)
    torch.testing.assert_close(fused(x), model(x))
    assert float(fused(x).detach().abs().max()) <= 0.1


def test_a_block_that_drops_out_in_training_is_left_as_it_is() -> None:
    config = SeedOssConfig(hidden_size=12, intermediate_size=20, residual_dropout=0.5)
    model = gated(SeedOssMLP(config), "gate", "up", "down").train()
    fuse_lora_layers(model)
    x = torch.randn(4, 12, dtype=torch.float64)
    assert not torch.equal(model(x), model(x))


def test_hooks_on_the_last_layer_are_called() -> None:
    model = gated(gate(), "gate", "up", "down")
    fuse_lora_layers(model)
    called: list[torch.nn.Module] = []
    model.base_model.model[0].down_proj.register_forward_hook(lambda *each: called.append(each[0]))
    model(torch.randn(4, 12, dtype=torch.float64))
    assert len(called) == 1


def test_without_the_adapter_and_without_rows_it_works_on() -> None:
    model = gated(gate(), "gate", "up", "down")
    x = torch.randn(4, 12, dtype=torch.float64)
    fuse_lora_layers(model)
    assert model(x[:0]).shape == (0, 12)
    before = model(x)
    torch.testing.assert_close(model.merge_and_unload()(x), before)
