"""An engine in a thread of its own, used by any number of other threads."""

from __future__ import annotations

import atexit
import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from moli.models.engine.engine import Engine
from moli.models.engine.sequence import Sequence
from moli.models.weights.lora import read_adapter
from moli.records.generation import Delta, DeltaCallback, FinishReason, Request

T = TypeVar("T")
_log = logging.getLogger(__name__)


class EngineWorker:
    """A backend, which answers requests from any thread, by an engine in this process.

    A thread of its own steps the engine while there are requests.

    Callbacks are called in that thread and should be quick.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._wake = threading.Event()
        self._calls: deque[Callable[[], None]] = deque()  # to be run between two steps
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()
        # A thread still in a step when the interpreter ends takes the process down with it.
        atexit.register(self.close)

    @property
    def waiting_requests(self) -> int:
        """Number of submitted requests that no step has started yet."""
        return self._engine.waiting_requests

    @property
    def running_requests(self) -> int:
        """Number of submitted requests whose prompts are being read or that are being answered."""
        return self._engine.running_requests

    def submit(self, request: Request, on_delta: DeltaCallback) -> Sequence:
        """Have a request answered; `on_delta` is called as it proceeds.

        Raises:
            InputError: the request cannot be answered.
        """
        sequence = self._engine.submit(request, _log_errors(on_delta))
        self._wake.set()
        return sequence

    def add_adapter(self, name: str, folder: Path) -> None:
        """Make a LoRA adapter available, so that requests can name it.

        Args:
            name: name derived from the adapter's content: other content never has the same name.
            folder: folder with the adapter in PEFT's format.

        Raises:
            ModelError: the adapter cannot be read, is of a kind that the engine does not compute
                (not LoRA, or with DoRA, biases or fully trained layers), or was made for another
                base.
        """
        adapter = read_adapter(folder, name, self._engine.runner.dtype)
        self.run_between_steps(lambda engine: engine.add_adapter(adapter))

    def run_between_steps(self, function: Callable[[Engine], T]) -> T:
        """Call a function with the engine between two steps, and wait for its result."""
        future: Future[T] = Future()

        def run() -> None:
            """Call the function and pass on its result or its error."""
            try:
                future.set_result(function(self._engine))
            except Exception as error:  # noqa: BLE001 - it is raised in the caller's thread
                future.set_exception(error)

        self._calls.append(run)
        self._wake.set()
        return future.result()

    def close(self) -> None:
        """Stop; requests in progress end as cancelled."""
        atexit.unregister(self.close)
        self._closed = True
        self._wake.set()
        self._thread.join()

    def _work(self) -> None:
        """Step until the worker is closed. Runs in the worker's thread."""
        while not self._closed:
            self._wake.clear()
            while self._calls:
                self._calls.popleft()()
            try:
                worked = self._engine.step()
            except Exception:  # noqa: BLE001 - logged; its requests end, and others are served
                _log.exception("a step of the engine failed")
                self._abort("failed")
                continue
            if not worked and not self._calls:
                self._wake.wait()
        self._abort("cancelled")

    def _abort(self, reason: FinishReason) -> None:
        """End all requests; a failure while doing so does not end this thread."""
        try:
            self._engine.abort(reason)
        except Exception:  # noqa: BLE001 - logged
            _log.exception("the engine could not end its rows")


def _log_errors(on_delta: DeltaCallback) -> DeltaCallback:
    """A callback whose errors are logged, so that they do not affect other requests."""

    def guarded(delta: Delta) -> None:
        """Call `on_delta`, and log an error that it raises."""
        try:
            on_delta(delta)
        except Exception:  # noqa: BLE001 - logged; the others of the batch go on
            _log.exception("a receiver of an answer failed")

    return guarded
