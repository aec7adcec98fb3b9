"""Rollouts by a vLLM or SGLang server, which gets the policy's adapter before each batch.

Its log probabilities are those of other kernels, and often of another precision. Algorithms correct
for the difference by weights (`importance_cap`), and reports have it as `rollout_gap`.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from moli.alignment.rollouts.buffer import SampledAnswer, TrainingPrompt
from moli.alignment.rollouts.engine import answers_of, sampling_of
from moli.alignment.rollouts.sampling import SamplingLimits, check_prompts
from moli.models.protocols.backend import join_deltas
from moli.models.remote.backend import RemoteBackend
from moli.records.errors import InputError
from moli.records.generation import Delta, Request


class RemoteRollouts:
    """A rollout source whose answers a server writes.

    Args:
        backend: the server; it has the base, and the tokens that end answers are the base's own.
        save_policy: writes the policy's present adapter to a folder that it makes.
        folder: where adapters are put; the server has to see it under the same path.
        processed: whether the server reports log probabilities after the temperature, as vLLM does
            with `--logprobs-mode processed_logprobs`.

    Raises:
        InputError: the server's log probabilities are not those that tokens are drawn by.
    """

    def __init__(
        self,
        backend: RemoteBackend,
        tokenizer: Any,
        limits: SamplingLimits,
        save_policy: Callable[[Path], None],
        folder: Path,
        *,
        processed: bool = False,
    ) -> None:
        if limits.temperature != 1 and not processed:
            raise InputError(
                f"at temperature {limits.temperature:g} the server has to report log probabilities "
                "after the temperature",
                where=backend.url,
                fix="Start it with --logprobs-mode processed_logprobs and say so, or sample at "
                "temperature 1.",
            )
        self._backend, self._tokenizer, self._limits = backend, tokenizer, limits
        self._save_policy, self._folder = save_policy, folder
        self._current = ""

    def __call__(self, prompts: Sequence[TrainingPrompt], seed: int) -> list[SampledAnswer]:
        """One answer for each prompt by the policy's present adapter.

        Raises:
            InputError: a prompt has no tokens, or too many.
            ModelError: the server does not take the adapter, or does not answer.
        """
        check_prompts(prompts, self._limits, self._backend.info.max_model_len)
        self._load_policy()
        deltas: list[list[Delta]] = [[] for _ in prompts]
        ended = [threading.Event() for _ in prompts]
        running = []
        for row, prompt in enumerate(prompts):
            request = Request(prompt.ids, sampling_of(self._limits, seed, row), self._current)
            on_delta = _collector(deltas[row], ended[row])
            running.append(self._backend.submit(request, on_delta))
        for event in ended:
            event.wait()
        completions = list(map(join_deltas, running, deltas))
        return answers_of(completions, self._tokenizer, self._limits, self._backend.url)

    def _load_policy(self) -> None:
        """Have the server load the adapter under a name of its content, unless it has it."""
        draft = self._folder / "draft"
        shutil.rmtree(draft, ignore_errors=True)
        self._save_policy(draft)
        content = (draft / "adapter_model.safetensors").read_bytes()
        name = hashlib.sha256(content).hexdigest()
        if name == self._current:
            return
        folder = self._folder / name
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
        self._backend.add_adapter(name, folder)
        if self._current:
            shutil.rmtree(self._folder / self._current, ignore_errors=True)
        self._current = name


def _collector(deltas: list[Delta], ended: threading.Event) -> Callable[[Delta], None]:
    """A callback that keeps deltas, and sets the event with the last one."""

    def collect(delta: Delta) -> None:
        deltas.append(delta)
        if delta.reason:
            ended.set()

    return collect
