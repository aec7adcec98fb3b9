"""From a recipe to a stored, aligned adapter."""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from alignment.small_runs import write_recipe
from conftest import write_settings

from moli.alignment import prepared
from moli.alignment.recipe import read_alignment_recipe
from moli.alignment.run import align, begin, check, resume
from moli.models.hardware.probe import probe
from moli.records.errors import InputError, NotFoundError
from moli.records.messages import Message
from moli.records.training import Event, RunEnded, RunStarted, StepTaken
from moli.training.loop.loop import RunSchedule
from moli.training.recipes.run_folder import REQUESTED
from moli.training.run import resume as resume_tuning
from moli.training.runs import list_runs
from moli.training.trained.names import load_named_chat
from moli.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    write_settings(tmp_path, confidence=0.0)
    with Workspace.init(tmp_path) as opened:
        probe()
        yield opened


@pytest.mark.slow
def test_a_recipe_becomes_an_adapter_that_is_served(workspace: Workspace) -> None:
    path = write_recipe(workspace.root)
    events: list[Event] = []
    result = align(read_alignment_recipe(path), workspace, listeners=[events.append])
    assert result.status == "finished" and result.model.startswith("aligned@")
    assert isinstance(events[0], RunStarted) and isinstance(events[-1], RunEnded)
    assert [each.step for each in events if isinstance(each, StepTaken)] == [1, 2, 3]
    assert result.facts["prompts"] == 9 and result.facts["held_out"] == 3
    stored = workspace.models.get("aligned")
    assert stored.manifest.method == "lora" and not workspace.models.verify(stored)
    lineage = stored.manifest.lineage
    assert lineage["base"] == stored.manifest.base_hash and len(lineage["base"]) == 64
    assert lineage["recipe"]["steps"] == 3 and len(lineage["prompts"]) == 64
    assert list(lineage["rewards"]) == ["rewards.py:likes_w7"]
    compared = result.facts["against_reference"]
    assert compared["reward_win_rate_low"] <= compared["win_rate"]
    assert len(result.facts["sample_answers"]) == 3
    chat = load_named_chat("aligned", workspace)
    assert isinstance(chat.complete([Message("user", "w1 w2")], max_tokens=5), str)
    [run] = list_runs(workspace)
    assert (run.task, run.status, run.step, run.model) == ("rloo", "finished", 3, result.model)
    assert (result.folder / "report.html").is_file()
    assert not list(result.folder.glob("*.safetensors"))


@pytest.mark.slow
def test_an_adapter_as_base_is_merged_so_that_it_is_the_reference(workspace: Workspace) -> None:
    first = align(read_alignment_recipe(write_recipe(workspace.root)), workspace)
    path = write_recipe(workspace.root, base="aligned", name="again", steps=1)
    align(read_alignment_recipe(path), workspace)
    again = workspace.models.get("again")
    merged = workspace.models.get(Path(again.manifest.base).name)
    assert merged.manifest.parent == workspace.models.get(first.model.rpartition("@")[2]).hash


@pytest.mark.slow
def test_a_check_takes_a_trial_step_and_keeps_nothing(workspace: Workspace) -> None:
    path = write_recipe(workspace.root)
    before = {each for each in workspace.root.rglob("*") if each.is_file()}
    result = check(read_alignment_recipe(path), workspace)
    assert result.facts["prompts"] == 9 and result.seconds > 0
    assert {sample["score"] for sample in result.samples} <= set(range(7))
    assert {each for each in workspace.root.rglob("*") if each.is_file()} == before


def test_a_judge_that_is_not_there_is_said_before_the_run(workspace: Workspace) -> None:
    recipe = read_alignment_recipe(write_recipe(workspace.root, judge="nobody"))
    for function in (align, check):
        with pytest.raises(NotFoundError, match="'nobody'"):
            function(recipe, workspace)
    assert list_runs(workspace) == []


