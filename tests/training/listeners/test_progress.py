"""The progress line: one line that fits, or plain lines when they are due."""

from __future__ import annotations

import io
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from training.listeners.runs import evaluated, run, started, taken

from moli.records.training import Evaluated, Event, RunEnded
from moli.training.listeners.progress import ProgressLine


class Screen:
    """A console, a clock, and what was shown."""

    def __init__(self, width: int | None = None) -> None:
        self.now, self.out = 0.0, io.StringIO()
        self.console = Console(
            file=self.out, width=width, force_terminal=bool(width), color_system=None,
            markup=False, highlight=False, _environ={"TERM": "xterm"},
        )  # fmt: skip
        self.progress = ProgressLine(self.console, lambda: self.now)

    def receive(self, *events: Event, wait: float = 0.0) -> None:
        for event in events:
            self.progress(event)
            self.now += wait

    @property
    def lines(self) -> list[str]:
        return self.out.getvalue().splitlines()

    @property
    def drawn(self) -> list[str]:
        """Each state of the live line."""
        states = re.split(r"\r|\n", self.out.getvalue())
        return [text for each in states if (text := re.sub(r"\x1b\[[?\d]*[A-Za-z]", "", each))]


def test_plain_lines_come_at_their_percentages(tmp_path: Path) -> None:
    screen = Screen()
    screen.receive(*run(tmp_path, steps=1000, every=10_000))
    percents = [int(found[1]) for line in screen.lines if (found := re.search(r"\((\d+)%\)", line))]
    assert percents == [1, 2, 5, *range(10, 101, 10)]
    assert screen.lines[0] == "support: training for 1,000 steps"
    assert screen.lines[-1] == "support: finished after step 1,000 of 1,000, in 4 min 10 s"


def test_a_plain_line_comes_after_thirty_seconds(tmp_path: Path) -> None:
    screen = Screen()
    screen.receive(started(tmp_path, steps=10**6), *(taken(n) for n in range(1, 11)), wait=10.0)
    assert [re.search(r"step (\d+)/", line)[1] for line in screen.lines[1:]] == ["3", "6", "9"]  # type: ignore[index]


def test_the_figures_are_those_of_the_steps(tmp_path: Path) -> None:
    screen = Screen()
    screen.receive(
        started(tmp_path, steps=100),
        *(taken(n, loss=1.25) for n in range(1, 51)),
        evaluated(50, f1=0.875, loss=9.0),
        *(taken(n, loss=1.25) for n in range(51, 61)),
    )
    # 40 steps of 0.25 s and of 2 s of evaluation for each 60 steps: 10 + 1.33; 15 + 2 are gone.
    assert screen.lines[-1] == (
        "support: step 60/100 (60%), loss 1.25, 11 s left of 28 s, f1 0.875, "
        "2,000 tokens/s, 32 examples/s"
    )
    assert "support: evaluated at step 50: f1 0.875, loss 9, the best so far" in screen.lines


def test_a_resumed_run_says_so_and_goes_on_from_there(tmp_path: Path) -> None:
    screen = Screen()
    screen.receive(*run(tmp_path, step=20, every=100))
    assert screen.lines[0] == "support: resumed after step 20 of 40"
    assert "step 24/40 (60%)" in screen.lines[1]


def test_a_loss_that_is_no_number_is_seen(tmp_path: Path) -> None:
    screen = Screen()
    screen.receive(started(tmp_path, steps=2), taken(1), taken(2, loss=math.nan))
    assert "loss not a number" in screen.lines[-1]


@pytest.mark.parametrize("status", ["finished", "stopped_early", "interrupted", "failed"])
def test_each_end_is_told(tmp_path: Path, status: str) -> None:
    screen = Screen()
    screen.receive(started(tmp_path), RunEnded(status, 7, {}))  # type: ignore[arg-type]
    assert status.split("_")[0] in screen.lines[-1]
    assert "after step 7 of 40" in screen.lines[-1]


@pytest.mark.slow
@pytest.mark.parametrize("width", [200, 100, 80, 60, 40, 20])
def test_the_live_line_is_one_line_at_any_width(tmp_path: Path, width: int) -> None:
    screen = Screen(width)
    screen.receive(*run(tmp_path, steps=100, every=10), wait=0.5)
    *live, last = screen.drawn
    assert len(live) > 50
    assert all(len(each) <= width for each in live)
    assert any("50/100" in each for each in live)
    if width >= 80:
        assert any("loss" in each and "left of" in each for each in live)
    if width == 200:
        assert any("tokens/s" in each and "examples/s" in each for each in live)
    assert last.startswith("support: finished") or width < 60


def test_the_live_line_is_redrawn_ten_times_a_second_at_most(tmp_path: Path) -> None:
    screen = Screen(100)
    screen.receive(started(tmp_path, steps=10**6), *(taken(n) for n in range(1, 1001)), wait=0.01)
    assert 90 <= len(screen.drawn) <= 110
    screen.receive(RunEnded("failed", 1000, {}))


def test_the_terminal_is_given_back(tmp_path: Path) -> None:
    before = sys.stdout, sys.stderr
    screen = Screen(80)
    screen.receive(*run(tmp_path))
    assert (sys.stdout, sys.stderr) == before
    assert screen.out.getvalue().rindex("\x1b[?25h") > screen.out.getvalue().rindex("\x1b[?25l")


@pytest.mark.parametrize("width", [None, 100])
def test_a_name_cannot_work_the_terminal(tmp_path: Path, width: int | None) -> None:
    screen = Screen(width)
    screen.receive(
        started(tmp_path, run="a\x1b]0;title\x07[bold]b"), taken(1, seconds=1.0), wait=1.0
    )
    screen.receive(evaluated(1, **{"\x1b[2Jf1": 0.5}), RunEnded("finished", 1, {}))
    assert "\x1b]0" not in screen.out.getvalue()
    assert "\x07" not in screen.out.getvalue()
    assert "\x1b[2Jf1" not in screen.out.getvalue()
    assert "[bold]b" in screen.out.getvalue()


@pytest.mark.slow
def test_a_reader_that_goes_away_does_not_end_the_training(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from training.listeners.runs import run
from moli.training.listeners import Listeners
from moli.training.listeners.event_log import EventLog
from moli.training.listeners.progress import ProgressLine
listeners = Listeners([ProgressLine(), EventLog()])
for event in run(Path(sys.argv[1]), steps=3000):
    listeners(event)
print("trained")
"""
    tests = str(Path(__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={"PYTHONPATH": tests}, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stderr.close()
        assert process.stdout.read() == "trained\n"


@pytest.mark.parametrize("width", [None, 120])
def test_rewards_of_steps_and_of_evaluations_have_names_of_their_own(
    tmp_path: Path, width: int | None
) -> None:
    screen = Screen(width)
    held_out = {"reward": 0.25, "reward_error": 0.1}
    screen.receive(
        started(tmp_path, steps=10),
        Evaluated(0, held_out, best=True, seconds=1.0),
        *(taken(n, metrics={"reward": 0.75, "kl": 2.0}) for n in range(1, 11)),
        wait=10.0,
    )
    line = screen.drawn[-1] if width else screen.lines[-1]
    found = re.findall(r"(?:held-out )?reward [\d.]+", line)
    assert found == ["reward 0.75", "held-out reward 0.25"]
    assert "loss" not in line
