from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training import small_models

from moli.records.errors import InputError
from moli.records.examples import Text
from moli.training import inference
from moli.training.recipes.recipe import make_recipe
from moli.training.tasks import make_task
from moli.training.tasks.pretraining import _pieces, train_tokenizer

TEXTS = [
    "It was the best of times, it was the worst of times. " * 40,
    "磨刀不误砍柴工。Sharpening the axe does not delay the cutting. " * 40,
]
SHAPE = {"hidden": 32, "layers": 2, "heads": 4, "vocabulary": 400}


@given(st.integers(2, 300), st.integers(8, 64), st.booleans())
def test_every_token_is_supervised_once_and_predicted_from_those_before(
    count: int, length: int, judging: bool
) -> None:
    ids = np.arange(count, dtype=np.int32)
    pieces = list(_pieces(ids, length, length // 2 if judging else 0))
    supervised = np.concatenate([each.sequences[0][each.target] for each in pieces])
    assert supervised.tolist() == list(range(1, count))
    assert sum(each.supervised for each in pieces) == count - 1
    for each in pieces:
        assert len(each.sequences[0]) <= length + 1
        assert each.sequences[0].tolist() == list(
            range(each.sequences[0][0], each.sequences[0][-1] + 1)
        )
    if judging:  # all but those of the first piece have half a piece before them
        assert all(int(np.argmax(each.target)) > length // 2 for each in pieces[1:])


def made(**values: Any) -> Any:
    task: Any = make_task(
        make_recipe(
            {
                "task": "pretraining",
                "base": "new",
                "data": "unused.jsonl",
                "shape": SHAPE,
                "precision": "fp32",
                "max_length": 32,
                **values,
            }
        )
    )
    task.prepare([Text(each) for each in TEXTS])
    torch.manual_seed(0)
    return task


def test_bits_per_byte_are_those_of_a_plain_pass_over_the_text() -> None:
    task = made(max_length=4096)
    model = task.build(torch.float32).eval()
    examples = [Text(each) for each in TEXTS]
    metrics = inference.evaluate(task, model, examples, task.samples(examples, training=False))
    nats = size = 0.0
    for text in TEXTS:
        ids = task.tokenizer(text, add_special_tokens=False)["input_ids"]
        end = task.tokenizer.bos_token_id
        row = torch.tensor([[end, *ids, end]])
        with torch.no_grad():
            logits = model(input_ids=row).logits[0, :-1].double()
        nats += float(torch.nn.functional.cross_entropy(logits, row[0, 1:], reduction="sum"))
        size += len(text.encode())
    assert metrics["bits_per_byte"] == pytest.approx(nats / size / math.log(2), rel=1e-5)


def test_a_tokenizer_gives_every_text_back_and_knows_chat() -> None:
    tokenizer = train_tokenizer(TEXTS, 300)
    assert len(tokenizer) == 300
    for text in (*TEXTS, "a\n\tb  c", "日本語 🙂"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    chat = tokenizer.apply_chat_template(turns, return_dict=True, return_assistant_tokens_mask=True)
    ids, mask = np.asarray(chat["input_ids"]), np.asarray(chat["assistant_masks"]).astype(bool)
    assert tokenizer.decode(ids[mask]) == "Hello<|im_end|>"


def test_the_length_of_tokens_is_that_of_the_text() -> None:
    task = made()
    for text in TEXTS:
        ids = task.tokenizer(text)["input_ids"]
        assert int(task._bytes_by_id[ids].sum()) == len(text.encode())


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_model_from_nothing_learns_a_text_by_heart(optimizer: str, tmp_path: Path) -> None:
    import json

    from moli.training.setup.prepared import prepare

    data = tmp_path / "texts.jsonl"
    data.write_text("".join(json.dumps({"text": each}) + "\n" for each in TEXTS))
    recipe = made(optimizer=optimizer).recipe.model_copy(
        update={"data": data, "held_out": data, "epochs": 12.0, "batch": 8}
    )
    recipe = recipe.model_copy(update={"held_out": 0.0})
    prepared = prepare(recipe, tmp_path, lambda _: None)
    prepared.loop.run()
    examples = [Text(each) for each in TEXTS]
    groups = prepared.task.samples(examples, training=False)
    metrics = inference.evaluate(prepared.task, prepared.model, examples, groups)
    assert metrics["bits_per_byte"] < 0.6  # each sentence is there forty times


def test_no_piece_is_longer_than_the_maximum() -> None:
    task = made(max_length=32)
    for training in (True, False):
        groups = task.samples([Text(each) for each in TEXTS], training=training)
        assert max(each.size for group in groups for each in group) == 32


def test_a_new_model_is_not_adapted_and_has_no_unknown_part() -> None:
    with pytest.raises(InputError, match="nothing that 'lora' could adapt"):
        made(method="lora")
    with pytest.raises(InputError, match=r"no 'layer'.*Did you mean 'layers'"):
        made(shape={"layer": 2})
    assert made(shape={**SHAPE, "inner": 48}).config().intermediate_size == 48


def test_a_new_model_has_no_base_whatever_lies_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other.safetensors").write_bytes(b"weights of something else")
    monkeypatch.chdir(tmp_path)
    assert made().base_hashes().base == ""


def test_bytes_are_those_of_the_text_for_a_tokenizer_of_words(tmp_path: Path) -> None:
    base = small_models.write_model(tmp_path / "base", "llama")
    task: Any = make_task(make_recipe({"task": "pretraining", "base": base, "data": "unused"}))
    (group,) = task.samples([Text("w1 w22 w3")], training=False)
    assert task._count_bytes(group[0].sequences[0][group[0].target]) == len("w1 w22 w3")


def test_an_encoder_is_no_language_model(tmp_path: Path) -> None:
    for task in ("pretraining", "instruction"):
        recipe = make_recipe({"task": task, "base": "builtin:minilm", "data": "unused"})
        with pytest.raises(InputError, match=r"builtin:minilm: this is an encoder.*language model"):
            make_task(recipe).prepare([])
