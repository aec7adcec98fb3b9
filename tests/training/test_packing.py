"""The proof of packing holds where it should, and sees what is wrong where it should not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from training.small_models import write_conversations, write_labelled, write_model

from moli.training.data import examples_of, read_data
from moli.training.kernels import attention
from moli.training.packing import PackingCheck, check_packing
from moli.training.recipes.recipe import make_recipe
from moli.training.setup.prepared import build_model
from moli.training.tasks import make_task


def proof(folder: Path, task: str, precision: torch.dtype = torch.float32) -> PackingCheck:
    base = write_model(folder / "base", "bert" if task == "classification" else "llama")
    write = write_labelled if task == "classification" else write_conversations
    recipe = make_recipe(
        {
            "task": task,
            "base": base,
            "data": write(folder / "data.jsonl"),
            "method": "full",
            "precision": "fp32",
        }
    )
    made = make_task(recipe)
    examples = examples_of(read_data(recipe, made.example_types).train)
    made.prepare(examples)
    torch.manual_seed(0)
    model = build_model(made, recipe)
    samples = [each for group in made.samples(examples, training=True) for each in group]
    before = {name: each.clone() for name, each in model.state_dict().items()}
    actual = check_packing(made, model, samples, precision)
    assert model.training
    assert all(torch.equal(before[name], each) for name, each in model.state_dict().items())
    assert plain_attention(model) == attention.NAME
    return actual


def plain_attention(model: Any) -> str:
    return str(model.config._attn_implementation)


@pytest.mark.parametrize("task", ["classification", "instruction"])
def test_it_holds_for_models_that_keep_segments_apart(task: str, tmp_path: Path) -> None:
    actual = proof(tmp_path, task)
    assert actual.holds
    assert actual.packed == pytest.approx(actual.alone, rel=1e-5)
    assert actual.leak == 0.0


@pytest.mark.parametrize("task", ["classification", "instruction"])
def test_it_sees_a_leak_between_neighbours(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leak is one of transformers, whose SDPA mask is left out when a cache is in use."""
    right = attention.segment_attention

    def leaky(*arguments: Any, cu_seq_lens_q: Any = None, **options: Any) -> Any:
        return right(*arguments, **options)

    monkeypatch.setattr(attention, "segment_attention", leaky)
    actual = proof(tmp_path, task)
    assert not actual.holds
    assert actual.leak > 0


@pytest.mark.slow
@pytest.mark.parametrize("task", ["classification", "instruction"])
def test_what_computes_in_another_precision_is_tried_too(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert proof(tmp_path, task, torch.bfloat16).holds
    right = attention.segment_attention

    def faulty(module: Any, query: torch.Tensor, *rest: Any, **options: Any) -> Any:
        """In half precision, its results are no numbers."""
        mixed, none = right(module, query, *rest, **options)
        return (mixed * torch.nan if query.dtype == torch.bfloat16 else mixed), none

    monkeypatch.setattr(attention, "segment_attention", faulty)
    assert not proof(tmp_path, task, torch.bfloat16).holds


def test_it_sees_wrong_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from moli.training.batching import batches

    def counted_through(*arguments: Any, **options: Any) -> Any:
        batch = batches.collate(*arguments, **options)
        if batch.packed:
            length = batch.inputs["input_ids"].shape[1]
            batch.inputs["position_ids"] = torch.arange(length)[None] % 64
        return batch

    monkeypatch.setattr("moli.training.tasks.base.transformer.collate", counted_through)
    actual = proof(tmp_path, "classification")
    assert not actual.holds


def test_a_model_that_refuses_is_padded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise NotImplementedError("attention with softcap is not computed per segment")

    monkeypatch.setattr("moli.training.tasks.base.sequence_logits.model_without_head", refuse)
    actual = proof(tmp_path, "classification")
    assert not actual.holds
    assert "softcap" in actual.reason


def test_samples_longer_than_the_probe_are_proven_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moli.training.packing._PROBE_TOKENS", 4)
    actual = proof(tmp_path, "classification")
    assert actual.holds and actual.reason == ""


def test_a_single_sample_proves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moli.training.packing._choose_probes", lambda samples: list(samples[:1]))
    actual = proof(tmp_path, "classification")
    assert not actual.holds and actual.reason == "two samples are needed to try it"
