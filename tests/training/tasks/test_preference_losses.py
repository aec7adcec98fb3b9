"""IPO, SimPO, ORPO and KTO: their losses by derivation, and as TRL 1.16 computes them.

`bench/alignment/trl_preference_losses.py` writes the recorded values.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from training.preference_cases import preferences, write_preferences
from training.round_trips import recipe_of
from training.small_models import write_model

from moli.records.examples import RatedAnswer
from moli.training.run import tune
from moli.training.tasks import make_task
from moli.training.tasks.base.preference import PairLogps
from moli.training.tasks.ipo import ipo_loss
from moli.training.tasks.kto import Kto, estimate_kl, kto_loss
from moli.training.tasks.orpo import orpo_loss
from moli.training.tasks.simpo import simpo_loss
from moli.workspace import Workspace

RECORDED = json.loads((Path(__file__).parent / "trl_losses.json").read_text(encoding="utf-8"))


def task_with(task: str, base: str = "builtin:starter", **options: Any) -> Any:
    return make_task(recipe_of(task=task, base=base, data="a.jsonl", options=options))


def pairs_of(case: dict[str, Any]) -> PairLogps:
    return PairLogps(*(torch.tensor(case[name]) for name in ("policy", "reference", "tokens")))


@pytest.mark.parametrize("number", range(len(RECORDED["dpo"])))
def test_dpo_is_that_of_trl(number: int) -> None:
    case = RECORDED["dpo"][number]
    losses = task_with("dpo", **case["options"]).pair_losses(pairs_of(case))
    assert float(losses.mean()) == pytest.approx(case["loss"], abs=1e-5)


def test_ipo_is_that_of_trl() -> None:
    for case in RECORDED["ipo"]:
        losses = task_with("ipo", **case["options"]).pair_losses(pairs_of(case))
        assert float(losses.mean()) == pytest.approx(case["loss"], rel=1e-6)


def test_simpo_is_that_of_trl() -> None:
    for case in RECORDED["simpo"]:
        rewards = case["options"]["beta"] * torch.tensor(case["means"])
        losses = simpo_loss(rewards, case["options"]["gamma"])
        torch.testing.assert_close(losses, torch.tensor(case["losses"]), rtol=0, atol=1e-5)


def test_the_odds_ratio_of_orpo_is_that_of_trl() -> None:
    for case in RECORDED["orpo"]:
        means = torch.tensor(case["means"])
        odds_ratio = orpo_loss(means, case["options"]["beta"]) + means[:, 0]
        expected = torch.tensor(case["odds_ratio_losses"])
        torch.testing.assert_close(odds_ratio, expected, rtol=0, atol=1e-5)


def test_kto_is_that_of_trl() -> None:
    for case in RECORDED["kto"]:
        options = case["options"]
        changes = torch.tensor(case["policy"]) - torch.tensor(case["reference"])
        is_good = torch.tensor(case["is_good"])
        losses = kto_loss(changes[:, 0], is_good, estimate_kl(changes[:, 1]), options["beta"])
        weights = torch.where(is_good, options["desirable_weight"], options["undesirable_weight"])
        assert float((losses * weights).mean()) == pytest.approx(case["loss"], abs=1e-5)


def test_ipo_draws_the_margin_to_its_value() -> None:
    changes = torch.tensor([[3.0, 1.0], [5.5, 0.5]], dtype=torch.float64)
    assert ipo_loss(changes, beta=0.1).tolist() == pytest.approx([9.0, 0.0])


def test_simpo_asks_for_a_margin() -> None:
    rewards = torch.tensor([[-1.0, -3.0]], dtype=torch.float64)
    expected = math.log(1 + math.exp(-(2.0 - 0.5)))
    assert simpo_loss(rewards, gamma=0.5).tolist() == pytest.approx([expected])


def test_orpo_compares_odds() -> None:
    chosen, rejected = 0.6, 0.2
    means = torch.tensor([[math.log(chosen), math.log(rejected)]], dtype=torch.float64)
    ratio = (chosen / (1 - chosen)) / (rejected / (1 - rejected))
    expected = -math.log(chosen) + 0.1 * math.log(1 + 1 / ratio)
    assert orpo_loss(means, beta=0.1).tolist() == pytest.approx([expected])


def test_orpo_is_finite_for_answers_that_are_almost_sure() -> None:
    means = torch.tensor([[-1e-6, -20.0]], requires_grad=True)
    loss = orpo_loss(means, beta=0.1).sum()
    loss.backward()
    assert means.grad is not None
    assert loss.isfinite()
    assert means.grad.isfinite().all()


def test_kto_sees_gains_and_losses_from_the_divergence() -> None:
    changes = torch.tensor([2.0, 2.0], dtype=torch.float64, requires_grad=True)
    is_good = torch.tensor([True, False])
    losses = kto_loss(changes, is_good, torch.tensor(0.5), beta=0.2)
    gain = 1 / (1 + math.exp(-0.2 * 1.5))
    assert losses.tolist() == pytest.approx([1 - gain, gain])
    losses.sum().backward()
    slope = 0.2 * gain * (1 - gain)
    assert changes.grad is not None
    assert changes.grad.tolist() == pytest.approx([-slope, slope])


def test_the_divergence_is_never_negative_and_has_no_gradient() -> None:
    changes = torch.tensor([-3.0, 1.0], requires_grad=True)
    assert float(estimate_kl(changes)) == 0.0
    assert not estimate_kl(changes).requires_grad
    assert float(estimate_kl(torch.tensor([1.0, 2.0]))) == 1.5


def test_kto_reads_a_pair_as_two_answers_beside_answers_to_other_prompts(tmp_path: Path) -> None:
    task = task_with("kto", write_model(tmp_path / "base", "llama"))
    assert isinstance(task, Kto)
    examples = preferences(3)
    groups = task.samples(examples, training=True)
    assert [[each.target.is_good for each in group] for group in groups] == [[True, False]] * 3
    answers = {
        number: {tuple(sample.sequences[1].tolist()) for sample in group}
        for number, group in enumerate(groups)
    }
    for number, group in enumerate(groups):
        for sample in group:
            assert sample.continues == (-1, 0, 0)
            other = tuple(sample.sequences[2].tolist())
            assert other not in answers[number]
            assert other in answers[(number - 1) % 3]


def test_kto_reads_rated_answers(tmp_path: Path) -> None:
    task = task_with("kto", write_model(tmp_path / "base", "llama"))
    rated = [RatedAnswer(each.prompt, each.chosen, is_good=True) for each in preferences(4)]
    groups = task.samples(rated, training=True)
    assert [len(group) for group in groups] == [1] * 4
    alone = task.samples(rated[:1], training=False)[0][0]
    assert alone.sequences[1].tolist() == alone.sequences[2].tolist()


@pytest.mark.slow
@pytest.mark.parametrize("task", ["ipo", "simpo", "orpo", "kto"])
def test_a_run_learns_the_preference(task: str, tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", "llama")
    recipe = recipe_of(
        task=task,
        base=base,
        data=write_preferences(tmp_path / "a.jsonl", 120),
        epochs=6,
        learning_rate=5e-3,
        batch=8,
    )
    with Workspace.init(tmp_path / "workspace") as workspace:
        facts = tune(recipe, workspace).facts
    assert facts["packing"]["holds"]
    metrics, before = facts["metrics"], facts["base_metrics"]
    assert metrics["reward_accuracy_low"] > 0.5
    assert metrics["reward_margin"] > before["reward_margin"]
