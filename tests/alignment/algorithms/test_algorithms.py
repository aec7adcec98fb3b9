"""Advantages and losses of each algorithm against derivations by hand."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from alignment.cases import normal

from moli.alignment.advantages import gae, whiten
from moli.alignment.algorithms.protocol import Algorithm, Minibatch
from moli.alignment.algorithms.rejection import best_examples, best_rows
from moli.alignment.algorithms.table import ALGORITHMS, make_algorithm
from moli.alignment.rollouts.buffer import (
    Experience,
    SampledAnswer,
    TrainingPrompt,
    make_experience,
    make_rollouts,
)
from moli.alignment.rollouts.protocols import TokenScores
from moli.records.errors import InputError
from moli.records.messages import Message

LENGTHS = (3, 1, 2, 3)


def experience(seed: int = 0) -> Experience:
    """Two prompts with two answers each."""
    draw = torch.Generator().manual_seed(seed)
    answers = [SampledAnswer((5,) * length, (0.0,) * length) for length in LENGTHS]
    prompts = [TrainingPrompt((n,), (Message("user", f"question {n}"),)) for n in (0, 0, 1, 1)]
    rollouts = make_rollouts(prompts, answers)
    logprobs = -normal(draw, 4, 3).abs()
    rollouts = dataclasses.replace(rollouts, sampled_logprobs=logprobs)
    return make_experience(
        rollouts,
        logprobs=logprobs,
        reference_logprobs=-normal(draw, 4, 3).abs(),
        scores=normal(draw, 4),
        values=normal(draw, 4, 3),
    )


def loss_of(
    algorithm: Algorithm, batch: Experience, logprobs: torch.Tensor, beta: float = 0.1
) -> tuple[float, dict[str, float]]:
    minibatch = Minibatch(batch, algorithm.weights(batch), beta)
    current = TokenScores(logprobs, torch.full_like(logprobs, 0.5))
    losses = algorithm.loss(minibatch, current, batch.values + 0.1)
    return float(losses.total), {name: float(value) for name, value in losses.metrics.items()}


def test_ppo_puts_the_penalty_into_each_tokens_reward() -> None:
    batch, beta = experience(), 0.1
    algorithm = make_algorithm("ppo", {"whiten_advantages": False})
    estimated = algorithm.estimate(batch, beta)
    rewards = -beta * (batch.logprobs - batch.reference_logprobs)
    for row, length in enumerate(LENGTHS):
        rewards[row, length - 1] += batch.scores[row]
    advantages, returns = gae(rewards, batch.values, batch.mask)
    assert torch.allclose(estimated.advantages, advantages)
    assert torch.allclose(estimated.returns, returns)
    whitened = make_algorithm("ppo").estimate(batch, beta).advantages
    assert torch.allclose(whitened, whiten(advantages, batch.mask))


def test_the_loss_of_ppo_has_three_parts() -> None:
    batch = experience()
    options = {"value_coefficient": 0.5, "entropy_coefficient": 0.01}
    algorithm = make_algorithm("ppo", options)
    batch = algorithm.estimate(batch, 0.1)
    logprobs = batch.logprobs + 0.3  # a ratio of 1.35, which is clipped where advantages are > 0
    total, metrics = loss_of(algorithm, batch, logprobs)
    count, policy, value, clipped = 0, 0.0, 0.0, 0
    for row, length in enumerate(LENGTHS):
        for token in range(length):
            advantage = float(batch.advantages[row, token])
            policy += max(-advantage * math.exp(0.3), -advantage * 1.2)
            clipped += advantage > 0
            error = float(batch.values[row, token] + 0.1 - batch.returns[row, token])
            value += error**2 / 2
            count += 1
    assert metrics["policy_loss"] == pytest.approx(policy / count)
    assert metrics["value_loss"] == pytest.approx(value / count)
    assert metrics["clip_share"] == pytest.approx(clipped / count)
    assert total == pytest.approx(policy / count + 0.5 * value / count - 0.01 * 0.5)


def penalized(batch: Experience, beta: float) -> list[float]:
    return [
        float(batch.scores[row])
        - beta * float((batch.logprobs - batch.reference_logprobs)[row, :length].sum())
        for row, length in enumerate(LENGTHS)
    ]


def test_rloo_compares_whole_answers() -> None:
    batch, beta = experience(), 0.1
    algorithm = make_algorithm("rloo", {"answers_per_prompt": 2})
    estimated = algorithm.estimate(batch, beta)
    r = penalized(batch, beta)
    expected = [r[0] - r[1], r[1] - r[0], r[2] - r[3], r[3] - r[2]]
    assert estimated.advantages[:, 0].tolist() == pytest.approx(expected)
    assert torch.equal(estimated.advantages != 0, batch.mask)
    total, _ = loss_of(algorithm, estimated, batch.logprobs + 0.05)
    losses = [
        max(-a * math.exp(0.05 * n), -a * min(math.exp(0.05 * n), 1.2))
        for a, n in zip(expected, LENGTHS, strict=True)
    ]
    assert total == pytest.approx(sum(losses) / 4)


VARIANTS = ("grpo", "dr_grpo", "dapo", "gspo")


@pytest.mark.parametrize("variant", VARIANTS)
def test_grpo_and_its_variants(variant: str) -> None:
    batch, beta, step = experience(), 0.1, 0.25
    algorithm = make_algorithm(
        "grpo", {"answers_per_prompt": 2, "variant": variant, "max_tokens": 10}
    )
    low, high = {"dapo": (0.2, 0.28), "gspo": (3e-4, 4e-4)}.get(variant, (0.2, 0.2))
    assert (algorithm.options.clip_low, algorithm.options.clip_high) == (low, high)
    estimated = algorithm.estimate(batch, beta)
    r, advantages = torch.tensor(penalized(batch, beta), dtype=torch.float64), []
    for group in r.view(2, 2):
        scale = 1.0 if variant == "dr_grpo" else float(group.std()) + 1e-4
        advantages += [(float(each) - float(group.mean())) / scale for each in group]
    assert estimated.advantages[:, 0].tolist() == pytest.approx(advantages)
    logprobs = batch.logprobs + step * torch.tensor([[1.0, -1.0, 0.5]])
    total, _ = loss_of(algorithm, estimated, logprobs)
    tokens: list[list[float]] = []
    for advantage, length in zip(advantages, LENGTHS, strict=True):
        logs = [step * each for each in (1.0, -1.0, 0.5)[:length]]
        if variant == "gspo":
            logs = [sum(logs) / length] * length
        tokens.append(
            [
                max(-advantage * math.exp(x), -advantage * min(max(math.exp(x), 1 - low), 1 + high))
                for x in logs
            ]
        )
    if variant == "dapo":
        expected = sum(map(sum, tokens)) / sum(LENGTHS)
    elif variant == "dr_grpo":
        expected = sum(map(sum, tokens)) / (4 * 10)
    else:
        expected = sum(sum(row) / len(row) for row in tokens) / 4
    assert total == pytest.approx(expected)


def test_a_divergence_in_the_loss_is_not_in_the_rewards() -> None:
    batch = experience()
    options: dict[str, Any] = {"answers_per_prompt": 2, "variant": "dapo", "kl_in": "loss"}
    algorithm = make_algorithm("grpo", options)
    without = make_algorithm("grpo", {**options, "kl_in": "reward"})
    estimated = algorithm.estimate(batch, 0.1)
    assert torch.equal(estimated.advantages, without.estimate(batch, 0.0).advantages)
    total, metrics = loss_of(algorithm, estimated, batch.logprobs + 0.1)
    plain, _ = loss_of(without, estimated, batch.logprobs + 0.1)
    log_ratio = (batch.logprobs + 0.1 - batch.reference_logprobs)[batch.mask]
    kl = float((math.exp(0.1) * (torch.exp(-log_ratio) - 1 + log_ratio)).mean())
    assert metrics["kl_loss"] == pytest.approx(kl)
    assert total == pytest.approx(plain + 0.1 * kl)


def test_rejection_learns_the_winners_alone() -> None:
    batch = experience()
    algorithm = make_algorithm("rejection", {"answers_per_prompt": 2})
    best = algorithm.estimate(batch, 0.1)
    winners = [max(rows, key=lambda row: float(batch.scores[row])) for rows in ((0, 1), (2, 3))]
    assert best_rows(batch.scores, 2) == winners
    assert best.ids.tolist() == batch.ids[winners].tolist()
    total, _ = loss_of(algorithm, best, best.logprobs)
    assert total == pytest.approx(-float(best.logprobs[best.mask].mean()))


def test_winners_become_examples_with_one_supervised_answer() -> None:
    batch = experience()
    texts = ("bad", "good", "better", "worse")
    answers = tuple(
        dataclasses.replace(answer, text=text)
        for answer, text in zip(batch.answers, texts, strict=True)
    )
    batch = dataclasses.replace(batch, answers=answers, scores=torch.tensor([0.0, 1.0, 3.0, 2.0]))
    first, second = best_examples(batch, 2)
    assert [turn.content for turn in first.messages] == ["question 0", "good"]
    assert [turn.content for turn in second.messages] == ["question 1", "better"]
    assert [turn.supervised for turn in first.messages] == [False, True]


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("spoil", [999.0, math.nan])
def test_what_is_behind_an_answer_changes_nothing(name: str, spoil: float) -> None:
    algorithm = make_algorithm(name, {} if name == "ppo" else {"answers_per_prompt": 2})
    clean = experience()
    spoiled = dataclasses.replace(
        clean,
        **{
            field: torch.where(clean.mask, getattr(clean, field), spoil)
            for field in ("sampled_logprobs", "logprobs", "reference_logprobs", "values")
        },
    )
    results = []
    for batch in (clean, spoiled):
        batch = algorithm.estimate(batch, 0.1)
        logprobs = (batch.logprobs + 0.05).requires_grad_()
        minibatch = Minibatch(batch, algorithm.weights(batch), 0.1)
        current = TokenScores(logprobs, torch.full_like(logprobs, 0.5))
        losses = algorithm.loss(minibatch, current, batch.values)
        losses.total.backward()
        results.append((losses.total.detach(), logprobs.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert results[0][1] is not None and results[1][1] is not None
    assert torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_minibatch_in_parts_has_the_loss_of_the_whole(name: str) -> None:
    algorithm = make_algorithm(name, {} if name == "ppo" else {"answers_per_prompt": 2})
    batch = algorithm.estimate(experience(), 0.1)
    weights = algorithm.weights(batch)
    parts = []
    for rows in (range(1), range(1, len(batch))):
        part = batch.select(rows)
        current = TokenScores(part.logprobs + 0.05, torch.full_like(part.logprobs, 0.5))
        minibatch = Minibatch(part, weights[rows.start : rows.stop], 0.1)
        parts.append(float(algorithm.loss(minibatch, current, part.values + 0.1).total))
    assert sum(parts) == pytest.approx(loss_of(algorithm, batch, batch.logprobs + 0.05)[0])


def test_another_engines_sampling_is_corrected_for() -> None:
    batch = experience()
    batch = dataclasses.replace(batch, sampled_logprobs=batch.logprobs - math.log(1.5))
    capped = make_algorithm("rloo", {"answers_per_prompt": 2, "importance_cap": 1.25})
    plain = make_algorithm("rloo", {"answers_per_prompt": 2, "importance_cap": 1.0})
    estimated = capped.estimate(batch, 0.1)
    by_cap, _ = loss_of(capped, estimated, batch.logprobs)
    without, _ = loss_of(plain, estimated, batch.logprobs)
    assert by_cap == pytest.approx(1.25 * without)


def test_unknown_names_and_values_are_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match="Did you mean 'grpo'"):
        make_algorithm("grp")
    with pytest.raises(InputError, match="Did you mean 'answers_per_prompt'"):
        make_algorithm("rloo", {"answers_per_promt": 4})
    with pytest.raises(InputError, match=r"'options\.lam' is 2"):
        make_algorithm("ppo", {"lam": 2})
    with pytest.raises(InputError, match="must be at least 2"):
        make_algorithm("grpo", {"answers_per_prompt": 1})


def test_no_algorithm_has_more_than_twenty_options() -> None:
    assert all(len(options.model_fields) <= 20 for _, options in ALGORITHMS.values())


@pytest.mark.parametrize("name", ALGORITHMS)
def test_answers_without_tokens_and_single_tokens_do_no_harm(name: str) -> None:
    algorithm = make_algorithm(name, {} if name == "ppo" else {"answers_per_prompt": 2})
    for lengths in ((0, 0, 0, 0), (0, 3, 1, 1), (1, 0, 0, 2)):
        answers = [SampledAnswer((5,) * length, (-1.0,) * length) for length in lengths]
        rollouts = make_rollouts([TrainingPrompt((1,))] * 4, answers)
        logprobs = torch.full(rollouts.ids.shape, -1.0, requires_grad=True)
        batch = make_experience(
            rollouts,
            logprobs=logprobs.detach(),
            reference_logprobs=logprobs.detach() - 0.5,
            scores=torch.tensor([1.0, 0.0, 2.0, 0.5]),
        )
        batch = algorithm.estimate(batch, 0.1)
        current = TokenScores(logprobs[: len(batch)], torch.ones_like(batch.logprobs))
        minibatch = Minibatch(batch, algorithm.weights(batch), 0.1)
        algorithm.loss(minibatch, current, batch.values).total.backward()
        assert logprobs.grad is not None and torch.isfinite(logprobs.grad).all()
        assert not logprobs.grad[: len(batch)][~batch.mask].any()
