"""An engine in a thread of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

_LEAVES = """
from moli.models.backend import load_base_model
from moli.records.generation import Request, Sampling

base = load_base_model("builtin:starter")
ids = base.tokenizer("The sea was")["input_ids"]
for _ in range(8):
    sampling = Sampling(max_tokens=2000, ignore_eos=True)
    base.backend.submit(Request(ids, sampling), lambda delta: None)
while not base.backend.running_requests:
    pass
print("leaving")
"""


@pytest.mark.slow
def test_a_process_that_ends_amid_answers_ends_in_order() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LEAVES], capture_output=True, text=True, timeout=120
    )
    assert "leaving" in done.stdout
    assert done.returncode == 0, done.stderr[-2000:]
