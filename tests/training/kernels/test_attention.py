"""Attention by segments against torch's own with an explicit mask, in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from training.attention_cases import CU_SEQLENS, LENGTHS, PATTERNS, Layer

from moli.training.kernels import attention, attention_cpu, attention_gpu
from moli.training.kernels.attention import segment_attention
from moli.training.kernels.attention_pattern import AttentionPattern, Segments


def inputs(heads: int, keys: int, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    torch.manual_seed(0)
    shapes = [(1, count, sum(LENGTHS), 8) for count in (heads, keys, keys)]
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


def allowed(*, causal: bool, window: int) -> torch.Tensor:
    owner = torch.repeat_interleave(torch.arange(len(LENGTHS)), torch.tensor(LENGTHS))
    place = torch.arange(len(owner))
    seen = owner[:, None] == owner[None]
    if causal:
        seen &= place[None] <= place[:, None]
    if window:
        seen &= place[None] > place[:, None] - window
    return seen


@pytest.mark.parametrize("kept", [1 << 25, 0], ids=["kept", "recomputed"])
@PATTERNS
def test_outputs_and_gradients_are_those_of_a_masked_attention(
    heads: int, keys: int, causal: bool, window: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention_cpu, "_KEPT", kept)
    ours = inputs(heads, keys)
    theirs = [each.detach().clone().requires_grad_() for each in ours]
    options: dict[str, Any] = {"sliding_window": window} if window else {}
    mixed, _ = segment_attention(
        Layer(causal=causal), *ours, None, cu_seq_lens_q=CU_SEQLENS, **options
    )
    wide = [theirs[0], *(each.repeat_interleave(heads // keys, 1) for each in theirs[1:])]
    mask = allowed(causal=causal, window=window)
    expected = scaled_dot_product_attention(*wide, attn_mask=mask).transpose(1, 2)
    upstream = torch.randn_like(mixed)
    mixed.backward(upstream)
    expected.backward(upstream)
    torch.testing.assert_close(mixed, expected, rtol=0, atol=1e-12)
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our.grad, their.grad, rtol=0, atol=1e-12)


@PATTERNS
def test_segment_by_segment_as_on_a_gpu_gives_the_same(
    heads: int, keys: int, causal: bool, window: int
) -> None:
    ours, pattern = inputs(heads, keys), AttentionPattern(causal, window)
    segments = Segments(CU_SEQLENS, max(LENGTHS), CU_SEQLENS, max(LENGTHS))
    at_once = attention_cpu.attend(*ours, segments, 0.3, pattern)
    one_by_one = attention_gpu.attend(*ours, segments, 0.3, pattern)
    torch.testing.assert_close(one_by_one, at_once, rtol=0, atol=1e-12)


def test_without_borders_a_row_is_one_segment() -> None:
    query, key, value = (each.detach() for each in inputs(4, 4))
    mixed, _ = segment_attention(Layer(causal=True), query, key, value, None)
    expected = scaled_dot_product_attention(query, key, value, is_causal=True).transpose(1, 2)
    torch.testing.assert_close(mixed, expected, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_gradients_under_dropout_are_those_of_the_same_draw() -> None:
    query, key, value = (each[:, :, :20].detach().requires_grad_() for each in inputs(2, 2))

    def mixed(*each: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(3)
        return segment_attention(Layer(causal=False), *each, None, dropout=0.3)[0]

    assert not torch.equal(
        mixed(query, key, value), segment_attention(Layer(causal=False), query, key, value, None)[0]
    )
    assert torch.autograd.gradcheck(mixed, (query, key, value))


def test_scores_that_are_changed_otherwise_are_refused() -> None:
    query, key, value = (each.detach() for each in inputs(2, 2))
    with pytest.raises(NotImplementedError, match="softcap"):
        segment_attention(Layer(causal=True), query, key, value, None, softcap=30.0)


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_a_model_says_of_texts_end_to_end_what_it_says_of_each_alone(family: str) -> None:
    from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel

    attention.register()
    torch.manual_seed(0)
    shape = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 48}
    shape |= {"num_hidden_layers": 2, "num_attention_heads": 4}
    maker, config = (
        (BertModel, BertConfig(**shape))
        if family == "bert"
        else (LlamaModel, LlamaConfig(**shape, num_key_value_heads=2))
    )
    model = maker(config).double().eval()
    texts = [torch.randint(1, 50, (length,)) for length in (7, 1, 30)]
    model.set_attn_implementation("eager")
    alone = [model(input_ids=each[None]).last_hidden_state[0] for each in texts]
    model.set_attn_implementation(attention.NAME)
    packed = model(
        input_ids=torch.cat(texts)[None],
        position_ids=torch.cat([torch.arange(len(each)) for each in texts])[None],
        cu_seq_lens_q=torch.tensor([0, 7, 8, 38], dtype=torch.int32),
    ).last_hidden_state[0]
    # Rotary angles are computed in float32 in both.
    torch.testing.assert_close(packed, torch.cat(alone), rtol=0, atol=1e-6)


def test_a_window_that_looks_both_ways_is_refused_where_it_matters() -> None:
    ours = inputs(4, 4)
    options: dict[str, Any] = {"cu_seq_lens_q": CU_SEQLENS}
    with pytest.raises(NotImplementedError, match="bidirectional"):
        segment_attention(Layer(causal=False), *ours, None, sliding_window=100, **options)
    wide, _ = segment_attention(Layer(causal=False), *ours, None, sliding_window=400, **options)
    plain, _ = segment_attention(Layer(causal=False), *ours, None, **options)
    torch.testing.assert_close(wide, plain)


# A prompt of 300 tokens with two answers, another text, and a prompt of one token with one answer.
TREE_LENGTHS = [300, 7, 270, 5, 1, 20]
TREE_PREFIXES = [-1, 0, 0, -1, -1, 4]


def tree_options() -> dict[str, Any]:
    """The options of segments that continue others, derived token by token."""
    ends = torch.tensor(TREE_LENGTHS).cumsum(0).tolist()
    own = [list(range(end - size, end)) for end, size in zip(ends, TREE_LENGTHS, strict=True)]
    seen = [
        (own[prefix] if prefix >= 0 else []) + tokens
        for prefix, tokens in zip(TREE_PREFIXES, own, strict=True)
    ]
    return {
        "cu_seq_lens_q": torch.tensor([0, *ends], dtype=torch.int32),
        "max_length_q": max(TREE_LENGTHS),
        "key_indices": torch.tensor([token for tokens in seen for token in tokens]),
        "cu_seq_lens_k": torch.tensor([0, *map(len, seen)]).cumsum(0).int(),
        "max_length_k": max(map(len, seen)),
    }


def tree_mask(window: int) -> torch.Tensor:
    """The keys that each token sees, by its place in its text."""
    owner = torch.repeat_interleave(torch.arange(len(TREE_LENGTHS)), torch.tensor(TREE_LENGTHS))
    prefix = torch.tensor(TREE_PREFIXES)
    before = [TREE_LENGTHS[index] if index >= 0 else 0 for index in TREE_PREFIXES]
    place = torch.cat(
        [
            torch.arange(start, start + size)
            for start, size in zip(before, TREE_LENGTHS, strict=True)
        ]
    )
    same = (owner[:, None] == owner[None]) | (prefix[owner][:, None] == owner[None])
    seen = same & (place[None] <= place[:, None])
    return seen & (place[None] > place[:, None] - window) if window else seen


@pytest.mark.parametrize("device", ["cpu", "as on a gpu"])
@pytest.mark.parametrize("window", [0, 100])
def test_segments_that_continue_one_text_see_it_and_themselves(
    device: str, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if device != "cpu":
        monkeypatch.setattr(attention_cpu, "attend", attention_gpu.attend)
    torch.manual_seed(0)
    shapes = [(1, heads, sum(TREE_LENGTHS), 8) for heads in (6, 2, 2)]
    ours = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    theirs = [each.detach().clone().requires_grad_() for each in ours]
    options = tree_options() | ({"sliding_window": window} if window else {})
    mixed, _ = segment_attention(Layer(causal=True), *ours, None, **options)
    wide = [theirs[0], *(each.repeat_interleave(3, 1) for each in theirs[1:])]
    expected = scaled_dot_product_attention(*wide, attn_mask=tree_mask(window)).transpose(1, 2)
    upstream = torch.randn_like(mixed)
    mixed.backward(upstream)
    expected.backward(upstream)
    torch.testing.assert_close(mixed, expected, rtol=0, atol=1e-12)
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our.grad, their.grad, rtol=0, atol=1e-12)
