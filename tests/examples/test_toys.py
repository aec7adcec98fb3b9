from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from samples import clean_environment

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_characters_answer_in_their_own_manner_at_once(tmp_path: Path) -> None:
    words = [sys.executable, ROOT / "examples" / "toys.py", "--characters", "2"]
    environment = clean_environment()
    for again in range(2):  # those that are there are not trained again
        done = subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stderr
        assert len(re.findall("has learnt", done.stdout)) == (0 if again else 2)
        assert "bear: Grumble, grumble." in done.stdout
        assert "pirate: Ahoy, my lad!" in done.stdout
        told = re.search(r"in its own manner: (\d+) of (\d+)", done.stdout)
        assert told and int(told[2]) == 16 and int(told[1]) >= 15
