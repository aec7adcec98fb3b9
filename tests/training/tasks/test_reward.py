"""Reward models: the loss in float64, texts as the model reads them, and runs to their end."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

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
from moli.records.examples import Example, Preference, RatedAnswer
from moli.records.messages import Message
from moli.training.packing import check_packing
from moli.training.setup.head import fit_head
from moli.training.tasks.reward import RewardModeling, pair_loss, safety_loss


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return small_models.write_encoder(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A causal model whose padding has the id of the token that ends a turn."""
    folder = Path(small_models.write_model(tmp_path_factory.mktemp("llama"), "llama"))
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"pad_token_id": 3, "eos_token_id": 3}))
    return str(folder)


def _pair(prompt: str, chosen: str, rejected: str, **more: Any) -> Preference:
    user, *sides = (Message("user", prompt), *(Message("assistant", t) for t in (chosen, rejected)))
    return Preference((user,), (sides[0],), (sides[1],), **more)


def _rated(prompt: str, answer: str, *, is_good: bool) -> RatedAnswer:
    return RatedAnswer((Message("user", prompt),), (Message("assistant", answer),), is_good)


def _task(base: str, examples: list[Example], **values: Any) -> RewardModeling:
    task = RewardModeling(recipe_of(task="reward", base=base, data="unread.jsonl", **values))
    task.prepare(examples)
    return task


def test_golden_values_of_the_loss_with_margins() -> None:
    difference = torch.tensor([2.0, 0.5, -0.3, 0.0], dtype=torch.float64)
    margins = torch.tensor([1, 2 / 3, 1 / 3, 0], dtype=torch.float64)
    zeros = torch.zeros_like(difference)
    assert float(pair_loss(difference, zeros, margins).mean()) == pytest.approx(0.711374, abs=5e-7)
    assert float(pair_loss(difference, zeros, zeros).mean()) == pytest.approx(0.537127, abs=5e-7)


def test_centring_is_the_squared_sum_of_both_scores() -> None:
    chosen, rejected = torch.tensor([2.0, -1.0]), torch.tensor([1.0, 1.0])
    zeros = torch.zeros(2)
    added = pair_loss(chosen, rejected, zeros, 0.01) - pair_loss(chosen, rejected, zeros)
    np.testing.assert_allclose(added, [0.09, 0.0], atol=1e-6)
    moved = pair_loss(chosen + 7, rejected + 7, zeros)
    np.testing.assert_allclose(moved, pair_loss(chosen, rejected, zeros), atol=1e-6)


def test_safety_is_a_cross_entropy_that_ignores_unknown_answers() -> None:
    scores = torch.tensor([2.0, 2.0, -1.0], dtype=torch.float64)
    is_safe = torch.tensor([1.0, math.nan, 0.0], dtype=torch.float64)
    expected = [math.log1p(math.exp(-2)), 0.0, math.log1p(math.exp(-1))]
    np.testing.assert_allclose(safety_loss(scores, is_safe), expected, rtol=1e-12)


def test_losses_of_pairs_and_of_rated_answers(encoder: str) -> None:
    examples: list[Example] = [
        _pair("w1", "w2", "w3", margin=4.0, chosen_is_safe=True),
        _rated("w1", "w2", is_good=False),
        _pair("w1", "w2", "w4", margin=1.0),
    ]
    task = _task(encoder, examples, options={"margin": 2.0, "centring": 0.1, "safety": 0.5})
    samples = [group[0] for group in task.samples(examples, training=True)]
    scores = torch.tensor([1.0, 0.5, 0.25, -1.0, 3.0])

    def expected(chosen: float, rejected: float, margin: float) -> float:
        wrong = math.log1p(math.exp(-(chosen - rejected - margin)))
        return wrong + 0.1 * (chosen + rejected) ** 2

    np.testing.assert_allclose(
        task.losses(scores, samples),
        [
            # The largest margin is 2, the others in proportion; the tag of one of two answers.
            expected(1.0, 0.5, 2.0) + 0.5 * math.log1p(math.exp(-1.0)) / 2,
            math.log1p(math.exp(0.25)),
            expected(-1.0, 3.0, 0.5),
        ],
        rtol=1e-6,
    )


def test_samples_of_one_prompt_have_one_group(encoder: str) -> None:
    examples: list[Example] = [
        _pair("w1", "w2", "w3"),
        _pair("w5", "w2", "w3"),
        _rated("w1", "w4", is_good=True),
    ]
    task = _task(encoder, examples)
    groups = [group[0].group for group in task.samples(examples, training=True)]
    assert groups == [0, 1, 0]


