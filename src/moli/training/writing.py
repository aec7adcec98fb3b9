"""What a trained language model writes to rows: many at once, on the engine that serves it.

writer = load_writer(workspace.models.get("support"))
writer.answers([Pair("Where is my parcel?", "?")])    # [{"answer": "On its way.", ...}]
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from moli.models.backend import complete
from moli.models.engine.bases import Base, load_base
from moli.models.text import load_tokenizer
from moli.records.examples import Example
from moli.records.generation import Delta, Request, Sampling
from moli.training.inference import Hear, Progress
from moli.training.tasks import make_task
from moli.training.tasks.causal import Causal
from moli.training.trained import check_contract, recipe_of
from moli.workspace.content import StoredModel


@dataclass(slots=True)
class Writer:
    """A language model at work.

    Attributes:
        name: by which it was asked for in the workspace.
        adapter: the name that its base knows it by; "" for a whole model.
    """

    task: Causal
    name: str
    base: Base
    adapter: str

    def answers(
        self, examples: Sequence[Example], *, max_tokens: int = 512, hear: Hear | None = None
    ) -> list[dict[str, Any]]:
        """The likeliest answer to each example, and whether the model or the limit ended it.

        Of a prompt for which there is no room the end is kept; how many tokens that cost is told.
        """
        most = self.base.within(max_tokens)
        room, sampling = self.base.places - most, Sampling(most)
        prompts = [self.task.prompt(each) for each in examples]
        requests = [Request(ids[-room:], sampling, self.adapter) for ids in prompts]
        done = written = 0
        begun = time.perf_counter()

        def count(delta: Delta) -> None:
            nonlocal done, written
            done += bool(delta.reason)
            written += len(delta.ids)
            if hear:
                hear(Progress(done / len(requests), written, time.perf_counter() - begun))

        told = complete(self.base.backend, requests, count)
        return [
            {"answer": found.text.strip(), "finish_reason": found.reason}
            | ({"cut": len(ids) - room} if len(ids) > room else {})
            for ids, found in zip(prompts, told, strict=True)
        ]

    def close(self) -> None:
        """Stop; the model is let go."""
        self.base.backend.close()


def load_writer(stored: StoredModel) -> Writer:
    """A stored language model, ready to write.

    Raises:
        ModelError: it is not what it was, or is of a kind that the engine does not run.
    """
    recipe = recipe_of(stored)
    check_contract(stored, recipe)
    task = make_task(recipe)
    assert isinstance(task, Causal)  # noqa: S101 - what is in GENERATIVE is
    task.tokenizer = load_tokenizer(str(stored.folder))
    base = load_base(recipe.base, lanes=1)
    adapter = "" if stored.manifest.method == "full" else stored.hash
    if adapter:
        base.backend.add(adapter, stored.folder)
    return Writer(task, stored.name, base, adapter)
