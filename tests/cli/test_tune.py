from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from samples import clean_environment
from training.small_models import write_labelled, write_model

Moli = Callable[..., Any]


@pytest.fixture
def recipe(home: Path) -> Path:
    """A recipe for a tiny model and forty examples, in the folder that commands run in."""
    write_model(home / "base", "bert")
    write_labelled(home / "rows.jsonl", 40)
    path = home / "recipe.yaml"
    path.write_text(
        "task: classification\nbase: base\ndata: rows.jsonl\nheld_out: 0.2\n"
        "batch: 8\nepochs: 1\nname: support\nprecision: fp32\n"
    )
    return path


def files(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.mark.slow
def test_a_check_says_what_there_is_and_writes_nothing(
    moli: Moli, home: Path, recipe: Path
) -> None:
    before = files(home)
    shown = moli("tune", "recipe.yaml", "--check")
    assert (shown.code, files(home)) == (0, before)
    for part in ("32 training examples, 8 held out", "0 errors", "nothing was trained"):
        assert part in shown.out
    report = moli("tune", "recipe.yaml", "--check", "--json", "--set", "epochs=2").json
    assert report["ok"]
    assert report["preflight"]["recipe"]["epochs"] == 2


@pytest.mark.slow
def test_a_task_and_its_data_are_a_recipe(moli: Moli, home: Path, recipe: Path) -> None:
    assert recipe.exists()
    options = ("--set", "base=base", "--set", "epochs=2", "--set", "precision=fp32")
    report = moli("tune", "rows.jsonl", "--task", "classification", *options, "--check", "--json")
    used = report.json["preflight"]["recipe"]
    assert (used["task"], used["epochs"]) == ("classification", 2)
    assert (home / used["data"]) == home / "rows.jsonl"


def test_an_interrupted_check_says_that_nothing_was_changed(
    moli: Moli, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("moli.training.checks.preflight.preflight", interrupt)
    ran = moli("tune", recipe, "--check")
    assert (ran.code, ran.err) == (130, "Interrupted. Nothing was changed.\n")


@pytest.mark.slow
def test_a_check_of_what_cannot_be_trained_ends_with_one(
    moli: Moli, home: Path, recipe: Path
) -> None:
    good = '{"text": "x", "label": "a"}\n'
    (home / "rows.jsonl").write_text(good + '{"text": "y"}\n' * 2)
    shown = moli("tune", "recipe.yaml", "--check")
    assert shown.code == 1
    assert "error: 2 rows are malformed: 'label' is missing" in shown.out
    assert "3 rows = 1 readable + 2 malformed" in shown.out
    assert "training examples" not in shown.out
    ran = moli("tune", "recipe.yaml", "--check", "--json")
    assert (ran.code, ran.json["ok"]) == (1, False)
    locations = ran.json["preflight"]["findings"][0]["places"]
    assert [Path(each).name for each in locations] == ["rows.jsonl:2", "rows.jsonl:3"]
    refused = moli("tune", "recipe.yaml", "--json")
    assert (refused.code, refused.json["error"]["code"]) == (1, "input")
    assert moli("runs", "--json").json == {"runs": []}  # of a run that never began nothing is left


@pytest.mark.slow
def test_a_model_is_trained_and_its_run_is_listed(moli: Moli, home: Path, recipe: Path) -> None:
    ran = moli("tune", "recipe.yaml")
    assert ran.code == 0
    name = ran.out.splitlines()[0]
    assert name.startswith("support@")
    for part in ("accuracy", "than estimated", "tokens/s", "report.html"):
        assert part in ran.out
    assert "evaluated at step" in ran.err
    assert moli("models", "show", "support", "--json").json["manifest"]["task"] == "classification"
    (run,) = moli("runs", "--json").json["runs"]
    assert (run["status"], run["task"], run["step"], run["steps"]) == (
        "finished", "classification", 4, 4
    )  # fmt: skip
    assert (run["model"], Path(run["report"]).is_file()) == (name, True)
    assert run["id"] in moli("runs").out
    assert moli("runs", "list", "--json").json["runs"] == [run]
    shown = moli("runs", "show", run["id"][-4:]).out
    for part in (run["id"], "4 of 4", name, "task classification", "estimate.seconds"):
        assert part in shown
    again = moli("tune", "--resume", run["id"], "--json")
    assert (again.code, again.json["error"]["what"]) == (1, "the run is complete")


@pytest.mark.slow
def test_a_recipe_can_be_given_on_the_command_line(moli: Moli, home: Path, recipe: Path) -> None:
    ran = moli(
        "tune", "--set", "task=classification", "--set", "data=rows.jsonl", "--set", "base=base",
        "--set", "held_out=0.2", "--set", "epochs=1", "--json",
    )  # fmt: skip
    assert (ran.code, ran.err) == (0, "")
    assert ran.json["result"]["status"] == "finished"


def begin(home: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", "from moli.cli import main; main()", "tune", *arguments],
        cwd=home,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def events(home: Path) -> list[dict[str, Any]]:
    paths = sorted((home / ".moli" / "runs").glob("*/events.jsonl"), key=os.path.getmtime)
    if not paths:
        return []
    lines = paths[-1].read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_to_the_same_weights(
    moli: Moli, home: Path, recipe: Path
) -> None:
    recipe.write_text(recipe.read_text().replace("epochs: 1\n", "epochs: 12\ndropout: 0.1\n"))
    process = begin(home, "recipe.yaml")
    deadline = time.monotonic() + 300
    while sum(each["event"] == "step" for each in events(home)) < 3:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGSTOP)
    (run,) = moli("runs", "--json").json["runs"]
    assert (run["status"], run["process"]) == ("running", process.pid)
    assert f"running (process {process.pid})" in moli("runs", "show", run["id"]).out
    process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    (run,) = moli("runs", "--json").json["runs"]
    assert (run["status"], run["steps"]) == ("interrupted", 48)
    assert 3 <= run["step"] < 48
    assert f"moli tune --resume {run['id']}" in out
    assert moli("tune", "--resume", run["id"]).code == 0
    steps = [each["step"] for each in events(home) if each["event"] == "step"]
    assert steps == list(range(1, 49))
    resumed = moli("models", "show", "support", "--json").json["hash"]
    assert moli("tune", "recipe.yaml").code == 0
    # A model's name is the hash of its files: the very same ones came out.
    assert moli("models", "show", "support", "--json").json["hash"] == resumed


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("tune",), 1, "no recipe"),
        (("tune", "recipe.yaml", "--set", "epoch=2"), 1, "Did you mean 'epochs'?"),
        (("tune", "recipe.yaml", "--set", "epochs"), 2, "is not KEY=VALUE"),
        (("tune", "recipe.yaml", "--set", "epochs=[1"), 1, "'epochs' cannot be read"),
        (("tune", "recipe.yaml", "--set", "epochs=no"), 1, "'epochs' is 'no'"),
        (("tune", "recipe.yaml", "--resume", "x"), 2, "a run already has its recipe"),
        (("tune", "--resume", "x"), 1, "x: no such run. See 'moli runs'."),
        (("tune", "none.yaml"), 1, "none.yaml: cannot be read"),
        (("runs", "show", "x"), 1, "x: no such run"),
    ],
)
def test_what_cannot_be_done_is_told(
    moli: Moli, home: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    (home / "recipe.yaml").write_text("task: classification\ndata: rows.jsonl\n")
    ran = moli(*arguments)
    assert ran.code == code
    assert message in " ".join(ran.err.split())


def test_without_runs_the_list_is_empty(moli: Moli) -> None:
    assert moli("runs").out == "No runs yet.\n"


@pytest.mark.parametrize("verb", [("tune",), ("runs", "list"), ("runs", "show")])
def test_every_verb_has_help_with_an_example(moli: Moli, verb: tuple[str, ...]) -> None:
    ran = moli(*verb, "--help")
    assert ran.code == 0
    assert f"Example: moli {' '.join(verb)}" in ran.out
