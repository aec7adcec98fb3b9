"""Children that die with their parent, on systems that can promise it."""

import ctypes
import functools
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


@functools.cache
def _prctl() -> Callable[..., int] | None:
    """Loaded before a fork, since little is safe to do between fork and exec."""
    if sys.platform != "linux":
        return None
    function: Callable[..., int] = ctypes.CDLL(None).prctl
    return function


def die_with(parent: int) -> None:
    """Have the kernel kill this process as soon as the thread that started it ends."""
    prctl = _prctl()
    if prctl is None:
        return
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # It died before the kernel knew.
        os._exit(1)


def tied_to_this() -> Callable[[], None]:
    """A `preexec_fn` that ties a child to this process."""
    _prctl()
    return functools.partial(die_with, os.getpid())
