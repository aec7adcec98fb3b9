"""One base in several roles, on a small Llama."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from alignment.runs import NO_LIMITS
from training.small_models import write_model

from moli.alignment.alarms import Alarms
from moli.alignment.algorithms.table import make_algorithm
from moli.alignment.loop import AlignmentLoop, BatchSizes
from moli.alignment.roles import SharedBase
from moli.alignment.rollouts import sampling
from moli.alignment.rollouts.buffer import (
    Rollouts,
    SampledAnswer,
    TrainingPrompt,
    make_rollouts,
)
from moli.alignment.rollouts.sampling import SamplingLimits, draw_tokens, sample_answers
from moli.records.errors import InputError
from moli.training.loop.loop import RunSchedule

PROMPTS = [TrainingPrompt((5, 9, 12)), TrainingPrompt((7,)), TrainingPrompt((8, 20, 21, 22, 23))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_model(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture
def shared(folder: str) -> SharedBase:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = AutoModelForCausalLM.from_pretrained(folder)
    base.get_output_embeddings().weight.data *= 5  # or no adapter could make a token likely
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return SharedBase(base, tokenizer, SamplingLimits(8, [3], temperature=0.9), rank=4)


def moved(shared: SharedBase, role: str) -> None:
    """Give an adapter other weights than those that do nothing."""
    torch.manual_seed(1)
    for name, parameter in shared.named_parameters():
        if f".{role}." in name:
            parameter.data.normal_(0, 0.3)


def rolled_out(shared: SharedBase, seed: int = 0) -> Rollouts:
    return make_rollouts(PROMPTS, shared.sample(PROMPTS, seed))


def scores_one_by_one(shared: SharedBase, rollouts: Rollouts, row: int) -> torch.Tensor:
    """Log probabilities of an answer by a pass of the model over its sequence alone."""
    prompt, answer = rollouts.prompts[row], rollouts.answers[row]
    ids = torch.tensor([[*prompt.ids, *answer.ids]])
    logits = shared.model(input_ids=ids).logits[0] / 0.9
    logprobs = torch.log_softmax(logits, -1)[len(prompt.ids) - 1 : -1]
    return logprobs.gather(1, torch.tensor(answer.ids)[:, None])[:, 0]


def test_answers_are_scored_as_they_were_sampled(shared: SharedBase) -> None:
    moved(shared, "policy")
    rollouts = rolled_out(shared)
    with torch.no_grad():
        scores = shared.policy(rollouts)
    gap = (scores.logprobs - rollouts.sampled_logprobs)[rollouts.mask].abs().max()
    assert float(gap) < 1e-4
    with torch.no_grad():
        for row in range(3):
            own = scores.logprobs[row][rollouts.mask[row]]
            assert torch.allclose(own, scores_one_by_one(shared, rollouts, row), atol=1e-5)


def test_an_answer_ends_at_its_stop_token_and_a_seed_gives_the_same(shared: SharedBase) -> None:
    answers = [answer for seed in range(60) for answer in shared.sample(PROMPTS, seed)]
    assert {answer.ended for answer in answers} == {True, False}
    for answer in answers:
        assert (3 in answer.ids) == answer.ended
        assert 3 not in answer.ids[:-1] and (answer.ended or len(answer.ids) == 8)
        assert "[SEP]" not in answer.text
    assert list(shared.sample(PROMPTS, 5)) == answers[15:18]
    assert list(shared.sample(PROMPTS, 6)) != answers[15:18]


def test_the_reference_is_the_base_whatever_the_adapters_have_learned(shared: SharedBase) -> None:
    rollouts = rolled_out(shared)
    with torch.no_grad():
        before = shared.reference(rollouts)
        assert torch.equal(shared.policy(rollouts).logprobs, before.logprobs)
        moved(shared, "policy")
        moved(shared, "value_function")
        assert torch.equal(shared.reference(rollouts).logprobs, before.logprobs)
        assert not torch.allclose(shared.policy(rollouts).logprobs, before.logprobs)


def test_both_adapters_learn_from_one_backward_pass(shared: SharedBase) -> None:
    rollouts = rolled_out(shared)
    torch.nn.init.normal_(shared.value_function_head.weight)
    policy, value = shared.policy(rollouts), shared.value(rollouts)
    (policy.logprobs.sum() + value.sum()).backward()
    for role in ("policy", "value_function"):
        own = [p for name, p in shared.named_parameters() if f"lora_B.{role}." in name]
        assert own and all(p.grad is not None and p.grad.abs().sum() > 0 for p in own)
    frozen = [p for name, p in shared.named_parameters() if "base_layer" in name]
    assert frozen and all(p.grad is None for p in frozen)


def test_values_belong_to_the_states_before_tokens(shared: SharedBase) -> None:
    torch.nn.init.normal_(shared.value_function_head.weight)
    rollouts = rolled_out(shared)
    with torch.no_grad():
        values = shared.value(rollouts)
        part = make_rollouts(PROMPTS[:1], [rollouts.answers[0]])
        assert torch.allclose(shared.value(part)[0], values[0, : part.ids.shape[1]], atol=1e-5)
        first = make_rollouts(PROMPTS[:1], [shared.sample(PROMPTS[:1], 77)[0]])
    assert values[0, 0].item() == pytest.approx(shared.value(first)[0, 0].item(), abs=1e-5)


def likes(token: int) -> Any:
    return lambda prompts, answers: [answer.ids.count(token) / 8 for answer in answers]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ppo", "rloo", "grpo"])
def test_a_small_llama_learns_what_is_rewarded(
    shared: SharedBase, tmp_path: Path, name: str
) -> None:
    options = {"answers_per_prompt": 16, "epochs": 2, "beta": 0.01, "missing_end_penalty": 0}
    algorithm = make_algorithm(name, options)
    rewards: list[float] = []
    loop = AlignmentLoop(
        algorithm=algorithm,
        roles=shared.roles(),
        reward=likes(11),
        prompts=PROMPTS,
        learners=shared.learners(2e-2),
        schedule=RunSchedule(30, 100, 0),
        sizes=BatchSizes(3),
        seed=0,
        folder=tmp_path,
        alarms=Alarms(NO_LIMITS),
        on_event=lambda event: rewards.append(event.metrics["reward"]),  # type: ignore[union-attr]
    )
    loop.run()
    assert rewards[0] < 0.05 and max(rewards[-3:]) > 0.2, rewards


def repeated(shared: SharedBase) -> Rollouts:
    """Answers to prompts that stand there several times, not all side by side; some are empty."""
    prompts = [PROMPTS[n] for n in (0, 1, 0, 2, 2, 1)]
    answers = list(shared.sample(prompts, 3))
    empty = SampledAnswer((), ())
    return make_rollouts([*prompts, PROMPTS[0]], [empty, *answers[1:], answers[0]])


def scores_of(shared: SharedBase, rollouts: Rollouts) -> list[torch.Tensor]:
    """What all roles find, and the gradients of all adapters."""
    policy, value = shared.policy(rollouts), shared.value(rollouts)
    total = policy.logprobs.sum() + 0.3 * policy.entropies.sum() + value.square().sum()
    total.backward()
    gradients = [p.grad for p in shared.parameters() if p.grad is not None]
    shared.zero_grad()
    with torch.no_grad():
        reference = shared.reference(rollouts)
    return [policy.logprobs, policy.entropies, value, reference.logprobs, *gradients]


def test_packed_answers_that_share_prompts_are_those_computed_apart(shared: SharedBase) -> None:
    moved(shared, "policy")
    moved(shared, "value_function")
    torch.nn.init.normal_(shared.value_function_head.weight)
    assert shared.packed
    rollouts = repeated(shared)
    packed = scores_of(shared, rollouts)
    shared.packed = False
    for own, apart in zip(packed, scores_of(shared, rollouts), strict=True):
        assert float((own - apart).detach().abs().max()) <= 1e-4 * max(
            1.0, float(apart.detach().abs().max())
        )
    assert not packed[0][0].any() and packed[0][-1].any()


def test_answers_without_any_token_are_scored_as_nothing(shared: SharedBase) -> None:
    rollouts = make_rollouts(PROMPTS[:1], [SampledAnswer((), ())])
    assert not shared.policy(rollouts).logprobs.any() and not shared.value(rollouts).any()


def test_a_merged_adapter_samples_what_an_unmerged_one_would(shared: SharedBase) -> None:
    moved(shared, "policy")
    merged = shared.sample(PROMPTS, 4)
    with shared.adapter("policy"):
        model = shared.model.get_base_model()
        apart = sample_answers(model, shared.tokenizer, PROMPTS, shared.limits, 4)
    for own, other in zip(merged, apart, strict=True):
        assert own.ids == other.ids
        assert own.logprobs == pytest.approx(other.logprobs, abs=2e-5)


def test_the_base_is_bit_for_bit_the_same_after_merging(shared: SharedBase) -> None:
    moved(shared, "policy")
    before = {name: each.clone() for name, each in shared.state_dict().items()}
    for seed in range(5):
        shared.sample(PROMPTS, seed)
    with pytest.raises(InputError):
        shared.sample([TrainingPrompt(())], 0)
    after = shared.state_dict()
    assert all(torch.equal(after[name], each) for name, each in before.items())


def test_answers_do_not_depend_on_the_place_of_their_prompt_or_on_those_that_end(
    shared: SharedBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared.limits = SamplingLimits(8, [3, 7, 8, 9, 10, 11, 12, 13], temperature=2.0)
    prompts = PROMPTS * 8
    often = shared.sample(prompts, 2)
    assert len({len(answer.ids) for answer in often}) > 2
    monkeypatch.setattr(sampling, "_COMPACT_AT", 2.0)  # never
    never = shared.sample(prompts, 2)
    assert [answer.ids for answer in often] == [answer.ids for answer in never]
    alone = [shared.sample([*prompts[:row], prompts[row]], 2)[row] for row in (0, 4)]
    assert [answer.ids for answer in alone] == [often[row].ids for row in (0, 4)]
    for own, other in zip(often, never, strict=True):
        assert own.logprobs == pytest.approx(other.logprobs, abs=1e-5)


def test_several_tokens_may_end_an_answer(shared: SharedBase) -> None:
    shared.limits = SamplingLimits(8, [3, 7, 8, 9, 10, 11, 12, 13], temperature=2.0)
    answers = shared.sample(PROMPTS * 10, 0)
    ends = {answer.ids[-1] for answer in answers if answer.ended}
    assert len(ends) > 2 and ends <= set(shared.limits.stop_token_ids)
    for answer in answers:
        assert not set(answer.ids[:-1]) & set(shared.limits.stop_token_ids)


def test_prompts_that_the_model_cannot_read_are_refused(shared: SharedBase) -> None:
    with pytest.raises(InputError, match=r"58 tokens and an answer of 8 .* 64"):
        shared.sample([PROMPTS[0], TrainingPrompt((5,) * 58)], 0)
    assert len(shared.sample([TrainingPrompt((5,) * 56)], 0)) == 1
    with pytest.raises(InputError, match="no tokens"):
        shared.sample([TrainingPrompt(())], 0)


def test_draws_have_the_frequencies_of_the_distribution() -> None:
    logprobs = torch.log_softmax(torch.tensor([[1.0, -float("inf"), 0.0, 2.0]]), -1)
    points = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    ids = draw_tokens(logprobs.expand(20_000, -1), points)
    frequencies = torch.bincount(ids, minlength=4) / 20_000
    torch.testing.assert_close(frequencies, logprobs[0].exp(), atol=2e-4, rtol=0)
    assert draw_tokens(logprobs, torch.tensor([1 - 1e-16], dtype=torch.float64)).item() == 3
