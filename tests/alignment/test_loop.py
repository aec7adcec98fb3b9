"""The loop: the order of its parts, what it checks, and that it resumes bit for bit."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from alignment.runs import make_run
from alignment.tabular import Space, TablePolicy, TableReward
from safetensors import safe_open

from moli.alignment.alarms import AlarmLimits, Alarms
from moli.alignment.held_out import HeldOutReward
from moli.alignment.loop import AlignmentLoop
from moli.alignment.rewards.gate import GatedReward
from moli.alignment.rollouts.buffer import Rollouts, SampledAnswer, TrainingPrompt
from moli.alignment.rollouts.protocols import TokenScores
from moli.records.errors import InputError, ModelError
from moli.records.training import Evaluated, Event, StepTaken
from moli.training.loop.checkpoint import CHECKPOINT
from moli.training.loop.loop import RunSchedule

ALGORITHMS: dict[str, dict[str, Any]] = {
    "ppo": {"minibatches": 2, "epochs": 2, "kl_target": 0.5, "score_scaling": "running"},
    "rloo": {"answers_per_prompt": 2, "epochs": 2},
    "grpo": {"answers_per_prompt": 4, "minibatches": 2, "max_resample_times": 2},
    "rejection": {"answers_per_prompt": 4},
}


def steps_of(loop: AlignmentLoop) -> list[StepTaken]:
    events: list[Event] = []
    loop.on_event = events.append
    assert loop.run() == "finished"
    return [event for event in events if isinstance(event, StepTaken)]


def test_a_step_reports_what_happened(tmp_path: Path) -> None:
    steps = steps_of(make_run(tmp_path, "ppo", prompts=16, steps=3, learning_rate=0.3))
    assert [each.step for each in steps] == [1, 2, 3]
    assert [each.examples for each in steps] == [16, 32, 48]
    first, last = steps[0].metrics, steps[-1].metrics
    assert first["kl"] == pytest.approx(0, abs=1e-6) and last["kl"] > 0.01
    assert first["rollout_gap_max"] < 1e-5
    assert 0 < first["clip_share"] < 1 and last["entropy"] > 0
    assert steps[0].supervised == pytest.approx(16 * first["length"])
    assert {"reward", "value_loss", "policy_loss", "beta", "ended_share"} <= first.keys()


def test_answers_to_one_prompt_are_rolled_out_together_and_all_prompts_take_turns(
    tmp_path: Path,
) -> None:
    space, requests = Space(prompts=6), []
    loop = make_run(tmp_path, "rloo", {"answers_per_prompt": 2}, space=space, prompts=4, steps=4)
    sample = loop.roles.sample

    def record(prompts: Sequence[TrainingPrompt], seed: int) -> Sequence[SampledAnswer]:
        requests.append(([prompt.ids[0] for prompt in prompts], seed))
        return sample(prompts, seed)

    loop.roles = dataclasses.replace(loop.roles, sample=record)
    loop.run()
    assert all(ids[::2] == ids[1::2] for ids, _ in requests)
    assert [len(ids) for ids, _ in requests] == [8, 4, 8, 4]  # two epochs of six prompts
    for first, second in (requests[:2], requests[2:]):
        assert Counter(first[0] + second[0]) == Counter(dict.fromkeys(range(6), 2))
    assert len({seed for _, seed in requests}) == 4


@pytest.mark.parametrize("name", ALGORITHMS)
def test_how_many_answers_are_scored_at_once_changes_nothing(tmp_path: Path, name: str) -> None:
    results = []
    for scored in (10**6, 3):
        loop = make_run(tmp_path, name, ALGORITHMS[name], prompts=4, steps=3, scored=scored)
        results.append([(each.loss, each.gradient_norm) for each in steps_of(loop)])
    assert results[0] == [pytest.approx(each, rel=1e-3, abs=1e-6) for each in results[1]]


def test_the_first_ratio_has_to_be_one(tmp_path: Path) -> None:
    class Noisy(TablePolicy):
        """A policy with dropout that was not switched off."""

        def forward(self, rollouts: Rollouts) -> TokenScores:
            scores = super().forward(rollouts)
            noise = 0.1 * torch.rand_like(scores.logprobs)
            return dataclasses.replace(scores, logprobs=scores.logprobs - noise)

    loop = make_run(tmp_path, "rloo", {"answers_per_prompt": 2}, prompts=4)
    loop.roles = dataclasses.replace(loop.roles, policy=Noisy(Space()))
    with pytest.raises(ModelError, match="before the first update"):
        loop.run()


def test_the_value_function_comes_to_explain_the_returns(tmp_path: Path) -> None:
    options = {"beta": 0.0, "lam": 1.0, "value_clip": 10.0}
    loop = make_run(tmp_path, "ppo", options, prompts=256, steps=30, learning_rate=0.05)
    shares = [each.metrics["explained_variance"] for each in steps_of(loop)]
    assert shares[0] == pytest.approx(0, abs=1e-6)  # all values are 0 at first
    assert shares[-1] > 0.3 and max(shares) <= 1
    steps = steps_of(make_run(tmp_path, "rloo", {"answers_per_prompt": 2}, prompts=4, steps=1))
    assert "explained_variance" not in steps[0].metrics


def test_a_policy_that_is_sampled_wrongly_is_seen_in_the_rollout_gap(tmp_path: Path) -> None:
    loop = make_run(tmp_path, "ppo", prompts=64, steps=1)
    hot = TablePolicy(Space())
    hot.logits.data /= 2.0  # as if the engine had another temperature
    loop.roles = dataclasses.replace(loop.roles, sample=hot.sample)
    assert steps_of(loop)[0].metrics["rollout_gap"] > 0.1


def test_a_gate_reports_its_share(tmp_path: Path) -> None:
    space = Space()
    safety, helpfulness = TableReward(space, 1), TableReward(space, 2)
    safety.table *= 3
    reward = GatedReward(safety, helpfulness)
    metrics = steps_of(make_run(tmp_path, "ppo", reward=reward, steps=1))[0].metrics
    assert 0 < metrics["gated_share"] < 1 and metrics["gate_inversions"] >= 0


def test_an_answer_that_is_cut_off_pays(tmp_path: Path) -> None:
    options = {"missing_end_penalty": 2.0}
    metrics = steps_of(make_run(tmp_path, "ppo", options, steps=1))[0].metrics
    lost = 2 * (1 - metrics["ended_share"])
    assert lost > 0 and metrics["score"] == pytest.approx(metrics["reward"] - lost, abs=1e-5)


def test_an_adaptive_coefficient_follows_the_divergence(tmp_path: Path) -> None:
    options = {"beta": 0.2, "kl_target": 0.1, "kl_horizon": 640}
    steps = steps_of(make_run(tmp_path, "ppo", options, steps=6))
    betas = [each.metrics["beta"] for each in steps]
    for step, before, after in zip(steps, betas, betas[1:], strict=False):
        error = min(max(step.metrics["kl"] / 0.1 - 1, -0.2), 0.2)
        assert after == pytest.approx(before * (1 + error * 64 / 640))


def test_what_is_missing_is_said_before_the_first_step(tmp_path: Path) -> None:
    loop = make_run(tmp_path, "ppo")
    with pytest.raises(InputError, match="needs a value function"):
        dataclasses.replace(loop, roles=dataclasses.replace(loop.roles, value=None))
    with pytest.raises(InputError, match="no prompts"):
        dataclasses.replace(loop, prompts=[])
    loop.roles = dataclasses.replace(loop.roles, sample=lambda prompts, seed: [])
    with pytest.raises(InputError, match="0 answers for 64 prompts"):
        loop.run()


def constant(_: Sequence[TrainingPrompt], answers: Sequence[SampledAnswer]) -> list[float]:
    return [0.0] * len(answers)


def test_the_best_weights_by_the_held_out_reward_are_kept(tmp_path: Path) -> None:
    space = Space()
    true = TableReward(space)

    def opposite(prompts: Any, answers: Any) -> list[float]:
        return [-score for score in true(prompts, answers)]

    loop = make_run(tmp_path, "ppo", steps=6, schedule=RunSchedule(6, 2, 0, 1e9))
    before = loop.learners["policy"].weights.masters[0].detach().clone()
    loop.evaluate = HeldOutReward(space.prompts * 200, loop.roles.sample, opposite)
    loop.run()
    assert loop.progress.best_step == 0
    assert torch.equal(loop.learners["policy"].weights.masters[0], before)


def test_a_run_that_is_gamed_stops_and_says_so(tmp_path: Path) -> None:
    space = Space()
    true, events = TableReward(space), []

    def opposite(prompts: Any, answers: Any) -> list[float]:
        return [-score for score in true(prompts, answers)]

    limits = AlarmLimits(
        kl=None, length_growth=None, repetition=None, entropy_share=None, patience=2
    )
    loop = make_run(
        tmp_path, "ppo", steps=50, schedule=RunSchedule(50, 3, 0, 1e9), alarms=Alarms(limits)
    )
    loop.on_event = events.append
    loop.evaluate = HeldOutReward(space.prompts * 400, loop.roles.sample, opposite)
    assert loop.run() == "stopped_early"
    assert "the held-out reward fell" in loop.alarm and "training reward rose" in loop.alarm
    assert loop.progress.step < 20
    assert [each.step for each in events if isinstance(each, Evaluated)][:3] == [0, 3, 6]


class Killed(Exception):  # noqa: N818
    pass


def raise_killed() -> None:
    raise Killed


def killable_run(
    folder: Path, name: str, kill_at: int, kill: Callable[[], None] = raise_killed
) -> AlignmentLoop:
    """A run that is killed at the nth call of its reward, policy, rollouts or listener."""
    calls, steps, space = count(1), 6, Space(prompts=3)
    coarse = TableReward(space)
    if name == "grpo":  # so that many groups have equal rewards, and further batches are sampled
        coarse.table = coarse.table.sign()
    loop = make_run(
        folder,
        name,
        ALGORITHMS[name],
        reward=coarse,
        prompts=8,
        space=space,
        schedule=RunSchedule(steps, 2, 0, 1e9, save_every=1),
    )
    loop.prompts = list(loop.prompts) * 4

    def counted(call: Any) -> Any:
        def wrapped(*arguments: Any) -> Any:
            if next(calls) == kill_at:
                kill()
            return call(*arguments)

        return wrapped

    roles = loop.roles
    loop.reward = counted(loop.reward)
    loop.roles = dataclasses.replace(
        roles,
        sample=counted(roles.sample),
        policy=counted(roles.policy),
        reference=counted(roles.reference),
    )
    loop.evaluate = HeldOutReward(loop.prompts, roles.sample, counted(TableReward(space)))
    loop.on_event = counted(lambda _: None)
    loop.resume()
    return loop


def end_state(folder: Path) -> dict[str, Any]:
    """All tensors and all state of the last checkpoint, and the best weights."""
    result: dict[str, Any] = {}
    for path in [folder / CHECKPOINT, *sorted(folder.glob("best-*"))]:
        with safe_open(path, "pt") as file:
            for key in file.keys():  # noqa: SIM118
                if key != "random/cpu":  # nothing draws from it
                    result[f"{path.name} {key}"] = file.get_tensor(key).numpy().tobytes()
            result[f"{path.name} state"] = (file.metadata() or {}).get("state")
    return result


def assert_same_end(whole: Path, broken: Path) -> None:
    expected, actual = end_state(whole), end_state(broken)
    assert expected.keys() == actual.keys()
    assert [key for key in expected if expected[key] != actual[key]] == []


def test_a_run_that_breaks_off_resumes_to_the_same_weights_to_the_last_bit(tmp_path: Path) -> None:
    (whole := tmp_path / "whole").mkdir()
    (broken := tmp_path / "broken").mkdir()
    killable_run(whole, "ppo", 0).run()
    for kill_at in (3, 19, 26):  # in rollouts, in the second update, in an evaluation
        with pytest.raises(Killed):
            killable_run(broken, "ppo", kill_at).run()
    killable_run(broken, "ppo", 0).run()
    assert_same_end(whole, broken)


def run_until_killed(folder: Path, name: str, kill_at: int) -> None:
    torch.set_num_threads(1)
    killable_run(folder, name, kill_at, lambda: os.kill(os.getpid(), signal.SIGKILL)).run()


@pytest.mark.slow
@pytest.mark.parametrize("name", ALGORITHMS)
def test_fifteen_kills_at_random_change_nothing(tmp_path: Path, name: str) -> None:
    (whole := tmp_path / "whole").mkdir()
    (broken := tmp_path / "broken").mkdir()
    context, draw = multiprocessing.get_context("fork"), np.random.default_rng(0)

    def exit_code(folder: Path, kill_at: int) -> int | None:
        process = context.Process(target=run_until_killed, args=(folder, name, kill_at))
        process.start()
        process.join(60)
        return process.exitcode

    assert exit_code(whole, 0) == 0
    codes = [exit_code(broken, int(draw.integers(1, 14))) for _ in range(15)]  # a step has about 12
    assert codes.count(-signal.SIGKILL) >= 8 and set(codes) <= {0, -signal.SIGKILL}
    assert exit_code(broken, 0) == 0
    assert_same_end(whole, broken)
