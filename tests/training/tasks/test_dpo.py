"""DPO: its loss by derivation, the reference, whole runs, and the optimum that is known."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training.preference_cases import preferences, write_preferences
from training.round_trips import predicted_rows, recipe_of, save_and_restore
from training.small_models import write_model
from training.stored_models import train_and_store

from moli.records.errors import InputError
from moli.records.training import StepTaken
from moli.training.loop.loop import Loop
from moli.training.reference import reference_values, set_references
from moli.training.run import begin, resume, tune
from moli.training.setup import references
from moli.training.setup.prepared import build_model, prepare
from moli.training.tasks import make_task
from moli.training.tasks.base.preference import PairLogps
from moli.training.tasks.base.wrapped_models import evaluation_mode
from moli.training.tasks.dpo import Dpo, dpo_loss
from moli.training.trained.load import load_trained
from moli.training.trained.predict import evaluate_on, loaded_model, predict, read_text
from moli.workspace import Workspace


class StopError(Exception):
    """Ends a run from a listener."""


def test_the_loss_is_that_of_the_paper() -> None:
    rewards = torch.tensor([[0.3, -0.2], [-1.0, 0.5], [0.0, 0.0]], dtype=torch.float64)
    sigmoid = [1 / (1 + math.exp(-margin)) for margin in (0.5, -1.5, 0.0)]
    expected = [-math.log(each) for each in sigmoid]
    torch.testing.assert_close(dpo_loss(rewards).tolist(), expected)
    smoothed = [-0.8 * math.log(each) - 0.2 * math.log(1 - each) for each in sigmoid]
    torch.testing.assert_close(dpo_loss(rewards, label_smoothing=0.2).tolist(), smoothed)


def test_its_gradient_is_that_of_the_paper() -> None:
    """-beta sigmoid(r_l - r_w) (grad log pi_w - grad log pi_l), section 4 of the paper."""
    policy = torch.tensor([[-7.0, -5.0]], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([[-6.0, -6.0]], dtype=torch.float64)
    dpo_loss(0.1 * (policy - reference)).sum().backward()
    weight = 0.1 / (1 + math.exp(-0.1 * (1.0 + 1.0)))
    assert policy.grad is not None
    torch.testing.assert_close(policy.grad, torch.tensor([[-weight, weight]]).double())


def task_with(base: str = "builtin:starter", **options: Any) -> Dpo:
    return Dpo(recipe_of(task="dpo", base=base, data="a.jsonl", options=options))


def test_rewards_are_changes_from_the_reference_in_all_or_for_a_token() -> None:
    pairs = PairLogps(
        torch.tensor([[-8.0, -3.0]]), torch.tensor([[-10.0, -6.0]]), torch.tensor([[4, 2]])
    )
    assert task_with(beta=0.5).rewards(pairs).tolist() == [[1.0, 1.5]]
    normalized = task_with(beta=0.5, length_normalized=True).rewards(pairs)
    assert normalized.tolist() == [[0.25, 0.75]]


@pytest.mark.parametrize("beta", [0.1, 0.5, 2.0])
def test_the_policy_comes_to_the_known_optimum(beta: float) -> None:
    """With labels by Bradley and Terry, the optimum is pi* ~ pi0 exp(r / beta)."""
    generator = torch.Generator().manual_seed(0)
    rewards = torch.randn(6, generator=generator, dtype=torch.float64) * beta
    base = torch.randn(6, generator=generator, dtype=torch.float64).log_softmax(0)
    optimum = (base + rewards / beta).softmax(0)
    pairs = torch.tensor(list(itertools.permutations(range(6), 2)))
    shares = torch.sigmoid(rewards[pairs[:, 0]] - rewards[pairs[:, 1]])
    logits = base.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([logits], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        changes = logits.log_softmax(0) - base
        value = (shares * dpo_loss(beta * changes[pairs])).sum()
        value.backward()
        return value

    optimizer.step(loss)  # type: ignore[arg-type]
    distance = float((logits.detach().softmax(0) - optimum).abs().sum() / 2)
    assert distance < 0.02


@pytest.mark.parametrize("method", ["lora", "adapter", "prompt"])
def test_the_reference_is_the_base_without_its_adapter(method: str, tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", "llama")
    task = make_task(recipe_of(task="dpo", base=base, data="a.jsonl", method=method, rank=4))
    samples = [each for group in task.samples(preferences(4), training=True) for each in group]
    expected = reference_values(task, task.build(torch.float32), samples, packed=False)
    torch.manual_seed(0)
    model = build_model(task, task.recipe)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.5)
    with evaluation_mode(model):
        own = task.reference_values(task.forward(model, samples), samples)
    assert np.abs(own - expected).max() > 1e-3  # the adapter does something
    actual = reference_values(task, model, samples, packed=False)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    with evaluation_mode(model):  # the adapter is on again
        again = task.reference_values(task.forward(model, samples), samples)
    np.testing.assert_allclose(again, own, rtol=1e-5)


def test_before_the_first_step_no_answer_is_preferred(tmp_path: Path) -> None:
    base, data = write_model(tmp_path / "base", "llama"), write_preferences(tmp_path / "a.jsonl")
    (tmp_path / "run").mkdir()
    recipe = recipe_of(task="dpo", base=base, data=data, held_out=0.3)
    prepared = prepare(recipe, tmp_path / "run")
    references.prepare_reference(prepared, tmp_path / "run", prepared.loop.world)
    assert prepared.loop.evaluate is not None
    metrics = prepared.loop.evaluate().metrics
    assert metrics["reward_accuracy"] == 0.5
    assert (metrics["reward_margin"], metrics["drift"]) == (0.0, 0.0)
    assert metrics["loss"] == pytest.approx(math.log(2))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_run_learns_the_preference_and_gives_the_same_after_it_is_restored(
    method: str, tmp_path: Path
) -> None:
    base = write_model(tmp_path / "base", "llama")
    workspace = Workspace.init(tmp_path / "workspace")
    data = write_preferences(tmp_path / "a.jsonl", 120)
    recipe = recipe_of(
        task="dpo", base=base, data=data, method=method, epochs=6, learning_rate=5e-3, batch=8
    )
    facts = tune(recipe, workspace).facts
    metrics = facts["metrics"]
    assert facts["base_metrics"]["reward_accuracy"] == 0.5
    assert metrics["reward_accuracy_low"] > 0.5
    assert metrics["reward_margin"] > 0
    assert metrics["drift"] > 0
    assert facts["packing"]["holds"]


@pytest.mark.slow
def test_a_restored_model_says_the_same_of_pairs(tmp_path: Path) -> None:
    base, data = write_model(tmp_path / "base", "llama"), write_preferences(tmp_path / "a.jsonl")
    (tmp_path / "run").mkdir()
    prepared = prepare(recipe_of(task="dpo", base=base, data=data, epochs=2), tmp_path / "run")
    references.prepare_reference(prepared, tmp_path / "run", prepared.loop.world)
    prepared.loop.run()
    examples = preferences(5)
    before = predicted_rows(prepared.task, prepared.model, examples)
    task, model = save_and_restore(prepared, tmp_path / "saved")
    after = predicted_rows(task, model, examples)
    for one, other in zip(before, after, strict=True):
        assert one["chosen_logp"] == pytest.approx(other["chosen_logp"], rel=1e-4)


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_same_bits_and_computes_no_second_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, data = write_model(tmp_path / "base", "llama"), write_preferences(tmp_path / "a.jsonl")
    recipe = recipe_of(task="dpo", base=base, data=data, epochs=3, batch=8, held_out=0.2)
    workspace = Workspace.init(tmp_path / "workspace")
    whole = tune(recipe, workspace)

    def stop_at_five(event: Any) -> None:
        if isinstance(event, StepTaken) and event.step == 5:
            raise StopError

    right = Loop.take_step

    def saving(self: Loop, step: Any) -> Any:
        taken = right(self, step)
        self.save()
        return taken

    monkeypatch.setattr(Loop, "take_step", saving)
    folder = begin(recipe, workspace)
    with pytest.raises(StopError):
        resume(folder.name, workspace, listeners=[stop_at_five])
    monkeypatch.setattr(Loop, "take_step", right)

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("the reference is computed a second time")

    monkeypatch.setattr(references, "reference_values", refuse)
    resumed = resume(folder.name, workspace)
    assert resumed.model == whole.model  # named by the hash of its weights
    assert resumed.facts["metrics"] == whole.facts["metrics"]


def test_a_resumed_run_whose_reference_is_gone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"reference\.safetensors is gone"):
        references._read(tmp_path, 5)


def test_values_are_kept_with_their_samples(tmp_path: Path) -> None:
    task = task_with(write_model(tmp_path / "base", "llama"))
    samples = [each for group in task.samples(preferences(3), training=True) for each in group]
    set_references(task, samples, np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    assert samples[2].target.reference.tolist() == [5.0, 6.0]


def test_chosen_answers_that_become_less_likely_are_told(tmp_path: Path) -> None:
    task = task_with()
    before = {"chosen_logp": -2.0, "rejected_logp": -2.0}
    both = task.outcome_notes({"chosen_logp": -2.5, "rejected_logp": -4.0}, before)
    assert len(both) == 1
    assert "the chosen answers became less likely too, by 0.50 nats a token" in both[0]
    assert task.outcome_notes({"chosen_logp": -1.9, "rejected_logp": -4.0}, before) == []


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_stored_model_is_evaluated_against_the_model_that_it_began_from(
    method: str, tmp_path: Path
) -> None:
    base = write_model(tmp_path / "base", "llama")
    data = write_preferences(tmp_path / "pairs.jsonl", 60)
    values = {"task": "dpo", "method": method, "learning_rate": 5e-3, "epochs": 4}
    stored = train_and_store(tmp_path / "home", data, base, **values)
    evaluation = evaluate_on(load_trained(stored), data)
    assert evaluation.metric == "reward_accuracy"
    assert evaluation.metrics["drift"] > 1e-3
    assert evaluation.interval[0] > 0.5


@pytest.mark.slow
def test_a_tuned_model_answers_requests(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", "llama")
    data = write_preferences(tmp_path / "pairs.jsonl", 20)
    stored = train_and_store(tmp_path / "home", data, base, task="dpo", method="lora", epochs=1)
    with loaded_model(stored) as trained:
        [row] = predict(trained, [read_text(trained, "w1 w2")], max_tokens=3)
    assert isinstance(row["answer"], str)
