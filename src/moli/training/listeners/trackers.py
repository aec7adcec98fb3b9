"""A run's metrics in TensorBoard, MLflow or Weights & Biases, if a recipe names them.

Nothing leaves this machine unless a person has chosen a server: by `MLFLOW_TRACKING_URI`, or by
`WANDB_MODE=online`. Everything else is kept in the run's folder.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
import math
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

from moli.records.errors import InputError
from moli.records.training import COMPLETE, Evaluated, Event, RunStarted, StepTaken
from moli.training.listeners import Listener
from moli.training.listeners.event_log import to_json_value
from moli.training.listeners.formatting import flatten_values
from moli.training.listeners.statistics import RecentRates

_PROJECT = "moli"


class TrackerBackend(Protocol):
    """An experiment tracker that receives the metrics of one run at a time.

    Attributes:
        errors: exceptions that the tracker's library raises besides the built-in ones.
    """

    errors: tuple[type[Exception], ...]

    def start(self, started: RunStarted) -> None: ...
    def log(self, step: int, metrics: Mapping[str, float]) -> None: ...
    def flush(self) -> None: ...
    def end(self, status: str) -> None: ...


class Tracker:
    """A listener that reports a run to a backend.

    Attributes:
        name: the tracker's name in recipes.
    """

    def __init__(self, name: str, backend: TrackerBackend) -> None:
        self.name, self._backend = name, backend
        self._rates = RecentRates(0)
        self._is_open = False

    def __call__(self, event: Event) -> None:
        try:
            self._report(event)
        except self._backend.errors as error:
            raise ConnectionError(str(error)) from error

    def _report(self, event: Event) -> None:
        """Pass the event on to the backend; events before a run's start are dropped."""
        backend = self._backend
        if isinstance(event, RunStarted):
            if self._is_open:
                backend.end("interrupted")
            self._rates = RecentRates(event.steps)
            recipe = json.loads(
                _replace_surrogates(json.dumps(to_json_value(event.recipe), ensure_ascii=False))
            )
            backend.start(replace(event, run=_replace_surrogates(event.run), recipe=recipe))
            self._is_open = True
        elif not self._is_open:
            return
        elif isinstance(event, StepTaken):
            self._rates.add(event)
            backend.log(event.step, _step_metrics(event, self._rates))
        elif isinstance(event, Evaluated):
            metrics = {
                f"evaluation/{_replace_surrogates(name)}": value
                for name, value in event.metrics.items()
            }
            backend.log(event.step, metrics)
            backend.flush()
        else:
            backend.end(event.status)
            self._is_open = False


def _replace_surrogates(text: str) -> str:
    """A text that each of the libraries can encode: a lone surrogate becomes '?'."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _step_metrics(step: StepTaken, rates: RecentRates) -> dict[str, float]:
    """A step's metrics by their names in trackers."""
    metrics = {
        "train/loss": step.loss,
        "train/learning_rate": step.learning_rate,
        "train/gradient_norm": step.gradient_norm,
        "train/examples": float(step.examples),
    }
    rate = rates.tokens_per_second
    return metrics if math.isnan(rate) else metrics | {"train/tokens_per_second": rate}


def make_trackers(names: Sequence[str]) -> list[Listener]:
    """Make the trackers that a recipe names: `tensorboard`, `mlflow`, `wandb`.

    Raises:
        InputError: a name is unknown, or its package is not installed.
    """
    for name in names:
        if name not in _BACKENDS:
            raise InputError(
                f"unknown tracker '{name}'", where="trackers", fix=f"Known: {', '.join(_BACKENDS)}."
            )
    return [Tracker(name, _BACKENDS[name]()) for name in dict.fromkeys(names)]


def _import_library(name: str, package: str) -> Any:
    """Import a module.

    Raises:
        InputError: its package is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"{package} is not installed ({error})",
            where="trackers",
            fix="Run: pip install 'moli[trackers]'",
        ) from error


class TensorBoard:
    """Event files in `tensorboard/` in the run's folder."""

    errors: tuple[type[Exception], ...] = ()

    def __init__(self) -> None:
        self._tensorboard = _import_library("torch.utils.tensorboard", "tensorboard")
        self._writer: Any = None

    def start(self, started: RunStarted) -> None:
        folder = Path(started.folder) / "tensorboard"
        # Steps that an earlier attempt wrote after this one are hidden.
        after = started.step + 1 if started.step else 0
        self._writer = self._tensorboard.SummaryWriter(str(folder), purge_step=after, flush_secs=30)
        values = flatten_values(started.recipe)
        recipe = "\n".join(f"    {name}: {value}" for name, value in values.items())
        self._writer.add_text("recipe", recipe, started.step)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        self._writer.flush()

    def end(self, status: str) -> None:  # noqa: ARG002
        self._writer.close()