@pytest.mark.slow
def test_a_check_shows_rewards_as_they_were_given(workspace: Workspace) -> None:
    options = {"answers_per_prompt": 2, "missing_end_penalty": 100, "score_scaling": "batch"}
    recipe = read_alignment_recipe(write_recipe(workspace.root, options=options, max_tokens=1))
    result = check(recipe, workspace)
    assert [each["score"] for each in result.samples] == [
        each["answer"].split().count("w7") for each in result.samples
    ]


@pytest.mark.slow
def test_a_reward_that_fails_leaves_no_run(workspace: Workspace) -> None:
    path = write_recipe(workspace.root, reward="rewards.py:nothing")
    with pytest.raises(InputError, match="there is no 'nothing' in it"):
        align(read_alignment_recipe(path), workspace)
    assert list_runs(workspace) == []
    path = write_recipe(workspace.root, reward="rewards.py:fails")
    with pytest.raises(InputError, match="the score of answer 1 of 3 is nan"):
        align(read_alignment_recipe(path), workspace)
    assert [run.status for run in list_runs(workspace)] == ["failed"]


@pytest.mark.slow
def test_an_alarm_stops_the_run_and_the_alias_stays(workspace: Workspace) -> None:
    alarms = {"kl": 1e-9, "patience": 1, "repetition": None}
    path = write_recipe(workspace.root, alarms=alarms, steps=9)
    result = align(read_alignment_recipe(path), workspace)
    assert result.status == "stopped_early" and result.facts["step"] < 9
    assert "divergence from the reference" in result.facts["alarm"]
    assert result.facts["alias_kept"] == result.facts["alarm"]
    assert workspace.models.find("aligned") is None and result.model


def test_a_run_is_resumed_by_the_command_that_began_it(workspace: Workspace) -> None:
    folder = begin(read_alignment_recipe(write_recipe(workspace.root)), workspace)
    with pytest.raises(InputError, match="a run of 'moli align'"):
        resume_tuning(folder.name, workspace)
    requested = folder / REQUESTED
    values = json.loads(requested.read_text())
    assert values["prompts"] == "./prompts.jsonl"
    assert values["reward"] == "./rewards.py:likes_w7"
    requested.write_text(json.dumps({"task": "dpo"}))
    with pytest.raises(InputError, match="a run of 'moli tune'"):
        resume(folder.name, workspace)


@pytest.mark.slow
def test_changed_prompts_are_refused(workspace: Workspace) -> None:
    folder = begin(read_alignment_recipe(write_recipe(workspace.root)), workspace)
    (folder / "hashes.json").write_text(json.dumps({"prompts": "other"}))
    with pytest.raises(InputError, match="changed since the run started: prompts"):
        resume(folder.name, workspace)


def run_until_killed(root: Path, run: str, kill_at: int) -> None:
    """Run to the end, or until the nth event, with a checkpoint after each step."""
    events = 0

    def count(_: Event) -> None:
        nonlocal events
        events += 1
        if events == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(1)
    prepared.RunSchedule = functools.partial(RunSchedule, save_every=1)  # type: ignore[misc]
    with Workspace.open(root) as opened:
        resume(run, opened, listeners=[count])


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_adapter(workspace: Workspace) -> None:
    options = {"minibatches": 2, "kl_target": 0.5, "score_scaling": "running"}
    path = write_recipe(workspace.root, algorithm="ppo", options=options, steps=4)
    recipe = read_alignment_recipe(path)
    context = multiprocessing.get_context("fork")
    for name, kills in (("whole", ()), ("broken", (3, 3, 4))):
        begin(recipe.model_copy(update={"name": name}), workspace, name)
        for kill_at in (*kills, 0):
            process = context.Process(target=run_until_killed, args=(workspace.root, name, kill_at))
            process.start()
            process.join(120)
            assert process.exitcode == (-signal.SIGKILL if kill_at else 0)
    whole, broken = map(workspace.models.get, ("whole", "broken"))
    assert whole.hash == broken.hash
