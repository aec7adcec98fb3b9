"""Generation for the HTTP API: from a request to its answers, and to the exchange that is stored
(the record of a request with its answers).

    generation = await service.start(request, caller)
    async for delta in generation.stream(): ...

The last delta comes when the exchange is on disk, so a client that has an answer can rely on it.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import threading
from array import array
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool

from moli.models.templates.chat_template import prompt_ids
from moli.models.templates.tool_call_formats import detect_format, tool_calls_grammar
from moli.models.tokenizers import token_bytes_of
from moli.records.errors import BusyError, InputError, MoliError
from moli.records.exchanges import Exchange
from moli.records.generation import Sampling
from moli.records.messages import Message
from moli.serving.access import Caller
from moli.serving.generation import ActiveGeneration, GenerationRequest, Usage
from moli.serving.metrics import Metrics
from moli.serving.request_log import log
from moli.workspace import Workspace

if TYPE_CHECKING:
    from moli.models.backend import ModelPool
    from moli.serving.served_models import ModelListing, ServedModel, ServedModels

_MANY_CHARACTERS = 1 << 10
_RETRY_SECONDS = 2  # after which a full queue is worth another try


class GenerationService:
    """Generates with a workspace's language models, which are loaded on first use."""

    def __init__(self, workspace: Workspace, model_pool: ModelPool, metrics: Metrics) -> None:
        self._workspace, self._model_pool, self._metrics = workspace, model_pool, metrics
        self._settings = workspace.settings
        self._exchanges, self._shadows = workspace.exchanges, workspace.shadows
        self._models: ServedModels | None = None
        self._lock = threading.Lock()
        # To compile a large constraint takes a second, which must not take the threads of others.
        self._constrained_thread = ThreadPoolExecutor(1, thread_name_prefix="constraints")
        self._shadow_tasks: set[asyncio.Task[None]] = set()  # else they could be collected

    @property
    def models(self) -> ServedModels:
        """The models that are served.

        They are created on first use, since to import the code that runs them takes seconds.
        """
        with self._lock:
            if self._models is None:
                from moli.serving.served_models import ServedModels

                self._models = ServedModels(self._workspace, self._model_pool)
            return self._models

    def list_models(self) -> list[ModelListing]:
        """The models that a request can name."""
        return self.models.list()

    async def start(self, request: GenerationRequest, caller: Caller) -> ActiveGeneration:
        """Have a model start to generate.

        Raises:
            NotFoundError, ModelError: the model is not available.
            BusyError: too many requests wait for it.
            InputError: a conversation or a text is too long, or refused by the template.
        """
        served = await run_in_threadpool(lambda: self.models.get(request.model))
        request = request.with_recommended(served.recommended_sampling)
        loop = asyncio.get_running_loop()

        def on_complete(generation: ActiveGeneration) -> None:
            """Store the exchange, then let a shadow answer. Called in a thread."""
            self._store(generation, caller)
            loop.call_soon_threadsafe(self._start_shadow, generation, caller)

        return await self._submit(ActiveGeneration(request, served, on_complete), caller)

    async def _submit(self, generation: ActiveGeneration, caller: Caller) -> ActiveGeneration:
        """Submit all prompts of a request to the backend; if one is refused, cancel the others."""
        request, served = generation.request, generation.served

        def submit_prompts() -> None:
            """Tokenize the request and submit it `n` times for each of its prompts."""
            others = max(len(request.texts), 1) * request.n - 1
            if served.backend.waiting_requests + others >= self._settings.queue:
                raise BusyError(
                    _RETRY_SECONDS,
                    f"{served.backend.waiting_requests} answers are already waiting for this model",
                    fix=f"Try again in {_RETRY_SECONDS} s, and ask for "
                    f"{self._settings.queue} at most.",
                )
            if request.sampling.logprobs is not None:
                token_bytes_of(served.tokenizer)  # takes a moment the first time
            prompts = [ids for ids in _tokenize(request, served) for _ in range(request.n)]
            by_default = self._settings.max_tokens
            most = by_default if request.max_tokens is None else request.max_tokens
            samplings = [
                _sampling_for_answer(request, served, len(ids), index % request.n, most)
                for index, ids in enumerate(prompts)
            ]
            generation.start(prompts, samplings, caller.tenant)

        constrained = request.required_tools or request.sampling.constraint
        try:
            if constrained:
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(self._constrained_thread, submit_prompts)
            else:
                await run_in_threadpool(submit_prompts)
        except InputError as error:
            generation.cancel()
            raise InputError(error.what, error.where or request.prompt_field, error.fix) from error
        except BaseException:
            generation.cancel()
            raise
        return generation

    # Storing

    def _store(self, generation: ActiveGeneration, caller: Caller, shadow_of: str = "") -> None:
        """Store and count the exchange of a complete generation. Called in a thread.

        Args:
            shadow_of: id of the exchange whose answer was shown instead; "" if this one was shown.
        """
        usage = generation.usage()
        exchange = _to_exchange(generation, usage, caller, shadow_of)
        self._exchanges.add(exchange)
        self._metrics.count_generation(exchange.model, usage, generation.timings_ms)
        if self._settings.log_texts:
            prompts = [each.content for each in exchange.messages]
            answers = [each.text for each in exchange.choices]
            log("exchange", id=exchange.id, asked=prompts, said=answers)

    # Shadows

    def _start_shadow(self, generation: ActiveGeneration, caller: Caller) -> None:
        """Generate a shadow's answer in the background. Called in the event loop."""
        task = asyncio.create_task(self._generate_shadow(generation, caller))
        self._shadow_tasks.add(task)
        task.add_done_callback(self._shadow_tasks.discard)

    async def _generate_shadow(self, shown: ActiveGeneration, caller: Caller) -> None:
        """Let the alias's shadow answer the same request, and store its answer without showing it.

        A shadow is a second model that is compared with the alias's own. It answers a random share
        of the requests, and only while no other request waits for it.

        Args:
            shown: the generation whose answer was shown.
        """
        shadow = await run_in_threadpool(self._shadows.get, shown.model)
        if shadow is None or random.random() >= shadow.share:  # noqa: S311 - a share, no secret
            return
        try:
            served = await run_in_threadpool(lambda: self.models.get(shadow.hash))
            if served.backend.waiting_requests:
                return
            store = partial(self._store, caller=caller, shadow_of=shown.id)
            request = replace(shown.request, model=shadow.hash)
            generation = await self._submit(ActiveGeneration(request, served, store), caller)
            async for _ in generation.stream():
                pass
        except MoliError as error:
            log("shadow failed", alias=shown.model, hash=shadow.hash, error=str(error))


