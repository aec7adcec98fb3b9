"""The plot of rewards over divergences."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from training.listeners.runs import started, taken

from moli.alignment.frontier import frontier_of, write_frontier
from moli.records.errors import InputError
from moli.training.listeners.event_log import EventLog


def test_the_steps_of_runs_are_read_and_drawn(tmp_path: Path) -> None:
    log = EventLog()
    log(started(tmp_path))
    for step in (1, 2, 3):
        log(taken(step, metrics={"kl": step / 2, "reward": float(step)}))
    points = frontier_of(tmp_path)
    assert points == [(0.5, 1.0), (1.0, 2.0), (1.5, 3.0)]
    write_frontier({"ppo": points, "rloo": [(0.2, 0.5)]}, tmp_path / "frontier.png")
    assert Image.open(tmp_path / "frontier.png").width > 500
    write_frontier({"ppo": points}, tmp_path / "frontier.svg")
    assert "nats per answer" in (tmp_path / "frontier.svg").read_text()
    with pytest.raises(InputError, match="0 runs"):
        write_frontier({}, tmp_path / "frontier.png")


def test_a_run_that_learned_from_no_reward_has_no_frontier(tmp_path: Path) -> None:
    log = EventLog()
    log(started(tmp_path))
    log(taken(1))
    with pytest.raises(InputError, match="learned from no reward"):
        frontier_of(tmp_path)
