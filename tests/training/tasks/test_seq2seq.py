from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training.round_trips import (
    held_out_examples,
    predicted_rows,
    recipe_of,
    run_to_end,
    save_and_restore,
    write_rows,
)

from moli.records.errors import InputError
from moli.records.examples import Pair
from moli.training.tasks.seq2seq import GeneratedText, Seq2Seq, Seq2SeqOutput, train_tokenizer

_SHAPE = {"hidden": 32, "layers": 1, "heads": 2, "vocabulary": 16}


def _pairs(count: int, letters: str = "abcd", longest: int = 4) -> list[Pair]:
    """Letters, and the same in order."""
    draw = random.Random(0)
    texts = ["".join(draw.choices(letters, k=draw.randint(1, longest))) for _ in range(count)]
    return [Pair(each, "".join(sorted(each))) for each in texts]


def _write_pairs(path: Path, pairs: list[Pair]) -> Path:
    return write_rows(path, [{"source": each.source, "target": each.target} for each in pairs])


def _prepared(**values: Any) -> tuple[Seq2Seq, Any]:
    task = Seq2Seq(recipe_of(task="seq2seq", base="new", shape=_SHAPE, data="unread", **values))
    task.prepare(_pairs(20))
    torch.manual_seed(0)
    return task, task.build(torch.float32).eval()


def test_scores_and_losses_are_those_of_the_model_itself() -> None:
    """Each pair by itself, with labels as transformers takes them."""
    task, model = _prepared()
    pairs = _pairs(6)
    samples = [each for group in task.samples(pairs, training=True) for each in group]
    with torch.inference_mode():
        outputs = task.forward(model, samples)
        actual = task.losses(outputs, samples)
        expected = []
        for each in pairs:
            inputs, labels = (
                task.tokenizer(text, return_tensors="pt") for text in (each.source, each.target)
            )
            loss = model(**inputs, labels=labels["input_ids"]).loss
            expected.append(float(loss) * labels["input_ids"].shape[1])
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    assert [each.supervised for each in samples] == [len(each.target) + 1 for each in pairs]


def test_losses_are_summed_over_the_targets_tokens() -> None:
    task, model = _prepared()
    samples = [
        each
        for group in task.samples([Pair("a", "ab"), Pair("b", "")], training=True)
        for each in group
    ]
    scores = np.random.default_rng(0).normal(size=(4, model.config.vocab_size))
    expected = np.concatenate([each.sequences[1] for each in samples])
    by_token = [
        -math.log(math.exp(row[token]) / sum(map(math.exp, row)))
        for row, token in zip(scores, expected, strict=True)
    ]
    actual = task.losses(Seq2SeqOutput(torch.tensor(scores), model, {}), samples)
    np.testing.assert_allclose(actual, [sum(by_token[:3]), by_token[3]], rtol=1e-10)


def test_what_is_written_is_the_likeliest_token_each_time() -> None:
    """Without a cache and without a batch."""
    task, model = _prepared()
    pairs = _pairs(5)
    samples = [each for group in task.samples(pairs, training=False) for each in group]
    with torch.inference_mode():
        actual = task.decode(task.forward(model, samples), samples)
        for pair, written in zip(pairs, actual, strict=True):
            source = task.tokenizer(pair.source, return_tensors="pt")
            ids = [task.tokenizer.pad_token_id]
            while len(ids) <= task.max_new_tokens and ids[-1] != task.tokenizer.eos_token_id:
                scores = model(**source, decoder_input_ids=torch.tensor([ids])).logits
                ids.append(int(scores[0, -1].argmax()))
            assert written.text == task.tokenizer.decode(ids, skip_special_tokens=True).strip()


def test_metrics_by_hand() -> None:
    task, _ = _prepared()
    answers = [GeneratedText("ab", 3, 3), GeneratedText("ba", 1, 3), GeneratedText("", 0, 2)]
    actual = task.metrics(answers, [Pair("", "ab "), Pair("", "ab"), Pair("", "a")])
    assert actual == {"exact_match": pytest.approx(1 / 3), "token_accuracy": 0.5}