def _to_exchange(
    generation: ActiveGeneration, usage: Usage, caller: Caller, shadow_of: str
) -> Exchange:
    """The record of a complete generation.

    Args:
        shadow_of: id of the exchange whose answer was shown instead; "" if this one was shown.
    """
    request, served = generation.request, generation.served
    return Exchange(
        id=generation.id,
        created_at=generation.created_at,
        kind=request.kind,
        model=served.name,
        base=served.base,
        adapter=served.trained_hash,
        template_sha256=served.template_sha256 if request.messages else "",
        prompt_sha256=_hash_ids(generation.prompts),
        messages=request.messages or _text_messages(request, served),
        choices=generation.choices(),
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        tools=request.tools,
        sampling=request.options,
        timings_ms=generation.timings_ms,
        tenant=caller.tenant,
        key=caller.key,
        previous=request.previous,
        shadow_of=shadow_of,
    )


def _text_messages(request: GenerationRequest, served: ServedModel) -> tuple[Message, ...]:
    """The texts that are continued, each as a user's message."""
    decode = served.tokenizer.decode
    texts = [each if isinstance(each, str) else str(decode(each)) for each in request.texts]
    return tuple(Message("user", text) for text in texts)


def _tokenize(request: GenerationRequest, served: ServedModel) -> list[list[int]]:
    """Token ids of the conversation, or of each text.

    Raises:
        InputError: the model has no chat template, its template refuses the conversation, or a text
            is longer than any of as many tokens as the model can read.
    """
    tokenizer = served.tokenizer
    texts = [each.content for each in request.messages] or request.texts
    # A megabyte takes seconds to tokenize, only to be refused.
    if max((len(text) for text in texts if isinstance(text, str)), default=0) > (
        served.max_model_len * _longest_token(tokenizer)
    ):
        raise InputError(
            f"the prompt is too long for the model, which has room for {served.max_model_len:,} "
            "tokens, including the answer",
            fix="Shorten it.",
        )
    if not request.messages:
        return [
            list(tokenizer(text, verbose=False)["input_ids"])
            if isinstance(text, str)
            else _check_ids(text, len(tokenizer), "prompt")
            for text in request.texts
        ]
    if not tokenizer.chat_template:
        raise InputError(
            f"{served.name} has no chat template, so it cannot hold a conversation",
            fix="Use /v1/completions, or tune it for 'instruction'.",
        )
    return [prompt_ids(tokenizer, request.messages, request.tools)]


@lru_cache(maxsize=16)
def _longest_token(tokenizer: Any) -> int:
    """Characters of a tokenizer's longest token; those of GGUF files do not say, but are fast."""
    vocabulary = getattr(tokenizer, "get_vocab", None)
    return max(map(len, vocabulary())) if vocabulary else _MANY_CHARACTERS


def _sampling_for_answer(
    request: GenerationRequest, served: ServedModel, prompt_tokens: int, index: int, most: int
) -> Sampling:
    """Sampling parameters of one answer to a prompt.

    Args:
        prompt_tokens: number of tokens of the prompt, which limits the length of the answer.
        index: index of the answer among those to the same prompt; each has a seed of its own.
        most: maximum tokens of the answer, where the model has room for them.
    """
    room = max(1, served.max_model_len - prompt_tokens)
    sampling = replace(request.sampling, max_tokens=min(most, room))
    _check_ids([token for token, _ in sampling.logit_bias], len(served.tokenizer), "logit_bias")
    if sampling.seed is not None:
        sampling = replace(sampling, seed=(sampling.seed + index) % (1 << 63))
    required = request.required_tools
    if required or (request.tools and sampling.constraint):
        tools = [each for each in request.tools if not required or each.name in required]
        constraint = tool_calls_grammar(
            detect_format(served.template),
            tools,
            request.parallel_tool_calls,
            served.tokenizer.get_added_vocab(),
            otherwise=None if required else sampling.constraint,
        )
        # A stop sequence inside the arguments would leave half a call.
        stop = () if required else sampling.stop
        sampling = replace(sampling, constraint=constraint, stop=stop)
    return sampling


def _check_ids(ids: Sequence[int], vocabulary_size: int, where: str) -> list[int]:
    """The token ids, if the tokenizer has all of them.

    Raises:
        InputError: it does not have one.
    """
    if wrong := [each for each in ids if not 0 <= each < vocabulary_size]:
        raise InputError(
            f"there is no token {wrong[0]}",
            where=where,
            fix=f"Token ids of this model are below {vocabulary_size}.",
        )
    return list(ids)


def _hash_ids(prompts: Sequence[Sequence[int]]) -> str:
    """SHA-256 of the prompts' token ids, 4 bytes each."""
    digest = hashlib.sha256()
    for ids in prompts:
        digest.update(array("i", ids).tobytes())
    return digest.hexdigest()
