"""RMS norms against their definition in float64, and against transformers' own."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextRMSNormGated

from moli.training.kernels.norm import replace_norms


def norm(width: int, dtype: torch.dtype = torch.float32, *, frozen: bool = False) -> LlamaRMSNorm:
    torch.manual_seed(0)
    made = LlamaRMSNorm(width, eps=1e-5).to(dtype)
    torch.nn.init.normal_(made.weight)
    return made.requires_grad_(not frozen)


def passed(module: torch.nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """The result, and the gradients by the input and the weight of one that has them all."""
    x = x.clone().requires_grad_()
    y = module(x)
    torch.sin(y).sum().backward()
    return [y, x.grad, *(each.grad for each in module.parameters() if each.requires_grad)]


@pytest.mark.parametrize("shape", [(7, 24), (2, 3, 5, 24)])
@pytest.mark.parametrize("frozen", [True, False])
def test_results_and_gradients_are_those_of_the_definition(
    shape: tuple[int, ...], frozen: bool
) -> None:
    fused = norm(24, frozen=frozen)
    assert replace_norms(fused) == 1
    inputs = torch.randn(shape)
    x = inputs.double().requires_grad_()
    weight = fused.weight.detach().double().requires_grad_(not frozen)
    y = weight * x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    torch.sin(y).sum().backward()
    expected = [y, x.grad] if frozen else [y, x.grad, weight.grad]
    for ours, exact in zip(passed(fused, inputs), expected, strict=True):
        torch.testing.assert_close(ours.double(), exact, rtol=1e-5, atol=1e-5)


def test_in_bfloat16_it_rounds_where_transformers_does() -> None:
    own = norm(64, torch.bfloat16)
    fused = copy.deepcopy(own)
    assert replace_norms(fused) == 1
    inputs = torch.randn(50, 64, dtype=torch.bfloat16)
    for ours, theirs in zip(passed(fused, inputs), passed(own, inputs), strict=True):
        assert ours.dtype == torch.bfloat16
        torch.testing.assert_close(ours, theirs, rtol=0.02, atol=0.02)
    assert torch.equal(fused(inputs), own(inputs))


def test_a_weight_of_another_type_is_left_to_the_module() -> None:
    own = norm(8)
    fused = copy.deepcopy(own)
    replace_norms(fused)
    inputs = torch.randn(3, 8, dtype=torch.bfloat16)
    assert fused(inputs).dtype == torch.float32
    assert torch.equal(fused(inputs), own(inputs))


def test_norms_that_do_something_else_are_left_as_they_are() -> None:
    gemma, gated = GemmaRMSNorm(8), Qwen3NextRMSNormGated(8)
    gemma.variance_epsilon = gemma.eps  # named as the others', it would still add one
    assert replace_norms(torch.nn.ModuleList([gemma, gated])) == 0
    inputs = torch.randn(3, 8)
    assert torch.equal(gated(inputs, gate=inputs), copy.deepcopy(gated)(inputs, gate=inputs))


def test_less_is_kept_for_the_backward_pass() -> None:
    kept: list[torch.Tensor] = []
    fused, inputs = norm(64), torch.randn(100, 64, requires_grad=True)
    replace_norms(fused)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        fused(inputs)
    assert sum(each.numel() for each in kept) == 100 * 64 + 64 + 100
