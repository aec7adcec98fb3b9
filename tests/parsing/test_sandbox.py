"""One file's crash, hang or hunger must not reach the next, nor outlive the program."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from moli.parsing import Limits, Sandbox, parse_file
from moli.records.errors import DocumentError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs signals")


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.md"
    path.write_text("# Title\n\nA *fine* text.\n\n- one\n- two\n")
    return path


def until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def worker_of(sandbox: Sandbox) -> int:
    assert sandbox._worker is not None
    return sandbox._worker.pid


def test_same_result_as_in_process(good: Path) -> None:
    with Sandbox() as sandbox:
        assert sandbox.parse(good) == parse_file(good)
        first = worker_of(sandbox)
        assert sandbox.parse(good).headings[0].text == "Title"
        assert worker_of(sandbox) == first
    assert until(lambda: not alive(first))


def test_errors_travel(good: Path, tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        with pytest.raises(DocumentError) as caught:
            sandbox.parse(tmp_path / "absent.pdf")
        assert (caught.value.reason, caught.value.where) == ("missing", "absent.pdf")
        assert sandbox.parse(good).text


@pytest.mark.slow
def test_a_hang_ends_at_the_limit(good: Path, hanging: Path) -> None:
    with Sandbox(Limits(seconds=1.0)) as sandbox:
        started = time.monotonic()
        with pytest.raises(DocumentError) as caught:
            sandbox.parse(hanging)
        assert caught.value.reason == "timeout"
        assert time.monotonic() - started < 3
        assert sandbox.parse(good).text


def test_memory_is_bounded(good: Path, tmp_path: Path) -> None:
    large = tmp_path / "large.csv"
    large.write_text("some,words,here\n" * 4_000_000)
    with Sandbox(Limits(memory_bytes=300 << 20)) as sandbox:
        with pytest.raises(DocumentError) as caught:
            sandbox.parse(large)
        assert caught.value.reason == "memory"
        assert sandbox.parse(good).text


@pytest.mark.slow
def test_a_crash_is_reported(good: Path, hanging: Path) -> None:
    # So much memory that the file cannot run out of it before it is crashed.
    with Sandbox(Limits(memory_bytes=64 << 30)) as sandbox:
        sandbox.parse(good)
        crash = threading.Timer(0.3, os.kill, (worker_of(sandbox), signal.SIGSEGV))
        crash.start()
        with pytest.raises(DocumentError, match="SIGSEGV") as caught:
            sandbox.parse(hanging)
        assert caught.value.reason == "broken"
        assert sandbox.parse(good).text


def test_a_worker_lost_between_files_is_replaced(good: Path) -> None:
    with Sandbox() as sandbox:
        sandbox.parse(good)
        lost = worker_of(sandbox)
        os.kill(lost, signal.SIGKILL)
        assert until(lambda: not alive(lost))
        assert sandbox.parse(good).text


def test_the_worker_outlives_the_thread_that_asked_first(good: Path) -> None:
    with Sandbox() as sandbox:
        thread = threading.Thread(target=sandbox.parse, args=(good,))
        thread.start()
        thread.join()
        time.sleep(0.1)
        assert alive(worker_of(sandbox))


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel must tie children to parents")
def test_the_worker_does_not_outlive_a_killed_parent(hanging: Path) -> None:
    program = (
        "import pathlib, sys, threading\n"
        "from moli.parsing import Sandbox\n"
        "sandbox = Sandbox()\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "threading.Thread(target=sandbox.parse, args=(path,), daemon=True).start()\n"
        "while sandbox._worker is None: pass\n"
        "print(sandbox._worker.pid, flush=True)\n"
        "threading.Event().wait()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(hanging)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert alive(worker)
    finally:
        parent.kill()
        parent.wait()
    assert until(lambda: not alive(worker), 5)


@pytest.mark.slow
def test_a_page_that_needs_more_memory_than_is_allowed_is_refused(good: Path) -> None:
    scan = Path(__file__).parent / "scans/receipt.png"
    with Sandbox(Limits(memory_bytes=640 << 20)) as sandbox:
        with pytest.raises(DocumentError) as caught:
            sandbox.parse(scan)
        assert caught.value.reason == "memory"
        assert sandbox.parse(good).text


def test_the_worker_starts_light() -> None:
    """Formats load when a file needs them."""
    heavy = ("lxml", "PIL", "pypdfium2", "selectolax", "markdown_it", "charset_normalizer", "torch",
             "cv2", "openvino", "numpy")  # fmt: skip
    program = (
        "import sys; import moli.parsing.sandbox.worker;"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.strip() == "[]"