class MLflow:
    """A run in the store that `MLFLOW_TRACKING_URI` names, else in `mlflow.db` in the folder."""

    _STATUS: ClassVar = {"interrupted": "KILLED", "failed": "FAILED"}
    _FLUSH_SECONDS = 10.0  # metrics are gathered for so long, since each call is a transaction
    _PARAMETERS_PER_CALL = 100  # MLflow's limit
    _METRICS_PER_CALL = 1000  # MLflow's limit
    _PARAMETER_LENGTH = 500  # characters; MLflow's limit

    def __init__(self) -> None:
        # MLflow reports its use to its makers by default. And it would wait minutes for
        # a server that is down, while the training stands still.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
        self._mlflow = _import_library("mlflow", "mlflow")
        self._entities = _import_library("mlflow.entities", "mlflow")
        self.errors: tuple[type[Exception], ...] = (
            _import_library("mlflow.exceptions", "mlflow").MlflowException,
        )
        self._unsent: list[Any] = []
        self._sent_at = time.monotonic()

    def start(self, started: RunStarted) -> None:
        folder = Path(started.folder)
        server = os.environ.get("MLFLOW_TRACKING_URI")
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        self._client = self._mlflow.MlflowClient(
            tracking_uri=server or f"sqlite:///{folder.absolute() / 'mlflow.db'}"
        )
        run_file = folder / "mlflow.json"
        self._run = self._reopen_run(run_file) if started.step else None
        if self._run is None:
            artifacts = None if server else (folder.absolute() / "artifacts").as_uri()
            experiment = self._find_or_create_experiment(artifacts)
            run = self._client.create_run(experiment, run_name=started.run)
            self._run = run.info.run_id
            run_file.write_text(json.dumps({"run": self._run}), encoding="utf-8")
            self._log_parameters(started.recipe)

    def _log_parameters(self, recipe: Mapping[str, Any]) -> None:
        values = {_mlflow_key(name): value for name, value in flatten_values(recipe).items()}
        parameters = [
            self._entities.Param(name, value[: self._PARAMETER_LENGTH])
            for name, value in values.items()
        ]
        for first in range(0, len(parameters), self._PARAMETERS_PER_CALL):
            batch = parameters[first : first + self._PARAMETERS_PER_CALL]
            self._client.log_batch(self._run, params=batch)

    def _find_or_create_experiment(self, artifacts: str | None) -> str:
        """The id of Moli's experiment; `artifacts` is the URI of its files if it is new."""
        experiment = self._client.get_experiment_by_name(_PROJECT)
        if experiment is not None:
            return str(experiment.experiment_id)
        return str(self._client.create_experiment(_PROJECT, artifact_location=artifacts))

    def _reopen_run(self, run_file: Path) -> str | None:
        """Reopen the MLflow run of an earlier attempt, and return its id; None if it is gone."""
        try:
            run = str(json.loads(run_file.read_text(encoding="utf-8"))["run"])
            self._client.update_run(run, status="RUNNING")
        except (OSError, ValueError, KeyError):
            return None
        except self.errors:
            return None
        return run

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        self._unsent += [
            self._entities.Metric(_mlflow_key(name), value, now, step)
            for name, value in metrics.items()
        ]
        is_due = time.monotonic() - self._sent_at >= self._FLUSH_SECONDS
        if len(self._unsent) >= self._METRICS_PER_CALL // 2 or is_due:
            self.flush()

    def flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        for first in range(0, len(unsent), self._METRICS_PER_CALL):
            batch = unsent[first : first + self._METRICS_PER_CALL]
            self._client.log_batch(self._run, metrics=batch)
        self._sent_at = time.monotonic()

    def end(self, status: str) -> None:
        self.flush()
        self._client.set_terminated(self._run, self._STATUS.get(status, "FINISHED"))


class WandB:
    """A run in `wandb/` in the run's folder, to be sent by `wandb sync`; `WANDB_MODE` overrules."""

    def __init__(self) -> None:
        # By default its errors go to its makers, offline as well.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        self._wandb = _import_library("wandb", "wandb")
        self.errors: tuple[type[Exception], ...] = (self._wandb.Error,)

    def start(self, started: RunStarted) -> None:
        mode = os.environ.get("WANDB_MODE", "offline")
        folder = Path(started.folder).absolute()
        self._run = self._wandb.init(
            project=_PROJECT,
            name=started.run,
            id=hashlib.sha256(f"{folder}".encode()).hexdigest()[:16],
            resume="allow" if mode == "online" else None,
            dir=str(folder),
            config=dict(started.recipe),
            mode=mode,
            settings=self._wandb.Settings(silent=True, console="off", disable_git=True),
        )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=step)

    def flush(self) -> None:
        """Do nothing: wandb has a process of its own that sends metrics."""

    def end(self, status: str) -> None:
        self._run.finish(exit_code=0 if status in COMPLETE else 1)


def _mlflow_key(name: str) -> str:
    """A name that MLflow accepts: letters and digits of any script, and _ - . / and spaces."""
    return re.sub(r"[^\w\-. /]", "_", name).strip("/. ") or "_"


_BACKENDS: Mapping[str, Callable[[], TrackerBackend]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": WandB,
}
