"""The examples of asking, serving and tools, run as a newcomer runs them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from samples import clean_environment

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def run(name: str, folder: Path, *options: str) -> str:
    """What an example prints, which has ten minutes for it."""
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / name, *options],
        cwd=folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_documents_are_asked(tmp_path: Path) -> None:
    printed = run("ask.py", tmp_path)
    assert '[backup.md, Backups] "Backups are kept for 35 days."' in printed
    assert '"Receipts are handed in within 30 days of a trip."' in printed
    assert '[充电.txt] "充满电需要两小时。"' in printed
    assert "Your documents do not answer this question." in printed
    assert "unchanged: backup.md" in run("ask.py", tmp_path)


def test_a_server_is_talked_to(tmp_path: Path) -> None:
    printed = run("serve.py", tmp_path)
    assert "models: builtin:starter" in printed
    assert re.search(r"^answer: \S.{40}", printed, re.MULTILINE | re.DOTALL)
    assert re.search(r"^by an expression: (yes|no)$", printed, re.MULTILINE)
    similarity = re.search(r"'the ocean': (\d\.\d+)", printed)
    assert similarity and 0.5 < float(similarity[1]) < 1


def test_a_function_is_called_and_its_result_given_back(tmp_path: Path) -> None:
    printed = run("tools.py", tmp_path)
    call = re.search(r'^call weather\(\{"city": ?"(\w+)"\}\) -> (.*)$', printed, re.MULTILINE)
    weather = {"Oslo": "rain, 4 °C", "Rome": "sun, 19 °C", "Cairo": "sun, 31 °C"}
    assert call and weather[call[1]] == call[2]
    assert re.search(r"^answer:\s*\S", printed, re.MULTILINE)


def test_a_model_learns_from_a_reward(tmp_path: Path) -> None:
    printed = run("ppo.py", tmp_path, "--steps", "20")
    rewards = [
        float(each) for each in re.findall(r"^step \d+: reward (\S+),", printed, re.MULTILINE)
    ]
    assert len(rewards) == 20 and sum(rewards[-5:]) > sum(rewards[:5])
    assert printed.count("Once upon a time there was ...") == 2  # before and after
