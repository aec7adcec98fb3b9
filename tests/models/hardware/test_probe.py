"""The machine is tried in a moment, whatever it cannot do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from moli.models.hardware import probe


def test_a_type_that_the_machine_only_imitates_is_not_tried_at_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    multiplied: list[tuple[torch.dtype, int]] = []
    clock = 0.0

    def mm(left: torch.Tensor, right: torch.Tensor) -> None:
        """A gigaflop a second in bfloat16, a hundred in float32."""
        nonlocal clock
        rate = 1e9 if left.dtype == torch.bfloat16 else 1e11
        multiplied.append((left.dtype, len(left)))
        clock += 2 * left.numel() * right.shape[1] / rate

    monkeypatch.setattr("torch.mm", mm)
    monkeypatch.setattr("time.perf_counter", lambda: clock)
    machine = probe.probe()
    assert machine.precision == "fp32"
    assert machine.gflops == pytest.approx({"bf16": 1.0, "fp32": 100.0})
    assert (torch.bfloat16, 4096) not in multiplied and (torch.float32, 4096) in multiplied
    assert clock < 0.5


def test_a_container_s_share_of_the_cores_is_what_there_is(tmp_path: Path) -> None:
    there = len(os.sched_getaffinity(0))
    quota = tmp_path / "cpu.max"
    for text, cores in (
        ("max 100000", there),
        ("150000 100000", min(2, there)),
        ("50000 100000", 1),
    ):
        quota.write_text(f"{text}\n")
        assert probe.available_cores(quota) == cores
    assert probe.available_cores(tmp_path / "none") == there
