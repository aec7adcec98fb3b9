"""Rounds: stages that build on each other, resumed wherever they were killed."""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from alignment.small_runs import QUICK, write_recipe
from conftest import write_settings
from training.preference_cases import write_preferences
from training.small_models import write_conversations

from moli.alignment import prepared
from moli.alignment.rounds import begin_rounds, resume_rounds, run_rounds
from moli.alignment.rounds_check import check_rounds
from moli.alignment.rounds_recipe import RoundsRecipe, make_rounds_recipe
from moli.models.hardware.probe import probe
from moli.records.errors import InputError, MoliError
from moli.records.training import Event
from moli.training.loop.loop import RunSchedule
from moli.training.recipes.run_folder import REQUESTED
from moli.training.runs import list_runs, read_run
from moli.training.setup import prepared as training_prepared
from moli.workspace import Workspace
from moli.workspace.content import MANIFEST


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    write_settings(tmp_path, confidence=0.0)
    with Workspace.init(tmp_path) as opened:
        probe()
        yield opened


def rounds_recipe(folder: Path, **changes: Any) -> RoundsRecipe:
    """Supervised tuning, two reward models, rejection sampling and PPO of a tiny model."""
    write_recipe(folder)
    write_conversations(folder / "chats.jsonl", 16)
    write_preferences(folder / "pairs.jsonl", 16)
    tuned = {"rank": 2, "batch": 8, "learning_rate": 0.01, "precision": "fp32"}
    scored = {"task": "reward", "data": "pairs.jsonl", "held_out": 0, **tuned}
    steps = {key: QUICK[key] for key in ("steps", "batch", "rank", "learning_rate", "options")}
    gate = {name: {"model": name, "calibrated": False} for name in ("safety", "helpfulness")}
    values = {
        "base": "base",
        "prompts": "prompts.jsonl",
        "stages": {
            "sft": {"task": "instruction", "data": "chats.jsonl", "held_out": 0, **tuned},
            "safety": scored,
            "helpfulness": {**scored, "seed": 1},
            "rejection": {"algorithm": "rejection", "reward": gate, **steps},
            "ppo": {"algorithm": "ppo", "reward": gate, **steps},
        },
        "reward": "rewards.py:likes_w7",
        "held_out": 4,
        "pairs": 3,
        "max_tokens": 6,
        "name": "assistant",
    }
    return make_rounds_recipe(values | changes, folder)


def test_a_stage_is_checked_before_anything_runs(tmp_path: Path) -> None:
    stages = {"ppo": {"reward": "safety", "stepps": 3}}
    with pytest.raises(InputError, match="stages: ppo: unknown key 'stepps'"):
        rounds_recipe(tmp_path, stages=stages)
    with pytest.raises(InputError, match="Did you mean 'stages'"):
        rounds_recipe(tmp_path, stage={})


Stage = dict[str, Any]


@pytest.mark.parametrize(
    ("stage", "changes", "message"),
    [
        ("ppo", {"reward": "safty"}, "stages: ppo: no model is called 'safty'. Did you mean"),
        ("ppo", {"reward": {"check": "number"}, "held_out_reward": "sft"}, "not a reward model"),
        ("ppo", {"reward": "safety"}, "holds nothing out"),
        ("ppo", {"reward": {"model": "last", "calibrated": False}}, "does not run before"),
        ("ppo", {"held_out_reward": "rewards.py:likes_w8"}, "Did you mean 'likes_w7'"),
        ("ppo", {"reward": {"regex": "("}}, "no regular expression"),
        ("ppo", {"judge": "nobody"}, "stages: ppo: no model is called 'nobody'"),
        ("ppo", {"prompts": "none.jsonl"}, "none.jsonl: no such file"),
        ("ppo", {"base": "nowhere"}, "'nowhere'"),
        ("safety", {"data": "chats.jsonl"}, "stages: safety: .*chats.jsonl"),
        ("sft", {"data": "nothing.jsonl"}, "stages: sft: .*nothing.jsonl: no such file"),
        ("", {"reward": "helpfullness"}, "Did you mean 'helpfulness'"),
        ("", {"judge": "nobody"}, "no model is called 'nobody'"),
        ("", {"held_out": 0.01}, "no prompt to compare rounds on"),
    ],
)
def test_all_that_stages_name_is_checked_before_the_first_runs(
    workspace: Workspace, stage: str, changes: Stage, message: str
) -> None:
    recipe = rounds_recipe(workspace.root)
    stages = {name: {**recipe.stages[name]} for name in ("sft", "safety", "helpfulness", "ppo")}
    stages["last"] = stages["safety"]
    if stage:
        stages[stage] |= changes
    recipe = rounds_recipe(workspace.root, stages=stages, **({} if stage else changes))
    for check in (check_rounds, run_rounds):
        with pytest.raises(MoliError, match=message):
            check(recipe, workspace)
    assert list_runs(workspace) == []


def test_a_check_of_rounds_counts_what_each_stage_reads(workspace: Workspace) -> None:
    facts = check_rounds(rounds_recipe(workspace.root), workspace)
    assert facts["sft"] == {"task": "instruction", "examples": 16, "held_out": 0}
    assert facts["ppo"] == {"algorithm": "ppo", "prompts": 8, "held_out": 4}
    assert list(facts) == ["sft", "safety", "helpfulness", "rejection", "ppo"]


