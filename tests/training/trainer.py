"""The program that processes of tests run: it trains one run after another on request."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any


def train(request: dict[str, Any]) -> dict[str, Any]:
    """A run, and what its events and its result said.

    Args:
        request: the workspace, the recipe or the run to resume, and the step after which to send
            this process a signal, 0 for never.
    """
    from moli.records.training import Evaluated, StepTaken
    from moli.training.recipes.recipe import make_recipe
    from moli.training.run import resume, tune
    from moli.workspace import Workspace

    story: dict[str, Any] = {"losses": [], "norms": [], "scores": []}
    is_first = os.environ.get("RANK", "0") == "0"

    def on_event(event: object) -> None:
        if isinstance(event, StepTaken):
            story["losses"].append(event.loss)
            story["norms"].append(event.gradient_norm)
            if event.step == request["stop_after"]:
                os.kill(os.getpid(), signal.SIGTERM)
        elif isinstance(event, Evaluated):
            story["scores"].append(event.metrics["loss"])

    with Workspace.open(Path(request["workspace"])) as workspace:
        if request["run"]:
            result = resume(request["run"], workspace, listeners=[on_event])
        else:
            result = tune(make_recipe(request["recipe"]), workspace, listeners=[on_event])
        stored = workspace.models.get(result.model) if is_first and result.model else None
    return story | {
        "run": result.run,
        "status": result.status,
        "facts": result.facts,
        "model": str(stored.folder) if stored else "",
    }


def main() -> None:
    """Answer the requests `0.json`, `1.json`, ... of a folder until there is a file `end`.

    Every process reads all of them, in the same order; the first one writes the answers.
    """
    folder = Path(sys.argv[1])
    for number in count():
        request = folder / f"{number}.json"
        while not request.exists():
            if (folder / "end").exists():
                return
            time.sleep(0.02)
        story = train(json.loads(request.read_text(encoding="utf-8")))
        if os.environ.get("RANK", "0") == "0":
            draft = folder / "draft"
            draft.write_text(json.dumps(story, default=str), encoding="utf-8")
            draft.replace(folder / f"{number}.answer.json")


if __name__ == "__main__":
    main()
