"""A run's figures in TensorBoard, MLflow or Weights & Biases, where a recipe asks for it.

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
from moli.training.listeners.curves import plain
from moli.training.listeners.figures import Pace, flat

_PROJECT = "moli"


class Backend(Protocol):
    """Where figures go.

    Attributes:
        errors: what its library raises besides the built-in errors.
    """

    errors: tuple[type[Exception], ...]

    def start(self, started: RunStarted) -> None: ...
    def log(self, step: int, figures: Mapping[str, float]) -> None: ...
    def flush(self) -> None: ...
    def end(self, status: str) -> None: ...


class Tracker:
    """Reports a run to a backend."""

    def __init__(self, name: str, backend: Backend) -> None:
        self.name, self._backend = name, backend
        self._pace = Pace(0)
        self._open = False

    def __call__(self, event: Event) -> None:
        try:
            self._tell(event)
        except self._backend.errors as error:
            raise ConnectionError(str(error)) from error

    def _tell(self, event: Event) -> None:
        backend = self._backend
        if isinstance(event, RunStarted):
            if self._open:
                backend.end("interrupted")
            self._pace = Pace(event.steps)
            recipe = json.loads(_utf8(json.dumps(plain(event.recipe), ensure_ascii=False)))
            backend.start(replace(event, run=_utf8(event.run), recipe=recipe))
            self._open = True
        elif not self._open:
            return
        elif isinstance(event, StepTaken):
            self._pace.add(event)
            backend.log(event.step, _of_step(event, self._pace))
        elif isinstance(event, Evaluated):
            metrics = {f"evaluation/{_utf8(name)}": value for name, value in event.metrics.items()}
            backend.log(event.step, metrics)
            backend.flush()
        else:
            backend.end(event.status)
            self._open = False


def _utf8(text: str) -> str:
    """A text that each of these libraries can encode: a lone surrogate becomes '?'."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _of_step(taken: StepTaken, pace: Pace) -> dict[str, float]:
    figures = {
        "train/loss": taken.loss,
        "train/learning_rate": taken.learning_rate,
        "train/gradient_norm": taken.gradient_norm,
        "train/examples": float(taken.examples),
    }
    rate = pace.tokens_per_second
    return figures if math.isnan(rate) else figures | {"train/tokens_per_second": rate}


def make_trackers(names: Sequence[str]) -> list[Listener]:
    """Listeners by the names that a recipe gives: `tensorboard`, `mlflow`, `wandb`.

    Raises:
        InputError: a name is unknown, or its package is not installed.
    """
    for name in names:
        if name not in _BACKENDS:
            raise InputError(
                f"unknown tracker '{name}'", where="trackers", fix=f"Known: {', '.join(_BACKENDS)}."
            )
    return [Tracker(name, _BACKENDS[name]()) for name in dict.fromkeys(names)]


def _library(name: str, package: str) -> Any:
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
        self._writers = _library("torch.utils.tensorboard", "tensorboard")
        self._writer: Any = None

    def start(self, started: RunStarted) -> None:
        folder = Path(started.folder) / "tensorboard"
        # What an earlier attempt wrote after this step is hidden.
        after = started.step + 1 if started.step else 0
        self._writer = self._writers.SummaryWriter(str(folder), purge_step=after, flush_secs=30)
        recipe = "\n".join(f"    {name}: {value}" for name, value in flat(started.recipe).items())
        self._writer.add_text("recipe", recipe, started.step)

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        self._writer.flush()

    def end(self, status: str) -> None:  # noqa: ARG002
        self._writer.close()


class MLflow:
    """A run in the store that `MLFLOW_TRACKING_URI` names, else in `mlflow.db` in the folder."""

    _STATUS: ClassVar = {"interrupted": "KILLED", "failed": "FAILED"}
    _PATIENCE = 10.0  # seconds that figures are gathered for, since each call is a transaction
    _FEW = 100  # parameters that MLflow takes at once; of metrics it takes 1,000
    _LONGEST = 500  # characters of a parameter

    def __init__(self) -> None:
        # MLflow reports its use to its makers unless told not to. And it would wait minutes for
        # a server that is down, while the training stands still.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
        self._mlflow = _library("mlflow", "mlflow")
        self._entities = _library("mlflow.entities", "mlflow")
        self.errors: tuple[type[Exception], ...] = (
            _library("mlflow.exceptions", "mlflow").MlflowException,
        )
        self._waiting: list[Any] = []
        self._sent = time.monotonic()

    def start(self, started: RunStarted) -> None:
        folder = Path(started.folder)
        server = os.environ.get("MLFLOW_TRACKING_URI")
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        self._client = self._mlflow.MlflowClient(
            tracking_uri=server or f"sqlite:///{folder.absolute() / 'mlflow.db'}"
        )
        note = folder / "mlflow.json"
        self._run = self._earlier(note) if started.step else None
        if self._run is None:
            artifacts = None if server else (folder.absolute() / "artifacts").as_uri()
            run = self._client.create_run(self._experiment(artifacts), run_name=started.run)
            self._run = run.info.run_id
            note.write_text(json.dumps({"run": self._run}), encoding="utf-8")
            named = {_key(name): value for name, value in flat(started.recipe).items()}
            parameters = [self._entities.Param(n, v[: self._LONGEST]) for n, v in named.items()]
            for first in range(0, len(parameters), self._FEW):
                self._client.log_batch(self._run, params=parameters[first : first + self._FEW])

    def _experiment(self, artifacts: str | None) -> str:
        found = self._client.get_experiment_by_name(_PROJECT)
        if found is not None:
            return str(found.experiment_id)
        return str(self._client.create_experiment(_PROJECT, artifact_location=artifacts))

    def _earlier(self, note: Path) -> str | None:
        """The run that an earlier session reported to, set going again; None if it is not there."""
        try:
            run = str(json.loads(note.read_text(encoding="utf-8"))["run"])
            self._client.update_run(run, status="RUNNING")
        except (OSError, ValueError, KeyError):
            return None
        except self.errors:
            return None
        return run

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        self._waiting += [
            self._entities.Metric(_key(name), value, now, step) for name, value in figures.items()
        ]
        if len(self._waiting) >= 500 or time.monotonic() - self._sent >= self._PATIENCE:
            self.flush()

    def flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for first in range(0, len(waiting), 1000):
            self._client.log_batch(self._run, metrics=waiting[first : first + 1000])
        self._sent = time.monotonic()

    def end(self, status: str) -> None:
        self.flush()
        self._client.set_terminated(self._run, self._STATUS.get(status, "FINISHED"))


class WandB:
    """A run in `wandb/` in the run's folder, to be sent by `wandb sync`; `WANDB_MODE` overrules."""

    def __init__(self) -> None:
        # Its errors go to its makers unless told not to, offline as well.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        self._wandb = _library("wandb", "wandb")
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

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        self._run.log(dict(figures), step=step)

    def flush(self) -> None:
        """It has a process of its own for that."""

    def end(self, status: str) -> None:
        self._run.finish(exit_code=0 if status in COMPLETE else 1)


def _key(name: str) -> str:
    """A name that MLflow takes: letters and digits of any script, and _ - . / and spaces."""
    return re.sub(r"[^\w\-. /]", "_", name).strip("/. ") or "_"


_BACKENDS: Mapping[str, Callable[[], Backend]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": WandB,
}
