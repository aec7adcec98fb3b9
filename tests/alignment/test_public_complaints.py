"""What users of other trainers have run into, one test each; issues are named as REPOSITORY#NUMBER.

| Complaint | Public issues |
| --- | --- |
| The divergence becomes negative | huggingface/trl#925, hiyouga/LlamaFactory#664 |
| The end of answers is masked, as its token is the padding's | huggingface/trl#1623 |
| The penalty for a missing end looks at the prompt | huggingface/trl#6805 |
| The score is given to padding behind an answer | huggingface/trl#3750 |
| Padding changes probabilities | NVIDIA/NeMo-Aligner#68, hiyouga/LlamaFactory#2382 |
| Probabilities are wrong at a temperature other than 1 | huggingface/trl#4159 |
| The reference moves, or is not what the policy began as | huggingface/trl#1365 |
| A resumed run has other figures and a new optimizer | huggingface/open-r1#450 |
| Empty answers make the loss not a number | huggingface/trl#3339 |
| Equal rewards: loss and gradient are 0, and nobody says why | modelscope/ms-swift#4547 |
| A reward that is not a number makes training do nothing, silently | modelscope/ms-swift#8123 |
| Gradient accumulation changes the update | huggingface/trl#3021, modelscope/ms-swift#10117 |

That a reward model reads texts with a tokenizer of its own (huggingface/trl#1674,
OpenRLHF/OpenRLHF#242) is tested in `rewards/test_trained.py`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from alignment.runs import make_run
from alignment.tabular import Space, TablePolicy
from training.small_models import write_model

from moli.alignment.kl import sequence_kl
from moli.alignment.loop import AlignmentLoop
from moli.alignment.rewards.shaping import token_rewards
from moli.alignment.roles import SharedBase
from moli.alignment.rollouts.buffer import SampledAnswer, TrainingPrompt, make_rollouts
from moli.alignment.rollouts.sampling import SamplingLimits
from moli.records.errors import InputError
from moli.training.loop.loop import RunSchedule

SHORT, LONG = TrainingPrompt((7,)), TrainingPrompt(tuple(range(5, 25)))


@pytest.fixture
def shared(tmp_path: Path) -> SharedBase:
    """A small llama whose policy has moved away from the reference, at a temperature of 0.6."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = write_model(tmp_path / "llama", "llama")
    base = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    made = SharedBase(base, tokenizer, SamplingLimits(8, [3], temperature=0.6), rank=4)
    torch.manual_seed(1)
    for name, parameter in made.named_parameters():
        if ".policy." in name:
            parameter.data.normal_(0, 0.3)
    return made


def weights_of(loop: AlignmentLoop) -> list[torch.Tensor]:
    masters = [each for learner in loop.learners.values() for each in learner.weights.masters]
    return [each.detach().clone() for each in masters]


def test_the_divergence_is_not_negative() -> None:
    """Sampled from the whole distribution, its mean is the divergence, which cannot be below 0."""
    space = Space()
    policy, reference = TablePolicy(space, seed=1), TablePolicy(space, seed=2)
    rollouts = make_rollouts(space.prompts * 4000, policy.sample(space.prompts * 4000, 0))
    with torch.no_grad():
        estimates = sequence_kl(
            policy(rollouts).logprobs, reference(rollouts).logprobs, rollouts.mask
        ).double()
        own, other = (each.answer_logprobs(space.prompts[0]) for each in (policy, reference))
    exact = float((own.exp() * (own - other)).sum())
    assert exact > 0.1
    error = float(estimates.std() / len(estimates) ** 0.5)
    assert float(estimates.mean()) == pytest.approx(exact, abs=4 * error)


def test_the_end_of_an_answer_is_learned_though_its_token_fills_up_batches() -> None:
    answers = [SampledAnswer((5, 0), (-1.0, -2.0)), SampledAnswer((5, 6, 7, 0), (-1.0,) * 4)]
    rollouts = make_rollouts([SHORT, SHORT], answers)
    assert rollouts.ids.tolist() == [[5, 0, 0, 0], [5, 6, 7, 0]]
    assert rollouts.mask.tolist() == [[True, True, False, False], [True] * 4]


def test_a_missing_end_is_penalized_though_the_prompt_has_its_token(tmp_path: Path) -> None:
    space = Space()
    assert space.prompts[0].ids == (0,)  # the token that ends answers

    def nothing(_: Any, answers: Sequence[SampledAnswer]) -> list[float]:
        return [0.0] * len(answers)

    options = {"missing_end_penalty": 2.0}
    loop = make_run(tmp_path, "ppo", options, space=space, reward=nothing)
    experience, _ = loop.score(loop.roll_out())
    ended = [answer.ids[-1] == 0 for answer in experience.answers]
    assert 0 < sum(ended) < len(ended)
    assert experience.scores.tolist() == [0.0 if each else -2.0 for each in ended]


def test_the_score_is_given_to_the_token_that_ends_an_answer() -> None:
    mask = torch.tensor([[True, True, False, False], [True] * 4])
    rewards = token_rewards(torch.tensor([3.0, 5.0]), torch.zeros(2, 4), mask)
    assert rewards.tolist() == [[0, 3, 0, 0], [0, 0, 0, 5]]