def test_a_causal_base_reads_its_chat_template_up_to_the_token_that_ends_the_answer(
    causal: str,
) -> None:
    pair = _pair("w1", "w2 w3", "w4")
    task = _task(causal, [pair])
    [[sample]] = task.samples([pair], training=False)
    assert sample.continues == (-1, 0, 0)
    shared, *rest = map(task.tokenizer.decode, sample.sequences)
    texts = [f"{shared} {each}" for each in rest]
    user, assistant = "[UNK] w1 [SEP]", "[UNK]"  # the words of roles are not in the vocabulary
    assert texts == [f"{user} {assistant} w2 w3 [SEP]", f"{user} {assistant} w4 [SEP]"]


def test_of_a_long_conversation_the_end_is_kept(causal: str) -> None:
    pair = _pair("w1 " * 30, "w2", "w4")
    task = _task(causal, [pair], max_length=8)
    [[sample]] = task.samples([pair], training=False)
    assert [len(ids) for ids in sample.sequences] == [6, 2, 2]
    ids = np.concatenate(sample.sequences[:2])
    assert task.tokenizer.decode(ids) == "w1 w1 w1 w1 [SEP] [UNK] w2 [SEP]"
    assert sample.truncated_tokens == 2 * (30 + 5 - 8)


def test_an_encoder_reads_the_last_request_of_a_long_prompt(encoder: str) -> None:
    turns = (Message("user", "w1 " * 40), Message("assistant", "w2"), Message("user", "w3"))
    pair = Preference(turns, (Message("assistant", "w4"),), (Message("assistant", "w5"),))
    task = _task(encoder, [pair], max_length=16)
    [[sample]] = task.samples([pair], training=False)
    assert task.tokenizer.decode(sample.sequences[0]) == "[CLS] w3 [SEP] w4 [SEP]"
    assert sample.truncated_tokens > 40


@pytest.mark.parametrize("kind", ["encoder", "causal"])
def test_padded_and_packed_scores_are_those_of_each_text_alone(
    kind: str, request: pytest.FixtureRequest
) -> None:
    examples: list[Example] = [_pair(f"w{n}", "w2 " * (n + 1), f"w{n + 3}") for n in range(8)]
    task = _task(request.getfixturevalue(kind), examples)
    torch.manual_seed(0)
    model = task.build(torch.float32).eval()
    samples = [group[0] for group in task.samples(examples, training=False)]
    with torch.no_grad():
        alone = torch.cat([task.forward(model, [sample]) for sample in samples])
        padded = task.forward(model, samples)
    np.testing.assert_allclose(padded, alone, atol=1e-5)
    assert check_packing(task, model, samples).holds


def test_an_answer_of_several_pairs_is_computed_once(encoder: str) -> None:
    examples: list[Example] = [_pair("w1", "w2", "w3"), _pair("w1", "w4", "w2")]
    task = _task(encoder, examples)
    model = task.build(torch.float32).eval()
    rows: list[int] = []
    model.base_model.register_forward_pre_hook(
        lambda _module, _args, inputs: rows.append(len(inputs["input_ids"])), with_kwargs=True
    )
    samples = [group[0] for group in task.samples(examples, training=True)]
    scores = task.forward(model, samples)
    assert rows == [3]
    assert scores.tolist()[0] == scores.tolist()[3]


def test_a_causal_base_computes_a_prompt_once(causal: str) -> None:
    examples: list[Example] = [_pair("w1 " * 9, "w2", "w3"), _pair("w1 " * 9, "w4", "w2")]
    task = _task(causal, examples)
    model = task.build(torch.float32).eval()
    shapes: list[torch.Size] = []
    model.base_model.register_forward_pre_hook(
        lambda _module, _args, inputs: shapes.append(inputs["input_ids"].shape), with_kwargs=True
    )
    samples = [group[0] for group in task.samples(examples, training=True)]
    packed = task.forward(model, samples, packed=True)
    assert shapes == [(1, 12 + 3 * 2)]  # a role, nine words, two marks, then three short answers
    alone = torch.cat([task.forward(model, [sample]) for sample in samples])
    np.testing.assert_allclose(packed.detach(), alone.detach(), atol=1e-5)


def test_answers_of_one_rating_alone_are_refused(encoder: str) -> None:
    with pytest.raises(InputError, match="every answer is rated as good"):
        _task(encoder, [_rated("w1", "w2", is_good=True)])


