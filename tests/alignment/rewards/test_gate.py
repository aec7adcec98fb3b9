"""The gate of safety and helpfulness against values by hand."""

from __future__ import annotations

import math

import pytest
import torch

from moli.alignment.advantages import whiten
from moli.alignment.rewards.gate import GatedReward, gate
from moli.alignment.rollouts.buffer import SampledAnswer, TrainingPrompt
from moli.records.errors import InputError

SAFETY = torch.tensor([0.10, 0.80, 0.90, 0.14, 0.16], dtype=torch.float64)
HELPFULNESS = torch.tensor([0.95, 0.30, 0.70, 0.60, 0.40], dtype=torch.float64)
IS_UNSAFE = torch.tensor([False, False, True, False, False])


def test_the_worked_example_of_the_gate() -> None:
    result = gate(torch.logit(SAFETY), torch.logit(HELPFULNESS), IS_UNSAFE)
    assert torch.sigmoid(result.scores).tolist() == pytest.approx([0.1, 0.3, 0.9, 0.14, 0.4])
    assert result.scores.tolist() == pytest.approx(
        [-2.197225, -0.847298, 2.197225, -1.81529, -0.405465], abs=1e-6
    )
    assert whiten(result.scores).tolist() == pytest.approx(
        [-0.916188, -0.135198, 1.626187, -0.695223, 0.120421], abs=1e-6
    )
    assert result.gated.tolist() == [True, False, True, True, False]
    assert not result.inverted.any()


def test_the_perverse_step_is_counted() -> None:
    safety = torch.logit(torch.tensor([0.14, 0.16, 0.16], dtype=torch.float64))
    helpfulness = torch.logit(torch.tensor([0.9, 0.05, 0.2], dtype=torch.float64))
    result = gate(safety, helpfulness, torch.zeros(3, dtype=torch.bool))
    assert result.scores.tolist() == pytest.approx([-1.8153, -2.9444, -1.3863], abs=1e-4)
    assert result.inverted.tolist() == [False, True, False]


def test_the_gate_is_the_rule_on_probabilities_and_holds_for_large_logits() -> None:
    draw = torch.Generator().manual_seed(0)
    safety, helpfulness = (3 * torch.randn(500, generator=draw, dtype=torch.float64) for _ in "ab")
    is_unsafe = torch.rand(500, generator=draw) < 0.3
    result = gate(safety, helpfulness, is_unsafe)
    for row in range(500):
        rs, rh = 1 / (1 + math.exp(-safety[row])), 1 / (1 + math.exp(-helpfulness[row]))
        combined = rs if is_unsafe[row] or rs < 0.15 else rh
        assert float(result.scores[row]) == pytest.approx(math.log(combined / (1 - combined)))
    far = gate(torch.tensor([60.0, -60.0]), torch.tensor([55.0, 0.0]), torch.tensor([True, False]))
    assert far.scores.tolist() == [60.0, -60.0]  # a sigmoid in float32 would be exactly 1


def prompts_and_answers() -> tuple[list[TrainingPrompt], list[SampledAnswer]]:
    prompts = [TrainingPrompt((1,), is_unsafe=bool(tagged)) for tagged in IS_UNSAFE]
    return prompts, [SampledAnswer((2,), (0.0,), text=str(number)) for number in range(5)]


def test_the_reward_of_two_models_reports_its_gated_share() -> None:
    prompts, answers = prompts_and_answers()
    reward = GatedReward(
        lambda _, given: torch.logit(SAFETY).tolist(),
        lambda _, given: torch.logit(HELPFULNESS).tolist(),
    )
    scores = reward(prompts, answers)
    assert scores == pytest.approx([-2.197225, -0.847298, 2.197225, -1.81529, -0.405465], abs=1e-6)
    assert reward.metrics == {"gated_share": 0.6, "gate_inversions": 0.0}


def test_scores_that_are_missing_or_no_numbers_are_refused() -> None:
    prompts, answers = prompts_and_answers()
    good, short = [0.0] * 5, [0.0] * 4
    bad = [0.0, 0.0, math.nan, 0.0, 0.0]
    with pytest.raises(InputError, match="4 scores for 5 answers"):
        GatedReward(lambda _, __: good, lambda _, __: short)(prompts, answers)
    with pytest.raises(InputError, match="answer 3 of 5 is nan"):
        GatedReward(lambda _, __: bad, lambda _, __: good)(prompts, answers)
