"""A trained language model's answers to examples: many at once, on the engine that serves it.

generator = load_generator(workspace.models.get("support"))
generator.answer([Pair("Where is my parcel?", "?")])    # [{"answer": "On its way.", ...}]
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from moli.models.backend import LoadedModel, answer_limit, load_base_model
from moli.models.protocols.backend import complete
from moli.models.tokenizers import load_tokenizer, max_model_len_of
from moli.records.examples import Example
from moli.records.generation import Delta, Request, Sampling
from moli.training.inference import OnProgress, Progress
from moli.training.recipes.method_table import find_method
from moli.training.tasks import make_task
from moli.training.tasks.base.causal import CausalTask
from moli.training.trained.load import check_compatibility, load_trained, recipe_of
from moli.workspace.content import StoredModel


@dataclass(frozen=True, slots=True)
class GeneratedAnswer:
    """A text that a model has generated.

    Attributes:
        finish_reason: "stop" or "length".
    """

    text: str
    finish_reason: str


class OnTokens(Protocol):
    """Receives the number of tokens that were generated, and whether an answer ended with them."""

    def __call__(self, tokens: int, *, ended: bool) -> None: ...


class AnswerGenerator(ABC):
    """A language model that answers examples of its task.

    Attributes:
        name: the name it was requested by in the workspace.
        max_model_len: largest number of tokens of a prompt and its answer.
    """

    def __init__(self, task: CausalTask, name: str, max_model_len: int) -> None:
        self.task, self.name, self.max_model_len = task, name, max_model_len

    def answer(
        self,
        examples: Sequence[Example],
        *,
        max_tokens: int = 512,
        on_progress: OnProgress | None = None,
    ) -> list[dict[str, Any]]:
        """The greedy answer to each example, and whether the model or the limit ended it.

        A prompt that is too long keeps its end; `cut` counts the tokens dropped.
        """
        max_tokens = answer_limit(self.max_model_len, max_tokens)
        max_prompt = self.max_model_len - max_tokens
        prompts = [self.task.prompt_tokens(example) for example in examples]
        finished = generated = 0
        begun = time.perf_counter()

        def on_tokens(tokens: int, *, ended: bool) -> None:
            nonlocal finished, generated
            finished += ended
            generated += tokens
            if on_progress:
                seconds = time.perf_counter() - begun
                on_progress(Progress(finished / len(prompts), generated, seconds))

        texts = self._generate([ids[-max_prompt:] for ids in prompts], max_tokens, on_tokens)
        return [
            {"answer": answer.text.strip(), "finish_reason": answer.finish_reason}
            | ({"cut": len(ids) - max_prompt} if len(ids) > max_prompt else {})
            for ids, answer in zip(prompts, texts, strict=True)
        ]

    @abstractmethod
    def _generate(
        self, prompts: Sequence[list[int]], max_tokens: int, on_tokens: OnTokens
    ) -> list[GeneratedAnswer]:
        """Generate at most so many tokens after each prompt."""

    @abstractmethod
    def close(self) -> None:
        """Stop, and release the model."""


class EngineGenerator(AnswerGenerator):
    """Generates on the serving engine, for many prompts at once.

    Args:
        adapter: name of the adapter in the base's backend; "" for a whole model.
    """

    def __init__(self, task: CausalTask, name: str, base: LoadedModel, adapter: str) -> None:
        super().__init__(task, name, base.max_model_len)
        self._base, self._adapter = base, adapter

    def _generate(
        self, prompts: Sequence[list[int]], max_tokens: int, on_tokens: OnTokens
    ) -> list[GeneratedAnswer]:
        sampling = Sampling(max_tokens)
        requests = [Request(ids, sampling, self._adapter) for ids in prompts]

        def on_delta(delta: Delta) -> None:
            on_tokens(len(delta.ids), ended=bool(delta.reason))

        completions = complete(self._base.backend, requests, on_delta)
        return [GeneratedAnswer(each.text, each.reason) for each in completions]

    def close(self) -> None:
        self._base.backend.close()


class TransformersGenerator(AnswerGenerator):
    """Generates with transformers and PEFT, one prompt at a time.

    It is for methods that the engine does not run: DoRA, bottlenecks and prompt tuning.
    """

    def __init__(self, task: CausalTask, name: str, model: Any, max_model_len: int) -> None:
        super().__init__(task, name, max_model_len)
        self._model = model

    def _generate(
        self, prompts: Sequence[list[int]], max_tokens: int, on_tokens: OnTokens
    ) -> list[GeneratedAnswer]:
        stop_token_ids = self._stop_token_ids()
        texts: list[GeneratedAnswer] = []
        for ids in prompts:
            prompt = torch.tensor([ids], device=self._model.device)
            with torch.inference_mode():
                output = self._model.generate(
                    input_ids=prompt,
                    attention_mask=torch.ones_like(prompt),
                    max_new_tokens=max_tokens,
                    do_sample=False,
                    eos_token_id=sorted(stop_token_ids),
                    pad_token_id=min(stop_token_ids),
                )
            new = output[0, len(ids) :].tolist()
            text = self.task.tokenizer.decode(new, skip_special_tokens=True)
            stopped = bool(new) and new[-1] in stop_token_ids
            texts.append(GeneratedAnswer(text, "stop" if stopped else "length"))
            on_tokens(len(new), ended=True)
        return texts

    def _stop_token_ids(self) -> set[int]:
        """Ids that end an answer: the tokenizer's, and those of the model's configuration."""
        configured = getattr(self._model.generation_config, "eos_token_id", None)
        ids = configured if isinstance(configured, list) else [configured]
        return {self.task.tokenizer.eos_token_id, *ids} - {None}

    def close(self) -> None:
        """Nothing to release."""


def load_generator(stored: StoredModel) -> AnswerGenerator:
    """Load a stored language model to generate answers.

    Raises:
        ModelError: it has changed since it was stored.
    """
    method = find_method(stored.manifest.method)
    if not method.runs_on_engine:
        trained = load_trained(stored)
        recipe = trained.task.recipe
        assert isinstance(trained.task, CausalTask)  # noqa: S101 - tasks in GENERATIVE_TASKS are
        virtual_tokens = recipe.rank if method.adds_virtual_tokens else 0
        positions = max_model_len_of(recipe.base, trained.task.tokenizer)
        return TransformersGenerator(
            trained.task, stored.name, trained.model, positions - virtual_tokens
        )
    recipe = recipe_of(stored)
    check_compatibility(stored, recipe)
    task = make_task(recipe)
    assert isinstance(task, CausalTask)  # noqa: S101 - tasks in GENERATIVE_TASKS are
    task.tokenizer = load_tokenizer(str(stored.folder))
    base = load_base_model(recipe.base, adapter_slots=1)
    adapter = stored.hash if method.is_adapter else ""
    if adapter:
        base.backend.add_adapter(adapter, stored.folder)
    return EngineGenerator(task, stored.name, base, adapter)
