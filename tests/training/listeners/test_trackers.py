"""Trackers against their libraries where installed, else against strict stand-ins."""

from __future__ import annotations

import importlib
import math
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from training.listeners.runs import run, started, taken

from moli.records.errors import InputError
from moli.records.training import RunEnded
from moli.training.listeners.trackers import make_trackers


def track(name: str, *events: Any) -> None:
    (tracker,) = make_trackers([name])
    for event in events:
        tracker(event)


def test_an_unknown_name_is_told_of() -> None:
    with pytest.raises(InputError, match=r"unknown tracker .comet.* Known: tensorboard, mlflow"):
        make_trackers(["comet"])


@pytest.mark.parametrize(
    ("name", "module"),
    [("tensorboard", "torch.utils.tensorboard"), ("mlflow", "mlflow"), ("wandb", "wandb")],
)
def test_a_missing_package_is_told_of_at_once(
    name: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"{name} is not installed.*moli\[trackers\]"):
        make_trackers([name])


def test_no_names_are_no_trackers() -> None:
    assert make_trackers([]) == []


# TensorBoard


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    accumulator = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    read = accumulator.EventAccumulator(str(folder / "tensorboard"))
    read.Reload()
    return {
        tag: {each.step: each.value for each in read.Scalars(tag)} for tag in read.Tags()["scalars"]
    }


def test_tensorboard_reads_every_figure_back(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="pip install 'moli[trackers]'")
    track("tensorboard", *run(tmp_path))
    logged = scalars(tmp_path)
    assert logged["train/loss"] == pytest.approx(
        {n: 2 * math.exp(-n / 20) for n in range(1, 41)}, rel=1e-6
    )
    assert logged["train/tokens_per_second"] == pytest.approx(dict.fromkeys(range(2, 41), 2000))
    assert logged["evaluation/accuracy"] == pytest.approx({10: 0.6, 20: 0.7, 30: 0.8, 40: 0.9})


def test_tensorboard_shows_the_steps_of_a_resumed_run_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="pip install 'moli[trackers]'")
    lost = [taken(n, loss=9.0) for n in range(21, 29)]
    track("tensorboard", *list(run(tmp_path))[:23], *lost, RunEnded("failed", 28, {}))
    track("tensorboard", *run(tmp_path, step=20))
    logged = scalars(tmp_path)["train/loss"]
    assert sorted(logged) == list(range(1, 41))
    assert max(logged.values()) < 9


# MLflow


