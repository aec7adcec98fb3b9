from __future__ import annotations

import itertools
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

from moli.models.encoders.bert import BertEncoder
from moli.models.encoders.encoder_files import read_encoder_files
from moli.records.errors import InputError
from moli.records.examples import Match, Scored
from moli.training.packing import check_packing
from moli.training.tasks.base.pooling import mean_states
from moli.training.tasks.embedding import Embedding, cosent, info_nce


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return small_models.write_model(tmp_path_factory.mktemp("bert"), "bert")


def _matches(count: int) -> list[Match]:
    """A text belongs to the one whose words have numbers that are higher by 20."""
    draw = random.Random(0)
    actual = []
    for _ in range(count):
        words = draw.choices(range(20), k=draw.randint(2, 6))
        near = [*words[:-1], (words[-1] + 7) % 20]
        actual.append(
            Match(
                " ".join(f"w{each}" for each in words),
                " ".join(f"w{each + 20}" for each in words),
                (" ".join(f"w{each + 20}" for each in near),),
            )
        )
    return actual


def _prepared(base: str, examples: list[Match] | list[Scored]) -> tuple[Embedding, torch.nn.Module]:
    task = Embedding(recipe_of(task="embedding", base=base, data="unread.jsonl"))
    task.prepare(examples)
    return task, task.build(torch.float32).eval()


def _unit(shape: tuple[int, int], seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=shape)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_info_nce_is_the_negative_logarithm_of_the_own_candidates_share() -> None:
    queries, candidates, own = _unit((3, 5), 0), _unit((7, 5), 1), [0, 2, 5]
    excluded = np.zeros((3, 7), bool)
    excluded[1, 5] = True
    expected = []
    for row, query in enumerate(queries):
        powers = [
            0.0 if excluded[row, column] else math.exp(float(query @ each) / 0.05)
            for column, each in enumerate(candidates)
        ]
        expected.append(-math.log(powers[own[row]] / sum(powers)))
    actual = info_nce(*map(torch.tensor, (queries, candidates, own, excluded)))
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-12)


def test_cosent_sums_over_the_pairs_in_the_wrong_order() -> None:
    draw = np.random.default_rng(2)
    cosines, scores = draw.uniform(-1, 1, 6), np.array([0, 1, 1, 3, 2.5, 0])
    total = 1.0
    for i, j in itertools.product(range(6), repeat=2):
        if scores[i] > scores[j]:
            total += math.exp(20 * (cosines[j] - cosines[i]))
    actual = cosent(torch.tensor(cosines), torch.tensor(scores))
    assert float(actual) == pytest.approx(math.log(total), rel=1e-12)


def test_cosent_of_equal_scores_is_0_and_can_be_derived() -> None:
    cosines = torch.tensor([0.1, 0.9], requires_grad=True)
    loss = cosent(cosines, torch.tensor([1.0, 1.0]))
    loss.backward()
    assert loss.item() == 0
    assert cosines.grad is not None and cosines.grad.tolist() == [0, 0]


def test_mean_states_is_each_sequences_own_mean() -> None:
    states = np.random.default_rng(0).normal(size=(6, 3))
    actual = mean_states(torch.tensor(states), torch.tensor([0, 1, 4]))
    expected = [states[:1].mean(0), states[1:4].mean(0), states[4:].mean(0)]
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-12)


def test_the_loss_knows_what_else_is_right(base: str) -> None:
    """Two queries with one positive, and a query with two: none is the other's negative."""
    examples = [
        Match("w1", "w21", ("w30",)),
        Match("w2", "w21"),
        Match("w1", "w25"),
        Match("w4", "w24", ("w25", "w21")),
    ]
    task, model = _prepared(base, examples)
    samples = [each for group in task.samples(examples, training=True) for each in group]
    with torch.inference_mode():
        vectors = task.forward(model, samples)
        actual = task.losses(vectors, samples).numpy()
    texts = ["w1", "w21", "w30", "w2", "w21", "w1", "w25", "w4", "w24", "w25", "w21"]
    vector = dict(zip(texts, vectors.double().numpy(), strict=True))
    negatives = {  # every candidate of the step but those that are right for the query
        ("w1", "w21"): ["w30", "w24"],
        ("w2", "w21"): ["w30", "w25", "w24", "w25"],
        ("w1", "w25"): ["w30", "w24"],
        ("w4", "w24"): ["w21", "w30", "w21", "w25", "w25", "w21"],
    }
    for (query, positive), others, loss in zip(negatives, negatives.values(), actual, strict=True):
        powers = [math.exp(vector[query] @ vector[each] / 0.05) for each in (positive, *others)]
        assert loss == pytest.approx(-math.log(powers[0] / sum(powers)), abs=1e-4)


def test_packed_vectors_are_those_of_padded_rows(base: str) -> None:
    task, model = _prepared(base, _matches(8))
    samples = [each for group in task.samples(_matches(8), training=True) for each in group]
    with torch.inference_mode():
        padded = task.forward(model, samples)
        packed = task.forward(model, samples, packed=True)
    assert packed.shape == (24, 32)
    torch.testing.assert_close(packed, padded, rtol=0, atol=1e-5)


def test_packing_is_proven_though_losses_depend_on_neighbours(base: str) -> None:
    task, model = _prepared(base, _matches(20))
    samples = [each for group in task.samples(_matches(20), training=True) for each in group]
    proof = check_packing(task, model, samples)
    assert proof.holds, proof.reason


