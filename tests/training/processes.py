"""Runs in processes of their own, for tests that compare what they learn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pytest
from safetensors.torch import load_file
from training import small_models, trainer

from moli.workspace import Workspace

Story = dict[str, Any]
_TIMEOUT = 300.0


class Group:
    """Processes of a thread each that train together, one run after another.

    They see no GPU, unless they are to: several cannot share one.
    """

    def __init__(self, folder: Path, size: int, *, gpu: bool) -> None:
        self._folder, self._requests = folder, 0
        folder.mkdir()
        self._errors = folder / "errors.txt"
        command = [sys.executable, trainer.__file__, str(folder)]
        if size > 1:
            launcher = ["-m", "torch.distributed.run", "--standalone"]
            command[1:1] = [*launcher, f"--nproc_per_node={size}"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        if not gpu:
            environment["CUDA_VISIBLE_DEVICES"] = ""
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(command, env=environment, stderr=errors)

    def train(self, request: Story) -> Story:
        draft = self._folder / "request"
        draft.write_text(json.dumps(request), encoding="utf-8")
        draft.replace(self._folder / f"{self._requests}.json")
        answer = self._folder / f"{self._requests}.answer.json"
        self._requests += 1
        deadline = time.monotonic() + _TIMEOUT
        while not answer.exists():
            ended = self._process.poll() is not None
            errors = self._errors.read_text(encoding="utf-8", errors="replace")[-4000:]
            assert not ended or answer.exists(), errors
            assert time.monotonic() < deadline, errors
            time.sleep(0.02)
        story: Story = json.loads(answer.read_text(encoding="utf-8"))
        return story

    def close(self) -> None:
        """End the processes; the launcher ends those that it started, so it is not killed."""
        (self._folder / "end").touch()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.terminate()
            self._process.wait()


class Runner:
    """Runs in a workspace of their own, in one or several processes.

    Importing takes processes longer than such a run, so groups are kept for further runs, and a
    run that was there before is not repeated.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        Workspace.init(folder)
        self.bert = small_models.write_model(folder / "bert", "bert")
        self.encoder = small_models.write_encoder(folder / "encoder")
        self.llama = small_models.write_model(folder / "llama", "llama")
        self.labelled = str(small_models.write_labelled(folder / "labelled.jsonl"))
        self.conversations = str(small_models.write_conversations(folder / "conversations.jsonl"))
        self._groups: dict[tuple[int, bool], Group] = {}
        self._stories: dict[str, Story] = {}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

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
        anew: bool = False,
    ) -> Story:
        """A run in so many processes.

        Args:
            run: one to resume, in place of a recipe.
            stop_after: the step after which the first process is sent a signal; 0 for never.
            anew: start processes for it, as a resumed run would have them.
        """
        request = {"recipe": recipe, "run": run, "stop_after": stop_after}
        key = json.dumps([processes, gpu, request])
        if anew or key not in self._stories:
            group = self._group(processes, gpu=gpu, anew=anew)
            self._stories[key] = group.train(request | {"workspace": str(self.folder)})
        return self._stories[key]

    def _group(self, size: int, *, gpu: bool, anew: bool) -> Group:
        group = self._groups.get((size, gpu))
        if group is None or anew:
            name = f"processes-{len(list(self.folder.glob('processes-*')))}"
            group = self._groups[size, gpu] = Group(self.folder / name, size, gpu=gpu)
            self._open.callback(group.close)
        return group


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