def mlflow_stub(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A stand-in for MLflow with its names, limits and errors; the calls that it got."""
    calls: dict[str, Any] = {"metrics": [], "params": {}, "status": []}

    class MlflowException(Exception):  # noqa: N818
        pass

    class Client:
        def __init__(self, tracking_uri: str) -> None:
            calls["uri"] = tracking_uri

        def get_experiment_by_name(self, name: str) -> None:
            return None

        def create_experiment(self, name: str, artifact_location: str | None) -> str:
            calls["artifacts"] = artifact_location
            return "1"

        def create_run(self, experiment_id: str, run_name: str) -> Any:
            calls["status"].append(f"CREATED {run_name}")
            return SimpleNamespace(info=SimpleNamespace(run_id="r1"))

        def update_run(self, run_id: str, status: str) -> None:
            calls["status"].append(f"{run_id} {status}")

        def log_batch(self, run_id: str, metrics: Any = (), params: Any = ()) -> None:
            if "down" in calls:
                raise MlflowException("API request failed\nwith a long story")
            assert run_id == "r1"
            assert len(metrics) <= 1000
            assert len(params) <= 100
            calls["metrics"] += metrics
            calls["params"] |= dict(params)

        def set_terminated(self, run_id: str, status: str) -> None:
            calls["status"].append(status)

    mlflow, entities, exceptions = (
        ModuleType(name) for name in ("mlflow", "mlflow.entities", "mlflow.exceptions")
    )
    vars(mlflow)["MlflowClient"] = Client
    vars(entities).update(
        Metric=lambda key, value, timestamp, step: (key, step, value),
        Param=lambda key, value: (key, value),
    )
    vars(exceptions)["MlflowException"] = MlflowException
    for module in (mlflow, entities, exceptions):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return calls


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    # setenv first, so that what a tracker sets is undone after the test as well.
    for name in (
        "MLFLOW_TRACKING_URI", "MLFLOW_DISABLE_TELEMETRY", "MLFLOW_HTTP_REQUEST_MAX_RETRIES",
        "MLFLOW_HTTP_REQUEST_TIMEOUT", "WANDB_MODE", "WANDB_ERROR_REPORTING",
    ):  # fmt: skip
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_mlflow_is_told_all_and_stays_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = mlflow_stub(monkeypatch)
    track("mlflow", *run(tmp_path))
    assert calls["uri"] == f"sqlite:///{tmp_path}/mlflow.db"
    assert calls["artifacts"] == f"file://{tmp_path}/artifacts"
    assert calls["params"]["shape.layers"] == "2"
    assert calls["status"] == ["CREATED support", "FINISHED"]
    losses = {step: value for key, step, value in calls["metrics"] if key == "train/loss"}
    assert losses == {n: 2 * math.exp(-n / 20) for n in range(1, 41)}
    assert ("evaluation/accuracy", 40, 0.9) in calls["metrics"]


def test_mlflow_goes_on_with_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = mlflow_stub(monkeypatch)
    track("mlflow", started(tmp_path), taken(1), RunEnded("interrupted", 1, {}))
    track("mlflow", *run(tmp_path, step=1))
    assert calls["status"] == ["CREATED support", "KILLED", "r1 RUNNING", "FINISHED"]


def test_mlflow_takes_the_server_that_was_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    calls = mlflow_stub(monkeypatch)
    track("mlflow", started(tmp_path))
    assert (calls["uri"], calls["artifacts"]) == ("http://127.0.0.1:9", None)


def test_an_error_of_the_library_is_one_that_listeners_bear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = mlflow_stub(monkeypatch)
    (tracker,) = make_trackers(["mlflow"])
    tracker(started(tmp_path))
    tracker(taken(1))
    calls["down"] = True
    with pytest.raises(ConnectionError, match="API request failed"):
        tracker(RunEnded("finished", 1, {}))


@pytest.mark.slow
def test_mlflow_itself_reads_every_figure_back(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow", reason="pip install 'moli[trackers]'")
    track("mlflow", started(tmp_path), taken(1), RunEnded("interrupted", 1, {}))
    track("mlflow", *run(tmp_path, step=1))
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (logged,) = client.search_runs(["1"])
    assert (logged.info.run_name, logged.info.status) == ("support", "FINISHED")
    assert logged.data.params["task"] == "classification"
    history = client.get_metric_history(logged.info.run_id, "train/loss")
    assert {each.step: each.value for each in history} == pytest.approx(
        {n: 2 * math.exp(-n / 20) for n in range(1, 41)}
    )


# Weights & Biases


def wandb_stub(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    calls: dict[str, Any] = {"log": []}
    module = ModuleType("wandb")

    class Run:
        def log(self, data: dict[str, float], step: int) -> None:
            assert not calls["log"] or step >= calls["log"][-1][0]
            calls["log"].append((step, data))

        def finish(self, exit_code: int) -> None:
            calls["exit"] = exit_code

    def init(
        *, project: str, name: str, id: str, resume: str | None, dir: str,  # noqa: A002
        config: dict[str, Any], mode: str, settings: Any,
    ) -> Run:  # fmt: skip
        calls.update(project=project, id=id, resume=resume, dir=dir, config=config, mode=mode)
        return Run()

    vars(module).update(init=init, Settings=SimpleNamespace, Error=type("Error", (Exception,), {}))
    monkeypatch.setitem(sys.modules, "wandb", module)
    return calls


def test_wandb_is_told_all_and_stays_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = wandb_stub(monkeypatch)
    track("wandb", *run(tmp_path))
    assert (calls["mode"], calls["resume"], calls["exit"]) == ("offline", None, 0)
    assert calls["dir"] == str(tmp_path)
    assert calls["config"]["shape"] == {"layers": 2}
    assert [step for step, data in calls["log"] if "train/loss" in data] == list(range(1, 41))
    assert (40, {"evaluation/accuracy": 0.9, "evaluation/loss": 1.5}) in calls["log"]


def test_wandb_goes_online_where_that_was_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    calls = wandb_stub(monkeypatch)
    track("wandb", started(tmp_path), RunEnded("failed", 0, {}))
    first = calls["id"]
    assert (calls["mode"], calls["resume"], calls["exit"]) == ("online", "allow", 1)
    track("wandb", started(tmp_path, step=1))
    assert calls["id"] == first  # so that it goes on with the same run


@pytest.mark.slow
def test_wandb_itself_keeps_a_run_in_the_folder(tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="pip install 'moli[trackers]'")
    track("wandb", *run(tmp_path))
    (kept,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    deadline = time.monotonic() + 60  # a process of its own writes it
    while kept.stat().st_size <= 1000 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert kept.stat().st_size > 1000