def _rows(count: int) -> list[dict[str, Any]]:
    """Pairs of which the better answer has one of ten words, and the worse one of ten others."""
    draw = random.Random(0)
    return [
        {"prompt": f"w{draw.randrange(20, 40)}", "chosen": f"w{draw.randrange(10)}",
         "rejected": f"w{draw.randrange(10, 20)}"}
        for _ in range(count)
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "method"), [("encoder", "full"), ("causal", "full"), ("causal", "lora")]
)
def test_a_run_learns_and_is_restored(
    kind: str, method: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    data = write_rows(tmp_path / "pairs.jsonl", _rows(240))
    base = request.getfixturevalue(kind)
    recipe = recipe_of(
        task="reward", base=base, data=str(data), method=method, epochs=6,
        learning_rate=0.001 if kind == "encoder" else 0.01,  # whose head has been fitted
    )  # fmt: skip
    prepared, losses = run_to_end(recipe, tmp_path / "run")
    assert np.mean(losses[-5:]) < max(0.1, float(np.mean(losses[:5])))
    assert prepared.loop.progress.metrics["pair_accuracy"] > 0.9
    prepared.task.calibrate([np.array([2.0, 0.0])] * 60, [_pair("w1", "w2", "w3")] * 60)
    task, model = save_and_restore(prepared, tmp_path / "saved")
    assert isinstance(task, RewardModeling)
    assert isinstance(prepared.task, RewardModeling)
    assert task.calibration == prepared.task.calibration
    assert task.temperature == prepared.task.temperature
    examples = held_out_examples(prepared)
    restored, trained = (
        [row["scores"] for row in predicted_rows(each_task, each_model.eval(), examples)]
        for each_task, each_model in ((task, model), (prepared.task, prepared.model))
    )
    np.testing.assert_allclose(restored, trained, atol=1e-5)


def test_the_temperature_makes_differences_probabilities(encoder: str) -> None:
    examples: list[Example] = [_pair(f"w1 {n}", "w2", "w3") for n in range(400)]
    task = _task(encoder, examples)
    answers = [np.array([3.0, 0.0]) if n % 4 else np.array([0.0, 3.0]) for n in range(400)]
    task.calibrate(answers, examples)
    # Right in three of four pairs, so the difference is to be log(.75 / .25).
    assert 3.0 / task.temperature == pytest.approx(math.log(3), rel=0.05)
    assert task.calibration["calibration_error"] < 0.02
    assert task.calibration["may_be_used_as_reward"] is True
    assert task.outcome_notes({}, {}) == []
    task.calibrate(answers[:10], examples[:10])
    [few, *_] = task.outcome_notes({}, {})
    assert few.endswith("used as a reward: only 10 pairs were held out; 50 are needed")


def test_the_head_is_fitted_to_differences_of_pairs_and_to_tags(encoder: str) -> None:
    examples: list[Example] = [
        _pair("w1", "w2", "w3"),
        _pair("w1", "w4", "w5", chosen_is_safe=True, rejected_is_safe=False),
        _rated("w1", "w6", is_good=False),
    ]
    task = _task(encoder, examples)
    samples = [group[0] for group in task.samples(examples, training=True)]
    rows = task.head_rows(torch.arange(5.0)[:, None] ** 2, samples)
    # 0, 1 | 4, 9 | 16: the rejected answer less the chosen one, then the other way round.
    assert rows.vectors[:, 0].tolist() == [1.0, -5.0, 4.0, 9.0, 16.0]
    assert rows.targets.tolist() == [0, 1, 1, 0, 0]
    assert rows.groups is not None
    assert len(rows.groups.unique()) == 1  # they have one prompt


def test_a_fitted_head_orders_pairs_before_the_first_step(encoder: str) -> None:
    examples: list[Example] = [
        _pair(f"w{20 + n % 20}", f"w{n % 10}", f"w{10 + n % 7}") for n in range(120)
    ]
    task = _task(encoder, examples)
    model = task.build(torch.float32).eval()
    samples = [group[0] for group in task.samples(examples, training=True)]
    assert fit_head(task, model, samples, seed=0)
    with torch.no_grad():
        scores = task.forward(model, samples).view(-1, 2)
    assert float((scores[:, 0] > scores[:, 1]).float().mean()) > 0.95


@pytest.mark.slow
def test_a_model_of_pairs_may_be_evaluated_on_ratings(encoder: str, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "pairs.jsonl", _rows(60))
    rated = [{"prompt": "w30", "completion": f"w{n}", "label": n < 10} for n in range(20)]
    held_out = write_rows(tmp_path / "rated.jsonl", rated)
    recipe = recipe_of(task="reward", base=encoder, data=str(data), held_out=str(held_out))
    prepared, _ = run_to_end(recipe, tmp_path / "run")
    assert 0 <= prepared.loop.progress.metrics["rating_accuracy"] <= 1
    assert "pair_accuracy" not in prepared.loop.progress.metrics