@pytest.mark.parametrize("vocabulary", [16, 600])
def test_a_new_tokenizer_gives_texts_back(tmp_path: Path, vocabulary: int) -> None:
    from transformers import AutoTokenizer

    pairs = [Pair("hello  there,\nyou", "h e l"), Pair("lo", "yo")]
    made = train_tokenizer(pairs, vocabulary)
    made.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert len(made) <= vocabulary
    for text in ("hello  there,\nyou", "he", "lo  lo"):
        ids = made(text)["input_ids"]
        assert ids[-1] == made.eos_token_id and again(text)["input_ids"] == ids
        assert again.decode(ids, skip_special_tokens=True) == text
    if vocabulary < 512:
        assert made("hz")["input_ids"][1] == made.unk_token_id
        assert len(made("hello")["input_ids"]) == 6
    else:
        assert made.decode(made("磨砺")["input_ids"], skip_special_tokens=True) == "磨砺"


def test_the_rarest_characters_are_left_out() -> None:
    made = train_tokenizer([Pair("aaabbc", "aab")], 5)
    assert made.convert_ids_to_tokens(range(5)) == ["<pad>", "</s>", "<unk>", "a", "b"]


@pytest.mark.slow
def test_a_small_t5_learns_and_comes_back_from_its_files(tmp_path: Path) -> None:
    recipe = recipe_of(
        task="seq2seq",
        base="new",
        shape=_SHAPE,
        data=_write_pairs(tmp_path / "pairs.jsonl", _pairs(400)),
        epochs=6,
        batch=32,
        learning_rate=1e-2,
    )
    prepared, losses = run_to_end(recipe, tmp_path / "run")
    assert losses[-1] < losses[0] / 3
    task, model = save_and_restore(prepared, tmp_path / "model")
    assert isinstance(task, Seq2Seq)
    assert task.max_new_tokens == 6  # four letters, the end, and one too many
    examples = held_out_examples(prepared)
    assert predicted_rows(task, model, examples) == predicted_rows(
        prepared.task, prepared.model, examples
    )


@pytest.mark.slow
def test_letters_are_put_in_order(tmp_path: Path) -> None:
    recipe = recipe_of(
        task="seq2seq",
        base="new",
        shape=_SHAPE | {"hidden": 64, "layers": 2},
        data=_write_pairs(tmp_path / "pairs.jsonl", _pairs(4000, "abcdefgh", 5)),
        held_out=0.1,
        epochs=16,
        batch=64,
        learning_rate=1e-3,
    )
    prepared, _ = run_to_end(recipe, tmp_path / "run")
    assert prepared.loop.progress.best is not None and prepared.loop.progress.best >= 0.95


@pytest.mark.slow
def test_an_adapter_comes_back_from_its_files(tmp_path: Path) -> None:
    task, model = _prepared()
    model.save_pretrained(tmp_path / "base")
    task.tokenizer.save_pretrained(tmp_path / "base")
    recipe = recipe_of(
        task="seq2seq",
        base=str(tmp_path / "base"),
        data=_write_pairs(tmp_path / "pairs.jsonl", _pairs(120)),
        method="lora",
        rank=4,
        batch=32,
        learning_rate=1e-2,
    )
    prepared, losses = run_to_end(recipe, tmp_path / "run")
    assert losses[-1] < losses[0]
    task, model = save_and_restore(prepared, tmp_path / "model")
    examples = held_out_examples(prepared)
    assert predicted_rows(task, model, examples) == predicted_rows(
        prepared.task, prepared.model, examples
    )


def test_a_new_model_is_not_adapted_and_its_heads_share_its_width() -> None:
    with pytest.raises(InputError, match="nothing that 'lora' could adapt"):
        _prepared(method="lora")
    recipe = recipe_of(task="seq2seq", base="new", data="unread", shape={"hidden": 30, "heads": 4})
    with pytest.raises(InputError, match="30, which is not divisible by 4 heads"):
        Seq2Seq(recipe).prepare(_pairs(4))


@pytest.mark.slow
def test_bottlenecks_go_into_a_t5(tmp_path: Path) -> None:
    """T5 asks its feed-forward layers for the type of their weights."""
    base = tmp_path / "base"
    task, model = _prepared()
    base.mkdir()
    model.save_pretrained(base)
    task.save_state(model, base)
    data = _write_pairs(tmp_path / "data.jsonl", _pairs(40))
    recipe = recipe_of(
        task="seq2seq", base=str(base), data=data, method="adapter", rank=4, epochs=2
    )
    prepared, losses = run_to_end(recipe, tmp_path / "run")
    assert losses[-1] < losses[0]
    again, read = save_and_restore(prepared, tmp_path / "kept")
    examples = held_out_examples(prepared)
    assert predicted_rows(again, read, examples) == predicted_rows(
        prepared.task, prepared.model, examples
    )
