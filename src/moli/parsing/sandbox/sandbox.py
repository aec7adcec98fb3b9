"""Parsing in a child process, so that a crash, a hang or a memory bomb costs one file only."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import select
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self, cast

from moli.parsing.limits import DEFAULT_LIMITS, Limits
from moli.parsing.sandbox import messages
from moli.records.documents import ParsedDocument
from moli.records.errors import DocumentError
from moli.records.file_names import file_name_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Address space is limited, and glibc and OpenBLAS reserve much of it for every thread.
_FEW_THREADS = {"MALLOC_ARENA_MAX": "2", "OPENBLAS_NUM_THREADS": "1"}


class Sandbox:
    """A child process that parses one file after another; started when first needed.

    After a crash, a time-out or a memory failure the child is replaced. One thread may use
    a sandbox at a time; for parallel parsing give each thread its own.

        with Sandbox() as sandbox:
            document = sandbox.parse(Path("report.pdf"))
    """

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self.limits = limits
        self._worker: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child and whatever it has started."""
        worker, self._worker = self._worker, None
        if worker is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
        for stream in (worker.stdin, worker.stdout):
            with contextlib.suppress(OSError):
                cast(IO[bytes], stream).close()

    def parse(self, path: Path) -> ParsedDocument:
        """Read a file.

        Raises:
            DocumentError: if it cannot be read, or not within the limits.
        """
        return messages.document_in(self._reply({}, path))

    def read_recording(self, path: Path, sampling_rate: int) -> NDArray[np.float32]:
        """Read the samples of a recording, [samples].

        Args:
            sampling_rate: samples per second of the result.

        Raises:
            DocumentError: if it cannot be read, or not within the limits.
        """
        import numpy as np

        reply = self._reply({"sampling_rate": sampling_rate}, path)
        return np.frombuffer(reply["samples"], np.float32)

    def _reply(self, options: messages.Message, path: Path) -> messages.Message:
        """The child's reply to a request for a file; an error in it is raised."""
        limits = dataclasses.asdict(self.limits)
        request = {"path": file_name_text(path.absolute()), "limits": limits, **options}
        name = file_name_text(path.name)
        try:
            message = self._request(request, name)
            if message.get("error", {}).get("reason") == "memory":
                self.close()  # A process that ran out once may stay fragmented.
                raise _memory_error(name)
            messages.raise_error(message)
            return message
        except BaseException as error:
            if not isinstance(error, DocumentError):
                self.close()  # Interrupted: an answer left in the pipe would be the next file's.
            raise

    def _request(self, request: messages.Message, name: str) -> messages.Message:
        """Send a request to the child and return its last reply; `name` is used in errors."""
        worker = self._running_worker()
        stdin, stdout = cast(IO[bytes], worker.stdin), cast(IO[bytes], worker.stdout)
        try:
            messages.send(stdin, request)
        except BrokenPipeError:
            raise self._crash_error(name) from None
        deadline = time.monotonic() + self.limits.seconds
        while True:
            readable, _, _ = select.select([stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not readable:
                self.close()
                raise DocumentError(
                    "timeout",
                    f"it was not read within {self.limits.seconds:g} s",
                    where=name,
                    fix="Split it into smaller files.",
                )
            message = messages.receive(stdout)
            if message is None:
                raise self._crash_error(name)
            if "ocr" not in message:
                return message
            deadline += self.limits.page_seconds

    def _running_worker(self) -> subprocess.Popen[bytes]:
        """The child, started if there is none."""
        if self._worker is not None and self._worker.poll() is not None:
            self.close()
        if self._worker is None:
            self._worker = _starter_thread().submit(_start_worker).result()
        return self._worker

    def _crash_error(self, name: str) -> DocumentError:
        """The error that the end of the child means for the file that it was reading."""
        worker = cast("subprocess.Popen[bytes]", self._worker)
        peak = 0
        with contextlib.suppress(ChildProcessError):
            _, status, usage = os.wait4(worker.pid, 0)
            worker.returncode = os.waitstatus_to_exitcode(status)
            peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        code = worker.returncode
        self.close()
        # Libraries in C end the process when memory runs out; so does the kernel.
        if code == -signal.SIGKILL or (code and peak > self.limits.memory_bytes // 2):
            return _memory_error(name)
        cause = signal.Signals(-code).name if code and code < 0 else f"exit status {code}"
        return DocumentError(
            "broken",
            f"it crashes the parser ({cause})",
            where=name,
            fix="Open it in the program that made it and save it again.",
        )


def _memory_error(name: str) -> DocumentError:
    """The refusal of the file `name` for lack of memory."""
    return DocumentError(
        "memory", "it needs more memory than is allowed", where=name,
        fix="Split it into smaller files.",
    )  # fmt: skip


@functools.cache
def _starter_thread() -> ThreadPoolExecutor:
    """The thread that starts every child.

    The kernel ties a child to the thread that started it, not to the process; a thread of
    the caller's might end long before the sandbox does.
    """
    return ThreadPoolExecutor(1, thread_name_prefix="parse-sandbox")


def _start_worker() -> subprocess.Popen[bytes]:
    """Start a child in a session of its own."""
    package = str(Path(__file__).resolve().parents[3])
    inherited = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([package, inherited] if inherited else [package])
    return subprocess.Popen(
        [sys.executable, "-m", "moli.parsing.sandbox.worker", str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": path, **_FEW_THREADS},
    )
