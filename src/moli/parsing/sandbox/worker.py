"""The process that parses: requests come on stdin, replies go to stdout, and nothing is kept.

Started by `Sandbox` as `python -m moli.parsing.sandbox.worker PARENT`. It dies with its
parent, and an alarm ends it even while a parser hangs and nobody is left to end it.
"""

import contextlib
import os
import signal
import sys
from typing import IO

from moli.parsing.limits import Limits
from moli.parsing.parse import parse_file, read_recording
from moli.parsing.processes import die_with_parent
from moli.parsing.sandbox.messages import Message, document_message, error_message, receive, send
from moli.records.errors import DocumentError
from moli.records.file_names import file_name_text, path_of_text

# The sandbox enforces the time limit; the alarm is for when the sandbox has ended.
_GRACE_SECONDS = 10


def main() -> None:
    """Answer requests until stdin ends."""
    die_with_parent(int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    # Whatever a library prints must not end up between the messages.
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    is_memory_limited = False
    while (request := receive(requests)) is not None:
        limits = Limits(**request["limits"])
        if not is_memory_limited:
            _limit_memory(limits.memory_bytes)
            is_memory_limited = True
        send(replies, _reply_to(request, limits, replies))
        signal.alarm(0)


def _reply_to(request: Message, limits: Limits, replies: IO[bytes]) -> Message:
    """The reply to a request: a document, the samples of a recording, or an error.

    OCR of pages is announced before.
    """
    signal.setitimer(signal.ITIMER_REAL, limits.seconds + _GRACE_SECONDS)
    path = path_of_text(request["path"])
    name = file_name_text(path.name)

    def on_ocr() -> None:
        """Extend the alarm, and tell the sandbox to extend its time limit."""
        remaining, _ = signal.getitimer(signal.ITIMER_REAL)
        signal.setitimer(signal.ITIMER_REAL, remaining + limits.page_seconds)
        send(replies, {"ocr": 1})

    try:
        if rate := request.get("sampling_rate"):
            return {"samples": read_recording(path, rate, limits).tobytes()}
        return document_message(parse_file(path, limits, on_ocr=on_ocr))
    except DocumentError as error:
        return error_message(error)
    except MemoryError:
        return error_message(DocumentError("memory", "", where=name))
    except Exception as error:  # noqa: BLE001 - every failure must become a report
        what = f"the parser failed ({type(error).__name__}: {error})"
        fix = "Open it in the program that made it and save it again."
        return error_message(DocumentError("broken", what[:500], where=name, fix=fix))


def _limit_memory(limit: int) -> None:
    """Limit the address space of this process, where the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    with contextlib.suppress(ValueError, OSError):  # A lower limit is in force already.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    main()
