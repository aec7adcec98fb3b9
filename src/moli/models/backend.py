"""Language models in use: each is loaded once per process, or runs on another server."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from moli.models.protocols.backend import Backend
from moli.models.tokenizers import load_tokenizer, max_model_len_of
from moli.models.weights.generation_config import recommended_sampling
from moli.models.weights.loading import is_gguf
from moli.models.weights.reference import ModelReference
from moli.workspace.settings import BACKEND_KEY

if TYPE_CHECKING:
    from moli.models.engine.transformers_runner import TransformersRunner
    from moli.models.engine.worker import EngineWorker
    from moli.models.gguf.runner import LlamaCppRunner
    from moli.models.protocols.runner import ModelRunner
    from moli.models.remote.backend import RemoteBackend

    # mypy checks here that all implementations satisfy their protocols.
    BACKENDS: tuple[type[Backend], ...] = (EngineWorker, RemoteBackend)
    MODEL_RUNNERS: tuple[type[ModelRunner], ...] = (TransformersRunner, LlamaCppRunner)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A base model that is ready to answer.

    Attributes:
        backend: answers requests, by an engine in this process or by another server.
        max_model_len: maximum tokens of a conversation, including the answer.
        is_local: whether its weights are on this machine.
        recommended_sampling: values of sampling parameters for requests that set none.
    """

    backend: Backend
    tokenizer: Any
    max_model_len: int
    is_local: bool = True
    recommended_sampling: Mapping[str, float] = field(default_factory=dict)


def answer_limit(max_model_len: int, max_tokens: int) -> int:
    """Maximum tokens of an answer: `max_tokens`, but no more than half of the model's length.

    The other half is left for the prompt.
    """
    return min(max_tokens, max_model_len // 2)


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """A base model that a vLLM or SGLang server runs.

    Attributes:
        reference: the base model's reference; its tokenizer is needed on this machine.
        timeout: seconds of silence from the server after which an answer has failed.
    """

    reference: str
    kind: Literal["vllm", "sglang"]
    url: str
    timeout: float = 120.0


def load_base_model(
    reference: str, *, max_num_seqs: int = 16, adapter_slots: int = 16
) -> LoadedModel:
    """Load a base model onto a generation engine in this process.

    Args:
        max_num_seqs: maximum number of requests answered at once.
        adapter_slots: maximum number of different adapters among these requests.

    Raises:
        ModelError: it cannot be loaded, or does not generate text.
    """
    from moli.models.engine.engine import Engine
    from moli.models.engine.worker import EngineWorker

    recommended = recommended_sampling(reference)
    tokenizer = load_tokenizer(reference)
    max_model_len = max_model_len_of(reference, tokenizer)
    runner = _load_runner(reference, adapter_slots)
    engine = Engine(
        runner,
        tokenizer,
        max_num_seqs=max_num_seqs,
        max_model_len=max_model_len,
        kv_cache_bytes=runner.free_memory() // 2,
    )
    return LoadedModel(
        EngineWorker(engine), tokenizer, max_model_len, recommended_sampling=recommended
    )


def _load_runner(reference: str, adapter_slots: int) -> ModelRunner:
    """Load the weights with llama.cpp for a GGUF file, else with transformers."""
    if is_gguf(reference):
        from moli.models.gguf.runner import load_llama_cpp_runner

        return load_llama_cpp_runner(ModelReference.parse(reference).name)
    from moli.models.engine.transformers_runner import load_transformers_runner

    return load_transformers_runner(reference, adapter_slots=adapter_slots)


def _connect(remote: RemoteModel) -> LoadedModel:
    """Connect to the server that runs a base model.

    Raises:
        ModelError: the server cannot be reached, or serves another model.
    """
    from moli.models.remote.backend import RemoteBackend

    key = os.environ.get(BACKEND_KEY, "")
    backend = RemoteBackend(
        remote.url, remote.reference, kind=remote.kind, key=key, timeout=remote.timeout
    )
    tokenizer = load_tokenizer(remote.reference)
    return LoadedModel(
        backend,
        tokenizer,
        backend.info.max_model_len,
        is_local=False,
        recommended_sampling=recommended_sampling(remote.reference),
    )


class ModelPool:
    """The base models in use, each loaded when it is first needed.

    Args:
        remote: the base model that another server runs, if there is one.
    """

    def __init__(self, remote: RemoteModel | None = None) -> None:
        self._remote = remote
        self._loaded: dict[str, LoadedModel] = {}
        self._lock = threading.Lock()

    def get(self, reference: str) -> LoadedModel:
        """The base model of a reference, which is loaded on the first call.

        Raises:
            ModelError: it cannot be loaded, does not generate text, or its server cannot be
                reached.
        """
        if model := self._loaded.get(reference):
            return model
        with self._lock:
            if reference not in self._loaded:
                remote = self._remote
                is_remote = remote is not None and remote.reference == reference
                self._loaded[reference] = (
                    _connect(remote) if remote and is_remote else load_base_model(reference)
                )
            return self._loaded[reference]

    def waiting_requests(self) -> int:
        """Number of requests that no model has started yet."""
        return sum(model.backend.waiting_requests for model in list(self._loaded.values()))

    def running_requests(self) -> int:
        """Number of requests being answered."""
        return sum(model.backend.running_requests for model in list(self._loaded.values()))

    def close(self) -> None:
        """Stop all models; one that is needed later is loaded again."""
        with self._lock:
            while self._loaded:
                _, model = self._loaded.popitem()
                model.backend.close()
