"""Every algorithm approaches the best policy there is, which is known where answers are few.

The optimum of J = E[r] - beta KL(policy || reference) is beta log E_reference[exp(r / beta)]. The
share that an algorithm reaches is (J - J of the reference) / (optimum - J of the reference): 0
where it begins, 1 at the optimum.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from alignment.runs import make_run
from alignment.tabular import Space, TablePolicy, TableReward, objective, optimum

from moli.alignment.algorithms.rejection import best_rows
from moli.alignment.kl import best_of_n_kl
from moli.training.tasks.dpo import dpo_loss

BETAS = (0.1, 0.3, 1.0)
_GROUPS = {"epochs": 4, "answers_per_prompt": 8}
ALGORITHMS: dict[str, tuple[str, dict[str, Any]]] = {
    "ppo": ("ppo", {}),
    "rloo": ("rloo", {"epochs": 4, "answers_per_prompt": 4}),
    "grpo": ("grpo", _GROUPS),
    "dr_grpo": ("grpo", {**_GROUPS, "variant": "dr_grpo", "max_tokens": 3}),
    "dapo": ("grpo", {**_GROUPS, "variant": "dapo"}),
}


def reached_share(folder: Path, name: str, beta: float, seed: int, steps: int = 200) -> float:
    """The share of the optimum that a run reaches with 64 answers in each step."""
    algorithm, options = ALGORITHMS[name]
    prompts = 64 // options.get("answers_per_prompt", 1)
    loop = make_run(
        folder, algorithm, {"beta": beta, **options}, seed=seed, steps=steps, prompts=prompts
    )
    policy, reference, reward = loop.roles.policy, loop.roles.reference, loop.reward
    assert isinstance(policy, TablePolicy) and isinstance(reference, TablePolicy)
    assert isinstance(reward, TableReward)
    assert loop.run() == "finished"
    start = objective(reference, reference, reward, beta)
    best = optimum(reference, reward, beta)
    return (objective(policy, reference, reward, beta) - start) / (best - start)


def test_the_optimum_is_reached_by_the_policy_that_theory_names() -> None:
    space = Space()
    reference, reward = TablePolicy(space), TableReward(space)
    for beta in BETAS:
        old = reference.answer_logprobs(space.prompts[0])
        best = torch.log_softmax(old + reward.table[0] / beta, 0)
        value = float((best.exp() * (reward.table[0] - beta * (best - old))).sum())
        assert value == pytest.approx(optimum(reference, reward, beta))
        assert old.exp().sum().item() == pytest.approx(1)
        assert objective(reference, reference, reward, beta) < value


@pytest.mark.slow
@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("name", ["ppo", "rloo", "grpo"])
def test_an_algorithm_approaches_the_optimum(tmp_path: Path, name: str, beta: float) -> None:
    assert reached_share(tmp_path, name, beta, seed=0) >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dr_grpo", "dapo"])
def test_a_variant_approaches_the_optimum(tmp_path: Path, name: str) -> None:
    assert reached_share(tmp_path, name, beta=0.3, seed=0) >= 0.95


def best_of_n(probabilities: torch.Tensor, rewards: torch.Tensor, n: int) -> torch.Tensor:
    """The distribution of the best of n samples: of those no better, less those worse, each n
    times."""
    no_better = torch.stack([probabilities[rewards <= r].sum() for r in rewards])
    worse = torch.stack([probabilities[rewards < r].sum() for r in rewards])
    return no_better**n - worse**n


@pytest.mark.parametrize("n", [1, 2, 4, 16, 64])
def test_the_best_of_n_keeps_within_its_bound(n: int) -> None:
    for seed in range(5):
        space = Space(6, 3)
        policy, reward = TablePolicy(space, seed), TableReward(space, seed)
        logprobs = policy.answer_logprobs(space.prompts[0])
        best = best_of_n(logprobs.exp(), reward.table[0], n)
        assert best.sum().item() == pytest.approx(1)
        kl = float(torch.where(best > 0, best * (best.log() - logprobs), 0).sum())
        assert -1e-9 <= kl <= best_of_n_kl(n) + 1e-9


def test_with_many_equally_likely_answers_the_best_of_n_reaches_its_bound() -> None:
    probabilities = torch.full((100_000,), 1e-5, dtype=torch.float64)
    ranks = torch.arange(100_000, dtype=torch.float64)
    for n, bound in ((4, 0.6363), (16, 1.8351), (64, 3.1745)):
        best = ((ranks + 1) / 100_000) ** n - (ranks / 100_000) ** n
        kl = float((best * (best / probabilities).log()).sum())
        assert kl == pytest.approx(best_of_n_kl(n), rel=1e-3)
        assert kl == pytest.approx(bound, abs=2e-3)


def test_winners_are_distributed_as_the_best_of_n() -> None:
    space = Space(4, 2)
    policy, reward, n = TablePolicy(space), TableReward(space), 4
    prompts = space.prompts * 8000
    answers = policy.sample(prompts, seed=0)
    scores = torch.tensor(reward(prompts, answers))
    numbers = [space.answers.index(answers[row].ids) for row in best_rows(scores, n)]
    shares = torch.bincount(torch.tensor(numbers), minlength=len(space.answers)) / len(numbers)
    expected = best_of_n(policy.answer_logprobs(space.prompts[0]).exp(), reward.table[0], n)
    assert (shares - expected).abs().sum().item() / 2 < 0.03


def test_pairs_by_the_reference_lead_direct_preference_optimization_to_the_best_policy() -> None:
    """The mean over all pairs is taken exactly: both sides by the reference, the better one by
    Bradley and Terry. The minimum is the best policy (Rafailov et al. 2023, appendix A)."""
    beta, space = 0.3, Space()
    reference, reward = TablePolicy(space), TableReward(space)
    policy = TablePolicy(space)
    prompt, rewards = space.prompts[0], reward.table[0]
    rollouts = space.rollouts(prompt)
    old = reference.answer_logprobs(prompt)
    pairs = old.exp()[:, None] * old.exp()[None] * torch.sigmoid(rewards[:, None] - rewards[None])
    optimizer = torch.optim.LBFGS(policy.parameters(), max_iter=400, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        own = torch.where(rollouts.mask, policy(rollouts).logprobs, 0).double().sum(1)
        gain = beta * (own - old)
        sides = torch.cartesian_prod(gain, gain)  # chosen and rejected of every pair
        value = (pairs.flatten() * dpo_loss(sides)).sum()
        value.backward()
        return value

    optimizer.step(loss)
    best = torch.softmax(old + rewards / beta, 0)
    assert (policy.answer_logprobs(prompt).exp() - best).abs().sum().item() / 2 < 0.02
    assert (old.exp() - best).abs().sum().item() / 2 > 0.3  # where it began