def test_other_prompts_change_no_probability(shared: SharedBase) -> None:
    """A short prompt beside a long one, in both orders, and alone."""
    answer = SampledAnswer((9, 11, 4), (-1.0,) * 3)
    longer = SampledAnswer((8,) * 8, (-1.0,) * 8)
    with torch.no_grad():
        alone = shared.policy(make_rollouts([SHORT], [answer])).logprobs[0]
        behind = shared.policy(make_rollouts([LONG, SHORT], [longer, answer])).logprobs[1, :3]
        before = shared.policy(make_rollouts([SHORT, LONG], [answer, longer])).logprobs[0, :3]
    assert torch.allclose(behind, alone, atol=1e-5) and torch.allclose(before, alone, atol=1e-5)


def test_probabilities_are_those_after_the_temperature(shared: SharedBase) -> None:
    rollouts = make_rollouts([SHORT, LONG] * 4, shared.sample([SHORT, LONG] * 4, 0))
    with torch.no_grad():
        trained = shared.policy(rollouts).logprobs
        logits = shared.model(input_ids=torch.tensor([[*SHORT.ids]])).logits[0, -1]
    gap = (trained - rollouts.sampled_logprobs)[rollouts.mask].abs().max()
    first = torch.log_softmax(logits / 0.6, -1)[rollouts.ids[0, 0]]
    assert float(gap) < 1e-4 and float(trained[0, 0]) == pytest.approx(float(first), abs=1e-4)


def test_the_reference_stays_what_the_policy_began_as(tmp_path: Path) -> None:
    loop = make_run(tmp_path, "ppo", steps=5, learning_rate=0.3)
    rollouts = loop.roll_out().rollouts
    began = loop.roles.policy(rollouts).logprobs.detach()
    loop.run()
    after, policy = loop.roles.reference(rollouts).logprobs, loop.roles.policy(rollouts).logprobs
    assert torch.equal(after, began) and not torch.allclose(policy, began, atol=0.1)


def test_a_resumed_run_has_the_same_figures_and_weights(tmp_path: Path) -> None:
    def steps(folder: Path, first: int) -> tuple[list[Any], list[torch.Tensor]]:
        """Figures of four steps, the process beginning anew after so many, and the weights."""
        folder.mkdir()
        figures: list[Any] = []
        for until in dict.fromkeys((first, 4)):
            options = {"kl_target": 0.5, "score_scaling": "running"}
            schedule = RunSchedule(4, 10**9, 0, 1e9)
            loop = make_run(folder, "ppo", options, schedule=schedule)
            loop.resume()
            while loop.progress.step < until:
                taken = loop.take_step()
                figures.append((taken.step, taken.loss, taken.gradient_norm, taken.metrics))
            loop.save()
        return figures, weights_of(loop)

    whole, whole_weights = steps(tmp_path / "whole", 4)
    broken, broken_weights = steps(tmp_path / "broken", 2)
    assert [step for step, *_ in broken] == [1, 2, 3, 4] and broken == whole
    assert all(map(torch.equal, whole_weights, broken_weights))


@pytest.mark.parametrize("name", ["ppo", "rloo", "grpo", "rejection"])
def test_empty_answers_leave_all_figures_and_weights_numbers(tmp_path: Path, name: str) -> None:
    loop = make_run(tmp_path, name, prompts=8)
    sampled = loop.roles.sample

    def sample(prompts: Sequence[TrainingPrompt], seed: int) -> list[SampledAnswer]:
        return [SampledAnswer((), ()), *sampled(prompts, seed)[1:]]

    loop.roles = dataclasses.replace(loop.roles, sample=sample)
    loop.reward = lambda _, answers: [float(len(answer.ids)) for answer in answers]
    taken = loop.take_step()
    assert all(map(math.isfinite, (taken.loss, taken.gradient_norm, *taken.metrics.values())))
    assert all(bool(each.isfinite().all()) for each in weights_of(loop))


def test_equal_rewards_change_nothing_and_are_reported(tmp_path: Path) -> None:
    def constant(_: Any, answers: Sequence[SampledAnswer]) -> list[float]:
        return [1.0] * len(answers)

    loop = make_run(tmp_path, "grpo", {"beta": 0.0}, reward=constant, prompts=8)
    before = weights_of(loop)
    taken = loop.take_step()
    assert (taken.loss, taken.gradient_norm, taken.metrics["uniform_share"]) == (0, 0, 1)
    assert all(map(torch.equal, before, weights_of(loop)))


def test_a_reward_that_is_no_number_is_an_error_that_names_the_answer(tmp_path: Path) -> None:
    def broken(_: Any, answers: Sequence[SampledAnswer]) -> list[float]:
        return [1.0, 2.0, math.nan] + [1.0] * (len(answers) - 3)

    loop = make_run(tmp_path, "grpo", reward=broken, prompts=8)
    before = weights_of(loop)
    with pytest.raises(InputError, match="the score of answer 3 of 32 is nan"):
        loop.take_step()
    assert all(map(torch.equal, before, weights_of(loop)))


@pytest.mark.parametrize("variant", ["grpo", "dr_grpo", "dapo", "gspo"])
def test_an_update_in_parts_is_the_update_of_the_whole(tmp_path: Path, variant: str) -> None:
    updates = []
    for scored in (1000, 5, 1):
        loop = make_run(tmp_path, "grpo", {"variant": variant}, prompts=8, scored=scored)
        taken = loop.take_step()
        updates.append((taken.loss, taken.gradient_norm))
    assert updates[0][1] > 1e-4
    assert updates[1:] == [pytest.approx(updates[0], rel=1e-3, abs=1e-7)] * 2
