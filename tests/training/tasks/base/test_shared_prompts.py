"""Answers that share a prompt: tokenized alike, computed once, and never cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training.preference_cases import preferences
from training.small_models import write_model

from moli.models.templates.chat_template import prompt_ids
from moli.records.examples import Conversation, Preference
from moli.records.messages import Message
from moli.training.batching.samples import Sample
from moli.training.kernels import attention
from moli.training.packing import check_packing
from moli.training.recipes.recipe import make_recipe
from moli.training.tasks.base.causal import mark_head
from moli.training.tasks.dpo import Dpo
from moli.training.tasks.instruction import Instruction

SHAPE = {"vocab_size": 44, "pad_token_id": 0, "eos_token_id": 3, "bos_token_id": 2}


def task_on(base: str, kind: Any = Dpo, **values: Any) -> Any:
    name = "dpo" if kind is Dpo else "instruction"
    return kind(make_recipe({"task": name, "base": base, "data": "a.jsonl", **values}))


def make_family(family: str) -> Any:
    import transformers

    torch.manual_seed(0)
    if family == "gpt2":
        config: Any = transformers.GPT2Config(**SHAPE, n_embd=32, n_layer=2, n_head=4)
        config.resid_pdrop = config.embd_pdrop = config.attn_pdrop = 0.0
        return transformers.GPT2LMHeadModel(config)
    options = SHAPE | {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    options |= {"num_attention_heads": 4, "num_key_value_heads": 2}
    if family == "llama":
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(**options))
    window = {"sliding_window": 6, "use_sliding_window": True, "max_window_layers": 1}
    return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**options, **window))


def separate_logps(model: Any, samples: list[Sample]) -> torch.Tensor:
    """Log probabilities of both answers from transformers alone, a text at a time: [samples, 2]."""
    rows = []
    for sample in samples:
        prompt, *answers = sample.sequences
        for answer in answers:
            ids = torch.tensor(np.concatenate([prompt, answer]).astype(np.int64))
            logps = model(input_ids=ids[None]).logits[0].log_softmax(-1)
            own = logps[len(prompt) - 1 : -1].gather(1, ids[len(prompt) :, None])
            rows.append(own.sum())
    return torch.stack(rows).view(-1, 2)


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2"])
def test_a_shared_prompt_changes_neither_log_probabilities_nor_gradients(
    family: str, packed: bool, tmp_path: Path
) -> None:
    task = task_on(write_model(tmp_path / "base", "llama"))
    samples = [each for group in task.samples(preferences(5), training=True) for each in group]
    attention.register()
    model = mark_head(make_family(family).double())
    weights = torch.randn(5, 2, dtype=torch.float64)

    def gradients(logps: torch.Tensor) -> dict[str, torch.Tensor]:
        model.zero_grad()
        (logps.double() * weights).sum().backward()
        return {name: each.grad.clone() for name, each in model.named_parameters()}

    model.set_attn_implementation("eager")
    expected = separate_logps(model, samples)
    expected_gradients = gradients(expected)
    model.set_attn_implementation(attention.NAME if packed else "sdpa")
    logps = task.logps(task.forward(model, samples, packed=packed), samples)
    # Losses are float32 numbers; rotary angles are computed in float32 in all of them.
    torch.testing.assert_close(logps.double(), expected, rtol=1e-6, atol=1e-5)
    for name, gradient in gradients(logps).items():
        torch.testing.assert_close(gradient, expected_gradients[name], rtol=1e-5, atol=2e-6)


def test_a_packed_sample_has_the_tokens_of_its_prompt_once(tmp_path: Path) -> None:
    task = task_on(write_model(tmp_path / "base", "llama"))
    example = preferences(1)[0]
    sample = task.samples([example], training=True)[0][0]
    prompt = prompt_ids(task.tokenizer, example.prompt)
    assert sample.sequences[0].tolist() == prompt
    assert sample.size == sum(map(len, sample.sequences))
    assert sample.length == len(prompt) + max(map(len, sample.sequences[1:]))


def test_both_texts_are_those_of_instruction_tuning(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", "llama")
    task, instruction = task_on(base), task_on(base, Instruction)
    for example in preferences(3):
        sample = task.samples([example], training=True)[0][0]
        for number, answer in ((1, example.chosen), (2, example.rejected)):
            conversation = Conversation((*example.prompt, *answer))
            other = instruction.samples([conversation], training=True)[0][0]
            text = [*sample.sequences[0], *sample.sequences[number]]
            mask = [*sample.target.masks[0], *sample.target.masks[number]]
            assert text == other.sequences[0].tolist()
            assert mask == other.target.tolist()


def write_joining_tokenizer(folder: Path) -> None:
    """A tokenizer that joins the colon at the end of a prompt with a bracket after it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["[END]", *letters, ":)"]
    raw = Tokenizer(models.BPE({word: n for n, word in enumerate(words)}, [(":", ")")]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    raw.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="[END]")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role + ':' + m.content + eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    tokenizer.save_pretrained(folder)
    LlamaConfig(vocab_size=len(words)).save_pretrained(folder)


def test_no_token_spans_the_border_of_prompt_and_answer(tmp_path: Path) -> None:
    write_joining_tokenizer(tmp_path)
    task = task_on(str(tmp_path))
    example = Preference(
        (Message("user", "Hi"),), (Message("assistant", ")"),), (Message("assistant", "("),)
    )
    sample = task.samples([example], training=True)[0][0]
    assert sample.sequences[0].tolist() == prompt_ids(task.tokenizer, example.prompt)
    texts = [task.tokenizer.decode(each) for each in sample.sequences]
    assert texts == ["user:Hi[END]assistant:", ")[END]", "([END]"]
    assert [mask.all() for mask in sample.target.masks] == [False, True, True]


def long_example() -> Preference:
    turns = [
        Message("system", "w1"),
        Message("user", " ".join(["w2"] * 20)),
        Message("assistant", "w3"),
        Message("user", "w4"),
    ]
    return Preference(tuple(turns), (Message("assistant", "w5"),), (Message("assistant", "w6"),))


def test_of_a_long_prompt_the_first_turns_are_left_out_and_counted(tmp_path: Path) -> None:
    task = task_on(write_model(tmp_path / "base", "llama"), max_length=16)
    example = long_example()
    sample = task.samples([example], training=True)[0][0]
    text = task.tokenizer.decode(sample.sequences[0])
    assert "w1" in text
    assert "w4" in text
    assert "w2" not in text
    assert "w3" not in text
    assert sample.length <= 16
    assert sample.length + sample.truncated_tokens == task.full_length(example)
    assert [task.tokenizer.decode(each)[:2] for each in sample.sequences[1:]] == ["w5", "w6"]


def test_an_answer_is_never_cut(tmp_path: Path) -> None:
    task = task_on(write_model(tmp_path / "base", "llama"), max_length=16)
    answer = Message("assistant", " ".join(["w5"] * 15))
    example = Preference((Message("user", "w1"),), (answer,), (Message("assistant", "w6"),))
    assert task.samples([example], training=True) == [[]]
    assert task.full_length(example) > 16
    assert task.too_long_reason == (
        "the last request and an answer to it are longer than max_length 16"
    )


def test_an_answer_without_a_request_gives_no_sample(tmp_path: Path) -> None:
    task = task_on(write_model(tmp_path / "base", "llama"))
    example = Preference((), (Message("assistant", "w5"),), (Message("assistant", "w6"),))
    assert task.samples([example], training=True) == [[]]


def test_a_model_whose_attention_cannot_share_prompts_is_padded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the keys of its prompt, an answer sees itself alone: the check must notice."""
    task = task_on(write_model(tmp_path / "base", "llama"), precision="fp32")
    samples = [each for group in task.samples(preferences(8), training=True) for each in group]
    model = task.build(torch.float32)
    assert check_packing(task, model, samples).holds
    right = attention.segment_attention

    def forgetful(*arguments: Any, key_indices: Any = None, **options: Any) -> Any:
        return right(*arguments, **options)

    monkeypatch.setattr(attention, "segment_attention", forgetful)
    broken = task.build(torch.float32)
    assert not check_packing(task, broken, samples).holds
