"""A trained language model's answers to rows: many at once, on the engine that serves it.

writer = load_writer(workspace.models.get("support"))
writer.answers([Pair("Where is my parcel?", "?")])    # [{"answer": "On its way.", ...}]
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch

from moli.models.backend import LoadedModel, answer_limit, load_base_model
from moli.models.protocols.backend import complete
from moli.models.tokenizers import load_tokenizer, max_model_len_of
from moli.records.examples import Example
from moli.records.generation import Delta, Request, Sampling
from moli.training.inference import OnProgress, Progress
from moli.training.recipes.method_table import METHODS
from moli.training.tasks import make_task
from moli.training.tasks.base.causal import CausalTask
from moli.training.trained.load import Trained, check_contract, load_trained, recipe_of
from moli.workspace.content import StoredModel

_Written = tuple[str, str]  # a text, and why it ended: "stop" or "length"


class Writer(ABC):
    """A language model at work.

    Attributes:
        name: the name it was requested by in the workspace.
        places: tokens of a prompt and its answer at most.
    """

    def __init__(self, task: CausalTask, name: str, places: int) -> None:
        self.task, self.name, self.places = task, name, places

    def answers(
        self, examples: Sequence[Example], *, max_tokens: int = 512, hear: OnProgress | None = None
    ) -> list[dict[str, Any]]:
        """The greedy answer to each example, and whether the model or the limit ended it.

        A prompt that is too long keeps its end; `cut` counts the tokens dropped.
        """
        most = answer_limit(self.places, max_tokens)
        room = self.places - most
        prompts = [self.task.prompt_tokens(each) for each in examples]
        done = written = 0
        begun = time.perf_counter()

        def count(tokens: int, *, ended: bool) -> None:
            nonlocal done, written
            done += ended
            written += tokens
            if hear:
                hear(Progress(done / len(prompts), written, time.perf_counter() - begun))

        told = self._write([ids[-room:] for ids in prompts], most, count)
        return [
            {"answer": text.strip(), "finish_reason": reason}
            | ({"cut": len(ids) - room} if len(ids) > room else {})
            for ids, (text, reason) in zip(prompts, told, strict=True)
        ]

    @abstractmethod
    def _write(
        self, prompts: Sequence[list[int]], most: int, count: Callable[..., None]
    ) -> list[_Written]:
        """What follows each prompt, in at most so many tokens; `count` is told of all there are."""

    @abstractmethod
    def close(self) -> None:
        """Stop, and release the model."""


class EngineWriter(Writer):
    """On the serving engine, many prompts at once.

    Args:
        adapter: the name that the base knows it by; "" for a whole model.
    """

    def __init__(self, task: CausalTask, name: str, base: LoadedModel, adapter: str) -> None:
        super().__init__(task, name, base.max_model_len)
        self._base, self._adapter = base, adapter

    def _write(
        self, prompts: Sequence[list[int]], most: int, count: Callable[..., None]
    ) -> list[_Written]:
        sampling = Sampling(most)
        requests = [Request(ids, sampling, self._adapter) for ids in prompts]

        def hear(delta: Delta) -> None:
            count(len(delta.ids), ended=bool(delta.reason))

        return [
            (found.text, found.reason) for found in complete(self._base.backend, requests, hear)
        ]

    def close(self) -> None:
        self._base.backend.close()


class ModelWriter(Writer):
    """By transformers and PEFT, for what the engine does not run: DoRA, bottlenecks, prompts."""

    def __init__(self, task: CausalTask, name: str, trained: Trained, places: int) -> None:
        super().__init__(task, name, places)
        self._model: Any = trained.model

    def _write(
        self, prompts: Sequence[list[int]], most: int, count: Callable[..., None]
    ) -> list[_Written]:
        given = getattr(self._model.generation_config, "eos_token_id", None)
        stops = {self.task.tokenizer.eos_token_id, *(given if isinstance(given, list) else [given])}
        stops.discard(None)
        told: list[_Written] = []
        for ids in prompts:
            read = torch.tensor([ids], device=self._model.device)
            with torch.inference_mode():
                found = self._model.generate(
                    input_ids=read,
                    attention_mask=torch.ones_like(read),
                    max_new_tokens=most,
                    do_sample=False,
                    eos_token_id=sorted(stops),
                    pad_token_id=min(stops),
                )
            new = found[0, len(ids) :].tolist()
            text = self.task.tokenizer.decode(new, skip_special_tokens=True)
            told.append((text, "stop" if new and new[-1] in stops else "length"))
            count(len(new), ended=True)
        return told

    def close(self) -> None:
        """Nothing of it is at work between two calls."""


def load_writer(stored: StoredModel) -> Writer:
    """A stored language model, ready to write.

    Raises:
        ModelError: it has changed since it was stored.
    """
    method = METHODS[stored.manifest.method]
    if not method.runs_on_engine:  # transformers writes, a prompt at a time
        trained = load_trained(stored)
        task, recipe = trained.task, trained.task.recipe
        assert isinstance(task, CausalTask)  # noqa: S101 - what is in GENERATIVE_TASKS is
        virtual_tokens = recipe.rank if method.adds_virtual_tokens else 0
        places = max_model_len_of(recipe.base, task.tokenizer) - virtual_tokens
        return ModelWriter(task, stored.name, trained, places)
    recipe = recipe_of(stored)
    check_contract(stored, recipe)
    made = make_task(recipe)
    assert isinstance(made, CausalTask)  # noqa: S101 - what is in GENERATIVE_TASKS is
    made.tokenizer = load_tokenizer(str(stored.folder))
    base = load_base_model(recipe.base, adapter_slots=1)
    adapter = stored.hash if method.is_adapter else ""
    if adapter:
        base.backend.add_adapter(adapter, stored.folder)
    return EngineWriter(made, stored.name, base, adapter)
