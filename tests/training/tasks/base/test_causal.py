"""A language model's loss, by whatever way its rows are laid and its attention is computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training import small_models
from training.round_trips import recipe_of

from moli.training import methods
from moli.training.batching.samples import Sample
from moli.training.packing import check_packing
from moli.training.setup.prepared import build_model
from moli.training.tasks import make_task
from moli.training.tasks.base.wrapped_models import unwrapped_model

SHAPE: dict[str, Any] = {
    "vocab_size": 44,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "eos_token_id": 3,
    "bos_token_id": 2,
}


def losses_of(model: Any, samples: list[Sample]) -> list[float]:
    """Losses of samples as transformers computes them, one by one."""
    actual = []
    for each in samples:
        ids = torch.tensor(each.sequences[0][None].astype(np.int64))
        labels = ids.masked_fill(~torch.tensor(each.target), -100)
        actual.append(float(model(input_ids=ids, labels=labels).loss) * each.supervised)
    return actual


def write_gemma2(folder: Path) -> None:
    """A model whose scores are capped before the softmax."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    config = Gemma2Config(
        **SHAPE, attn_logit_softcapping=0.05, query_pre_attn_scalar=8, sliding_window=64
    )
    Gemma2ForCausalLM(config).save_pretrained(folder)


def write_gpt_oss(folder: Path) -> None:
    """A model whose attention may go to a sink, which is nothing."""
    from transformers import GptOssConfig, GptOssForCausalLM

    config = GptOssConfig(**SHAPE, num_local_experts=2, num_experts_per_tok=1, sliding_window=64)
    model = GptOssForCausalLM(config)
    for name, each in model.named_parameters():
        if name.endswith("sinks"):
            torch.nn.init.constant_(each, 2.0)
    model.save_pretrained(folder)


def write_modern(folder: Path) -> None:
    """A model whose head has a layer before its output embeddings."""
    from transformers import ModernBertDecoderConfig, ModernBertDecoderForCausalLM

    shape = {key: SHAPE[key] for key in SHAPE if key not in ("num_key_value_heads", "head_dim")}
    config = ModernBertDecoderConfig(**shape, local_attention=64, cls_token_id=2, sep_token_id=3)
    ModernBertDecoderForCausalLM(config).save_pretrained(folder)


def write_cohere(folder: Path) -> None:
    """A model whose logits are scaled."""
    from transformers import CohereConfig, CohereForCausalLM

    shape = {key: SHAPE[key] for key in SHAPE if key != "head_dim"}
    CohereForCausalLM(CohereConfig(**shape, logit_scale=9.0)).save_pretrained(folder)


WRITERS = (None, write_modern, write_cohere)


def samples_of(task: Any, data: Path) -> list[Sample]:
    from moli.training.data import examples_of, read_data

    examples = examples_of(read_data(task.recipe, task.example_types).train)
    task.prepare(examples)
    return [each for group in task.samples(examples, training=True) for each in group][:8]


@pytest.mark.slow
@pytest.mark.parametrize("write", [write_gemma2, write_gpt_oss])
@pytest.mark.parametrize("alike", [False, True], ids=["padded", "of one length"])
def test_scores_that_torch_cannot_compute_are_the_models_own(
    tmp_path: Path, write: Any, alike: bool
) -> None:
    from transformers import AutoModelForCausalLM

    base = small_models.write_model(tmp_path / "base", "llama")
    torch.manual_seed(0)
    write(Path(base))
    data = small_models.write_conversations(tmp_path / "data.jsonl")
    task = make_task(recipe_of(task="instruction", base=base, data=data, method="full"))
    samples = samples_of(task, data)
    if alike:
        samples = [samples[0]] * 3
    model = build_model(task, task.recipe).eval()
    truth = AutoModelForCausalLM.from_pretrained(base, attn_implementation="eager").eval()
    with torch.inference_mode():
        actual = task.losses(task.forward(model, samples), samples)
        np.testing.assert_allclose(actual, losses_of(truth, samples), rtol=1e-4)
    assert not check_packing(task, model, samples).holds


@pytest.mark.slow
@pytest.mark.parametrize("write", [write_modern, write_cohere])
def test_logits_that_are_more_than_the_heads_are_the_models_own(tmp_path: Path, write: Any) -> None:
    from transformers import AutoModelForCausalLM

    base = small_models.write_model(tmp_path / "base", "llama")
    torch.manual_seed(0)
    write(Path(base))
    data = small_models.write_conversations(tmp_path / "data.jsonl")
    task = make_task(recipe_of(task="instruction", base=base, data=data, method="full"))
    samples = samples_of(task, data)
    model = build_model(task, task.recipe).eval()
    truth = AutoModelForCausalLM.from_pretrained(base).eval()
    proof = check_packing(task, model, samples)
    with torch.inference_mode():
        for packed in (False, True) if proof.holds else (False,):
            actual = task.losses(task.forward(model, samples, packed=packed), samples)
            np.testing.assert_allclose(actual, losses_of(truth, samples), rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("write", "method", "packed"),
    [
        *((None, method, packed) for method in ("full", "adapter") for packed in (False, True)),
        *((write, "lora", packed) for write in WRITERS for packed in (False, True)),
        *((write, method, False) for write in WRITERS for method in ("prefix", "prompt")),
    ],
)
def test_only_supervised_tokens_reach_the_head(
    tmp_path: Path, write: Any, method: str, packed: bool
) -> None:
    base = small_models.write_model(tmp_path / "base", "llama")
    if write:
        write(Path(base))
    data = small_models.write_conversations(tmp_path / "data.jsonl")
    task = make_task(recipe_of(task="instruction", base=base, data=data, method=method, rank=4))
    samples = samples_of(task, data)
    model: Any = methods.apply_method(task.build(torch.float32), task.recipe).eval()
    reached = []
    head = unwrapped_model(model).get_output_embeddings()
    head.register_forward_hook(lambda _head, inputs, _logits: reached.append(inputs[0]))
    with torch.inference_mode():
        outputs = task.forward(model, samples, packed=packed)
    whole = write is not None or method in ("prefix", "prompt")
    assert len(reached) == whole  # else the states wait for the head, which may take them in parts
    states = reached[0] if whole else outputs.states
    assert states.shape[-1] == 32
    assert states.numel() == 32 * sum(each.supervised for each in samples)


@pytest.mark.parametrize("method", ["prefix", "prompt"])
def test_a_trained_prompt_is_before_the_rows(tmp_path: Path, method: str) -> None:
    base = small_models.write_model(tmp_path / "base", "llama")
    data = small_models.write_conversations(tmp_path / "data.jsonl")
    task = make_task(recipe_of(task="instruction", base=base, data=data, method=method))
    samples = samples_of(task, data)
    torch.manual_seed(0)
    model: Any = methods.apply_method(task.build(torch.float32), task.recipe).eval()
    with torch.inference_mode():
        actual = task.losses(task.forward(model, samples), samples)
        np.testing.assert_allclose(actual, losses_of(model, samples), rtol=1e-4)
