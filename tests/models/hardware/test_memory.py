"""The memory of the process does not creep up when tensors are of ever other sizes."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

# Each step keeps every second of its tensors, so that the others leave gaps, and the next asks for
# larger ones. What is kept is told in bytes, and by how much more the process holds than it did.
STEPS = """
import sys, torch
from moli.models.hardware.memory import Heap, _resident_bytes
heap, kept, begun = Heap(), [], _resident_bytes()
for step in range(60):
    tensors = [torch.ones(100_000 + 1_000 * step) for _ in range(40)]
    kept += tensors[::2]
    del tensors
    if sys.argv[1] == "settle":
        heap.trim()
print(sum(each.nbytes for each in kept), _resident_bytes() - begun)
"""


def grown(how: str) -> float:
    """Memory of the process in the end, as a multiple of the memory in use."""
    ran = subprocess.run(
        [sys.executable, "-c", STEPS, how], capture_output=True, text=True, check=True
    )
    used, held = map(int, ran.stdout.split())
    return held / used


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's heap")
def test_gaps_that_nothing_fits_into_are_given_back() -> None:
    assert grown("keep") > 1.8
    assert grown("settle") < 1.4


STARTS = """
import os, sys
from moli.models.hardware.memory import ensure_tight_heap
print(os.getpid(), os.environ.get("GLIBC_TUNABLES"), sys.argv[1:], flush=True)
ensure_tight_heap()
sys.argv.append("another")  # as where a program calls the main function of another
os.environ.pop("GLIBC_TUNABLES")
ensure_tight_heap()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's heap")
def test_a_program_starts_itself_once_more_with_a_tight_heap() -> None:
    arguments_given = ["tune", "a b.yaml", "--json"]
    environment = {key: value for key, value in os.environ.items() if key != "GLIBC_TUNABLES"}
    ran = subprocess.run(
        [sys.executable, "-c", STARTS, *arguments_given],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    first, second = ran.stdout.splitlines()
    process, tunables, arguments = second.split(maxsplit=2)
    assert first == f"{process} None {arguments_given}"  # the same process, with the same arguments
    assert "tcache_count=0" in tunables and arguments == str(arguments_given)
