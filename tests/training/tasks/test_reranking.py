from __future__ import annotations

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from training import small_models
from training.round_trips import (
    held_out_examples,
    predicted_rows,
    recipe_of,
    run_to_end,
    save_and_restore,
    write_rows,
)

from moli.records.errors import InputError
from moli.records.examples import Match, Scored
from moli.training.packing import check_packing
from moli.training.tasks.reranking import Reranking, first_place_loss


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model that tells the two texts of a pair apart by the types of their tokens."""
    folder = small_models.write_model(tmp_path_factory.mktemp("bert"), "bert")
    path = Path(folder) / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
    path.write_text(json.dumps(config), encoding="utf-8")
    return folder


def _matches(count: int) -> list[Match]:
    """The right text has all words of the query, the wrong ones have others."""
    draw = random.Random(0)
    actual = []
    for _ in range(count):
        words = draw.sample(range(20), draw.randint(1, 3))
        texts = [words, *(draw.sample(range(20), len(words)) for _ in range(2))]
        query, *others = (" ".join(f"w{each}" for each in text) for text in [words, *texts])
        actual.append(Match(query, others[0], tuple(each for each in others[1:] if each != query)))
    return [each for each in actual if each.negatives]


def _prepared(base: str, examples: list[Match] | list[Scored]) -> tuple[Reranking, torch.nn.Module]:
    task = Reranking(recipe_of(task="reranking", base=base, data="unread.jsonl"))
    task.prepare(examples)
    torch.manual_seed(0)
    return task, task.build(torch.float32).eval()


def test_first_place_is_the_negative_logarithm_of_a_share() -> None:
    scores = np.random.default_rng(0).normal(size=5)
    expected = -math.log(math.exp(scores[0]) / sum(map(math.exp, scores)))
    assert float(first_place_loss(torch.tensor(scores))) == pytest.approx(expected, rel=1e-12)


def test_losses_of_matches_are_of_each_query_alone(base: str) -> None:
    examples = [Match("w1", "w2", ("w3",)), Match("w4", "w5"), Match("w6", "w7", ("w8", "w9"))]
    task, _ = _prepared(base, examples)
    groups = task.samples(examples, training=True)
    assert [len(each) for each in groups] == [1, 0, 1]  # one has nothing to choose from
    samples = [each for group in groups for each in group]
    scores = torch.tensor([1.0, 2.0, 0.5, -1.0, 3.0])
    expected = [
        -math.log(math.exp(1) / (math.exp(1) + math.exp(2))),
        -math.log(math.exp(0.5) / (math.exp(0.5) + math.exp(-1) + math.exp(3))),
    ]
    np.testing.assert_allclose(task.losses(scores, samples), expected, rtol=1e-6)


def test_losses_of_scores_are_cross_entropies_of_their_share_of_the_scale(base: str) -> None:
    examples = [Scored("w1", "w2", 5.0), Scored("w1", "w3", 1.0), Scored("w1", "w4", 2.0)]
    task, _ = _prepared(base, examples)
    groups = task.samples([*examples, Scored("w1", "w2", 9.0)], training=False)
    samples = [each for group in groups for each in group]
    scores = np.array([0.3, -1.2, 2.0, 0.3])
    share = 1 / (1 + np.exp(-scores))
    aim = np.array([1, 0, 0.25, 1])  # what is beyond the scale counts as its end
    expected = -(aim * np.log(share) + (1 - aim) * np.log(1 - share))
    actual = task.losses(torch.tensor(scores, dtype=torch.float32), samples)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    assert task.to_row(np.array([0.3])) == {"score": pytest.approx(1 + 4 / (1 + math.exp(-0.3)))}


def test_scores_are_those_of_transformers_alone(base: str) -> None:
    """Each pair by itself, through the tokenizer's and the model's own way."""
    examples = _matches(6)
    task, model = _prepared(base, examples)
    samples = [each for group in task.samples(examples, training=True) for each in group]
    expected = []
    with torch.inference_mode():
        for each in examples:
            for text in (each.positive, *each.negatives):
                encoded = task.tokenizer(each.query, text, return_tensors="pt")
                assert encoded["token_type_ids"].max() == 1
                expected.append(model(**encoded).logits[0, 0])
        padded = task.forward(model, samples)
        packed = task.forward(model, samples, packed=True)
    torch.testing.assert_close(padded, torch.stack(expected), rtol=0, atol=1e-5)
    torch.testing.assert_close(packed, padded, rtol=0, atol=1e-5)


def test_packing_is_proven(base: str) -> None:
    task, model = _prepared(base, _matches(20))
    samples = [each for group in task.samples(_matches(20), training=True) for each in group]
    proof = check_packing(task, model, samples)
    assert proof.holds, proof.reason


def test_the_longer_text_is_truncated_and_its_lost_tokens_counted(base: str) -> None:
    task = Reranking(recipe_of(task="reranking", base=base, data="unread", max_length=12))
    examples = [Match("w1 w2", " ".join(["w3"] * 20), ("w4",))]
    task.prepare(examples)
    [[sample]] = task.samples(examples, training=True)
    assert [len(each) for each in sample.sequences] == [12, 6]
    assert task.tokenizer.decode(sample.sequences[0][:4]) == "[CLS] w1 w2 [SEP]"
    assert sample.sequences[0][-1] == task.tokenizer.sep_token_id
    assert sample.truncated_tokens == 25 - 12


def test_metrics_by_hand(base: str) -> None:
    task, _ = _prepared(base, [Match("w1", "w2", ("w3",))])
    answers = [np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 0.0]), np.array([0.0, 1.0, 2.0])]
    # An equal of the positive counts as before it.
    actual = task.metrics(answers, [Match("a", "b", ("c", "d"))] * 3)
    assert actual == {
        "mrr_at_10": pytest.approx((1 + 1 / 2 + 1 / 3) / 3),
        "recall_at_1": pytest.approx(1 / 3),
    }


def test_without_any_negative_there_is_nothing_to_choose_from(base: str) -> None:
    task, _ = _prepared(base, [Match("w1", "w2")])
    with pytest.raises(InputError, match="no query has negatives"):
        task.samples([Match("w1", "w2")], training=True)


def test_equal_scores_teach_nothing(base: str) -> None:
    with pytest.raises(InputError, match=r"every score is 2\.0"):
        _prepared(base, [Scored("w1", "w2", 2.0), Scored("w3", "w4", 2.0)])


@pytest.mark.slow
@pytest.mark.parametrize(("method", "reached"), [("full", 0.9), ("lora", 0.75)])
def test_it_learns_to_choose(base: str, tmp_path: Path, method: str, reached: float) -> None:
    """The right text is the one that begins with a word of the upper half; by chance, .61."""
    draw = random.Random(3)
    rows = []
    for _ in range(300):
        right, *wrong = (
            f"w{first} w{draw.randrange(40)}"
            for first in (draw.randrange(20, 40), draw.randrange(20), draw.randrange(20))
        )
        rows.append({"query": f"w{draw.randrange(40)}", "positive": right, "negatives": wrong})
    recipe = recipe_of(
        task="reranking",
        base=base,
        data=write_rows(tmp_path / "rows.jsonl", rows),
        method=method,
        epochs=6,
        batch=16,
        learning_rate=3e-3,
    )
    prepared, _ = run_to_end(recipe, tmp_path / "run")
    assert prepared.loop.batching.packed
    assert prepared.loop.progress.best is not None and prepared.loop.progress.best > reached
    task, model = save_and_restore(prepared, tmp_path / "model")
    examples = held_out_examples(prepared)
    before, after = (
        predicted_rows(*each, examples) for each in ((prepared.task, prepared.model), (task, model))
    )
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one["scores"], other["scores"], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_scale_of_scores_is_kept(base: str, tmp_path: Path, method: str) -> None:
    rows = [
        {"text1": f"w{each % 40}", "text2": f"w{each % 7}", "score": 1 + each % 3}
        for each in range(42)
    ]
    recipe = recipe_of(
        task="reranking",
        base=base,
        data=write_rows(tmp_path / "rows.jsonl", rows),
        method=method,
        batch=16,
    )
    prepared, _ = run_to_end(recipe, tmp_path / "run")
    task, model = save_and_restore(prepared, tmp_path / "model")
    examples = held_out_examples(prepared)
    before, after = (
        predicted_rows(*each, examples) for each in ((prepared.task, prepared.model), (task, model))
    )
    assert all(1 < each["score"] < 3 for each in before)
    for one, other in zip(before, after, strict=True):
        assert one["score"] == pytest.approx(other["score"], abs=1e-4)


def test_a_match_without_negatives_is_not_evaluated(base: str) -> None:
    task, _ = _prepared(base, _matches(8))
    assert task.samples([Match("w1", "w2")], training=False) == [[]]
    with pytest.raises(InputError, match="no query has negatives"):
        task.samples([Match("w1", "w2")], training=True)
