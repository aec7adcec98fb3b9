from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from samples import clean_environment
from training import small_models

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_classic_recipe_runs_from_data_to_a_model_for_transformers(tmp_path: Path) -> None:
    small_models.write_model(tmp_path / "bert", "bert")
    rows = (
        small_models.write_labelled(tmp_path / "all.jsonl", 60)
        .read_text()
        .splitlines(keepends=True)
    )
    (tmp_path / "train.jsonl").write_text("".join(rows[:40]))
    (tmp_path / "test.jsonl").write_text("".join(rows[40:]))
    done = subprocess.run(
        [
            *(sys.executable, ROOT / "examples" / "imdb.py", "train.jsonl", "test.jsonl"),
            *("--base", tmp_path / "bert", "--folder", "out"),
        ],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert "step 6: " in done.stdout  # two epochs of 36 examples, 16 a step
    assert "the best so far" in done.stdout
    assert "weighted avg" in done.stdout
    answers = re.search(r"first answers: ([ab]) ", done.stdout)
    again = re.search(r"again, by transformers: ([ab])\n", done.stdout)
    assert answers and again and answers[1] == again[1]
    learnt = json.loads((tmp_path / "out" / "model" / "task.json").read_text())
    assert learnt == {"labels": ["a", "b"], "pooling": "own", "temperature": 1.0}