@pytest.mark.slow
def test_two_rounds_lead_from_pairs_to_weights(workspace: Workspace) -> None:
    result = run_rounds(rounds_recipe(workspace.root, rounds=2), workspace)
    assert result.status == "finished" and result.model.startswith("assistant@")
    rounds = [json.loads((result.folder / f"round-{n}.json").read_text()) for n in (1, 2)]
    assert rounds[1]["lineage"]["before"] == rounds[0]["lineage"]["policy"]
    final = workspace.models.get("assistant")
    assert rounds[1]["lineage"]["policy"] == final.hash
    stages = rounds[1]["lineage"]["stages"]
    assert set(final.manifest.lineage["rewards"].values()) == {
        stages["safety"], stages["helpfulness"],
    }  # fmt: skip
    second = workspace.models.get(stages["safety"])
    pairs = second.manifest.recipe["data"]
    assert [Path(each).name for each in pairs] == ["pairs.jsonl", "pairs-1.jsonl"]
    merged = workspace.models.get(Path(final.manifest.base).name)
    assert merged.manifest.parent == stages["rejection"]
    for each in rounds:
        low, high = each["by_reward"]["interval"]
        assert low <= each["by_reward"]["win_rate"] <= high
        assert len(each["sample_answers"]) == 4
    runs = {run.id: run for run in list_runs(workspace)}
    assert len(runs) == 11 and runs[result.run].task == "rounds"
    assert {run.status for run in runs.values()} == {"finished"}
    with pytest.raises(InputError, match="the rounds are complete"):
        resume_rounds(result.run, workspace)


class Killed(Exception):  # noqa: N818
    pass


@pytest.mark.slow
def test_a_workspace_may_be_moved_between_rounds(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    write_settings(old, confidence=0.0)
    stages = ("sft", "safety", "rejection")
    whole = rounds_recipe(old)
    reward = {"model": "safety", "calibrated": False}
    changed = {name: dict(whole.stages[name]) for name in stages}
    changed["rejection"]["reward"] = reward
    recipe = rounds_recipe(old, rounds=2, stages=changed)
    with Workspace.init(old) as opened:
        probe()
        folder = begin_rounds(recipe, opened)

        def kill_in_the_second_round(_: Event) -> None:
            if (folder / "round-1.json").exists():
                raise Killed

        with pytest.raises(Killed):
            resume_rounds(folder.name, opened, listeners=[kill_in_the_second_round])
    old.rename(new)
    with Workspace.open(new) as opened:
        result = resume_rounds(folder.name, opened)
        assert result.status == "finished" and result.facts["step"] == 2
        written = [
            *(new / ".moli" / "runs").glob(f"*/{REQUESTED}"),
            *result.folder.glob("round-*.json"),
            *(new / ".moli" / "adapters").rglob(MANIFEST),
        ]
        assert len(written) == 7 + 2 + 9  # runs, rounds, and models, three of them merged
        texts = [path.read_text(encoding="utf-8") for path in written]
        assert not any(str(folder) in text for text in texts for folder in (old, new))
        first = json.loads((result.folder / "round-1.json").read_text(encoding="utf-8"))
        assert first["lineage"]["before"] == "./base"


def run_until_killed(root: Path, run: str, kill_at: int) -> None:
    """Run to the end, or until the nth event of a stage, with a checkpoint after each step."""
    events = 0

    def count(_: Event) -> None:
        nonlocal events
        events += 1
        if events == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(1)
    for module in (prepared, training_prepared):
        module.RunSchedule = functools.partial(RunSchedule, save_every=1)  # type: ignore[attr-defined]
    with Workspace.open(root) as opened:
        resume_rounds(run, opened, listeners=[count])


def run_in_process(workspace: Workspace, run: str, kill_at: int) -> int | None:
    context = multiprocessing.get_context("fork")
    process = context.Process(target=run_until_killed, args=(workspace.root, run, kill_at))
    process.start()
    process.join(300)
    return process.exitcode


def end_of(workspace: Workspace, run: str) -> list[Any]:
    """Hashes of all stages' models, the new pairs and the comparison."""
    folder = workspace.folder / "runs" / run
    stages = sorted(folder.parent.glob(f"{run}-*"))
    models = [workspace.models.get(read_run(stage).model).hash for stage in stages]
    files = ("round-1.json", "pairs-1.jsonl")
    return [*models, *((folder / name).read_text() for name in files)]


@pytest.mark.slow
@pytest.mark.parametrize("kills", [3, 15])
def test_kills_at_random_points_of_a_round_change_nothing(workspace: Workspace, kills: int) -> None:
    recipe = rounds_recipe(workspace.root, name="")
    for run in ("whole", "broken"):
        begin_rounds(recipe, workspace, run)
    assert run_in_process(workspace, "whole", 0) == 0
    draw, killed = np.random.default_rng(kills), 0
    for _ in range(kills):
        killed += run_in_process(workspace, "broken", int(draw.integers(2, 6))) == -signal.SIGKILL
    assert killed >= min(kills, 8)
    if read_run(workspace.folder / "runs" / "broken").status != "finished":
        assert run_in_process(workspace, "broken", 0) == 0
    whole, broken = (end_of(workspace, run) for run in ("whole", "broken"))
    assert len(whole) == 7 and whole == broken