def test_metrics_of_matches_by_hand(base: str) -> None:
    examples = [Match("q1", "a", ("b",)), Match("q2", "c")]
    task, _ = _prepared(base, examples)
    east, north, between = np.eye(2, dtype=np.float32)[0], np.eye(2, dtype=np.float32)[1], None
    between = np.array([0.8, 0.6], np.float32)
    # q1 finds a at once; q2 looks north, where b is, then a, then c.
    answers = [np.stack([between, between, north]), np.stack([north, east])]
    actual = task.metrics(answers, examples)
    assert actual == {"mrr_at_10": pytest.approx((1 + 1 / 3) / 2), "recall_at_1": 0.5}


def test_metrics_of_scores_by_hand(base: str) -> None:
    examples = [Scored("a", "b", 5), Scored("a", "c", 1), Scored("a", "d", 3)]
    task, _ = _prepared(base, examples)
    assert task.metric == "spearman"
    side = [np.array([cosine, math.sqrt(1 - cosine**2)]) for cosine in (0.9, -0.2, -0.3)]
    actual = task.metrics([np.stack([np.array([1.0, 0.0]), each]) for each in side], examples)
    # Ranks 3 1 2 and 3 2 1: 1 - 6 * (0 + 1 + 1) / (3 * 8)
    assert actual["spearman"] == pytest.approx(0.5)
    assert actual["pearson"] == pytest.approx(np.corrcoef([5, 1, 3], [0.9, -0.2, -0.3])[0, 1])


def test_two_kinds_of_example_are_refused(base: str) -> None:
    task, _ = _prepared(base, [Match("w1", "w2"), Match("w3", "w4")])
    with pytest.raises(InputError, match="pairs of texts with a score and queries with a match"):
        task.samples([Scored("w1", "w2", 1.0)], training=False)


@pytest.mark.parametrize(
    ("matches", "batch"),
    [
        ([Match("w1", "w2"), Match("w3", "w4")], 1),
        ([Match("w1", "w2"), Match("w3", "w2")], 8),
        ([Match("w1", "w2")], 8),
    ],
)
def test_matches_without_any_negative_are_refused(
    base: str, matches: list[Match], batch: int
) -> None:
    task = Embedding(recipe_of(task="embedding", base=base, data="unread.jsonl", batch=batch))
    with pytest.raises(InputError, match="nothing can be learnt"):
        task.prepare(matches)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "reached"), [("full", 0.7), ("lora", 0.3)])
def test_it_learns_what_belongs_together(
    base: str, tmp_path: Path, method: str, reached: float
) -> None:
    """By chance the reciprocal rank would be .02."""
    rows = [
        {"query": each.query, "positive": each.positive, "negatives": list(each.negatives)}
        for each in _matches(400)
    ]
    recipe = recipe_of(
        task="embedding",
        base=base,
        data=write_rows(tmp_path / "rows.jsonl", rows),
        method=method,
        epochs=8,
        batch=32,
        learning_rate=3e-3,
    )
    prepared, losses = run_to_end(recipe, tmp_path / "run")
    assert prepared.loop.batching.packed
    assert losses[-1] < losses[0] / 2
    assert prepared.loop.progress.best is not None and prepared.loop.progress.best > reached

    task, model = save_and_restore(prepared, tmp_path / "model")
    examples = held_out_examples(prepared)
    before, after = (
        predicted_rows(*each, examples) for each in ((prepared.task, prepared.model), (task, model))
    )
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one["cosines"], other["cosines"], atol=1e-5)
    if method == "full":
        texts = [each.query for each in examples if isinstance(each, Match)]
        _is_read_by_others(tmp_path / "model", texts)


def _is_read_by_others(folder: Path, texts: list[str]) -> None:
    ours = BertEncoder(read_encoder_files(folder, "ours"), name="ours", precision="f32").encode(
        texts
    )
    sentence_transformers = pytest.importorskip("sentence_transformers")
    theirs = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    assert theirs.max_seq_length == 64
    np.testing.assert_allclose(theirs.encode(texts), ours, atol=1e-5)


@pytest.mark.slow
def test_scores_are_trained_in_bfloat16_and_kept_in_float32(base: str, tmp_path: Path) -> None:
    """Pairs of texts whose score is the share of words that they have in common."""
    draw = random.Random(1)
    rows = []
    for _ in range(400):
        words = draw.sample(range(40), 4)
        kept = draw.randint(0, 4)
        other = words[:kept] + draw.sample(
            [each for each in range(40) if each not in words], 4 - kept
        )
        first, second = (" ".join(f"w{each}" for each in side) for side in (words, other))
        rows.append({"text1": first, "text2": second, "score": kept})
    recipe = recipe_of(
        task="embedding",
        base=base,
        data=write_rows(tmp_path / "rows.jsonl", rows),
        epochs=4,
        batch=32,
        learning_rate=1e-3,
        precision="bf16",
    )
    prepared, _ = run_to_end(recipe, tmp_path / "run")
    assert prepared.loop.progress.best is not None and prepared.loop.progress.best > 0.8
    task, model = save_and_restore(prepared, tmp_path / "model")
    actual = predicted_rows(task, model, held_out_examples(prepared)[:3])
    encoder = BertEncoder(
        read_encoder_files(tmp_path / "model", "ours"), name="ours", precision="f32"
    )
    for each, answer in zip(held_out_examples(prepared)[:3], actual, strict=True):
        assert isinstance(each, Scored)
        first, second = encoder.encode([each.first, each.second])
        assert answer["cosines"] == [pytest.approx(float(first @ second), abs=1e-5)]
