"""Runs in processes of their own, for tests that compare what they learn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from training import small_models

from moli.workspace import Workspace

Story = dict[str, Any]


class Runner:
    """Runs in a workspace of their own, in one or several processes of a thread each.

    They see no GPU, unless they are to: several cannot share one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        Workspace.init(folder)
        self.bert = small_models.write_model(folder / "bert", "bert")
        self.llama = small_models.write_model(folder / "llama", "llama")
        self.labelled = str(small_models.write_labelled(folder / "labelled.jsonl"))
        self.conversations = str(small_models.write_conversations(folder / "conversations.jsonl"))

    def recipe(self, task: str = "classification", **values: Any) -> Story:
        instructs = task == "instruction"
        return {
            "task": task,
            "base": self.llama if instructs else self.bert,
            "data": self.conversations if instructs else self.labelled,
            "method": "full",
            "precision": "fp32",
            "epochs": 2,
            "batch": 8,
            "held_out": 0.2,
            "learning_rate": 1e-2,
            "rank": 4,
        } | values

    def __call__(
        self,
        processes: int,
        recipe: Story | None = None,
        run: str = "",
        stop_after: int = 0,
        *,
        gpu: bool = False,
    ) -> Story:
        asked, out = self.folder / "asked.json", self.folder / "out.json"
        out.unlink(missing_ok=True)
        what = {"workspace": str(self.folder), "out": str(out), "stop_after": stop_after}
        asked.write_text(json.dumps(what | {"recipe": recipe, "run": run}), encoding="utf-8")
        command = [sys.executable, small_models.__file__, str(asked)]
        if processes > 1:
            launcher = ["-m", "torch.distributed.run", "--standalone"]
            command[1:1] = [*launcher, f"--nproc_per_node={processes}"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        if not gpu:
            environment["CUDA_VISIBLE_DEVICES"] = ""
        with subprocess.Popen(
            command, env=environment, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                _, errors = process.communicate(timeout=300)
            except subprocess.TimeoutExpired:
                process.terminate()  # not killed: the launcher has to end those that it started
                raise
        assert process.returncode == 0, errors[-4000:]
        story: Story = json.loads(out.read_text(encoding="utf-8"))
        return story


def assert_same(one: Story, other: Story, within: float = 1e-5) -> None:
    """The same losses and norms at each step, evaluations and final weights."""
    for name in ("losses", "norms", "scores"):
        assert one[name]
        assert other[name] == pytest.approx(one[name], abs=within), name
    mine, others = weights_of(one), weights_of(other)
    assert mine.keys() == others.keys()
    for name, weight in mine.items():
        assert (weight - others[name]).abs().max() <= within, name


def weights_of(story: Story) -> dict[str, Any]:
    (file,) = Path(story["model"]).glob("*.safetensors")
    return load_file(file)
