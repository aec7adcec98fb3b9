"""Child processes that the kernel ends together with their parent (on Linux)."""

import ctypes
import functools
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


@functools.cache
def _prctl() -> Callable[..., int] | None:
    """The system call `prctl`, or None where there is none.

    Loaded before a fork, since little is safe to do between fork and exec.
    """
    if sys.platform != "linux":
        return None
    function: Callable[..., int] = ctypes.CDLL(None).prctl
    return function


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process once the thread of `parent` that started it ends."""
    prctl = _prctl()
    if prctl is None:
        return
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # It died before the kernel knew.
        os._exit(1)


def kill_child_with_parent() -> Callable[[], None]:
    """A `preexec_fn` for `subprocess` that has the child killed when this process ends."""
    _prctl()
    return functools.partial(die_with_parent, os.getpid())
