"""From a request to its answers, and what is kept of them.

asked = await answering.begin(wanted, caller)
async for piece in asked.pieces(): ...

The last piece comes once the exchange is on disk, so a client that has an answer can rely on it.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import threading
from array import array
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool

from moli.models.templates.chat_template import prompt_ids
from moli.models.templates.tool_call_formats import detect_format, tool_calls_grammar
from moli.records.errors import BusyError, InputError, MoliError
from moli.records.exchanges import Exchange
from moli.records.generation import Sampling
from moli.records.messages import Message
from moli.serving.access import Caller
from moli.serving.asked import Asked, Wanted
from moli.serving.observing import Meters, log
from moli.workspace import Workspace

if TYPE_CHECKING:
    from moli.models.backend import ModelPool
    from moli.serving.models import Models, Offered, Served

_RETRY = 2  # seconds after which a full queue is worth another try
_UNSAID = 4096  # most tokens of an answer if a request sets none: room is taken for them


class Answering:
    """A workspace's language models, loaded when they are first asked for."""

    def __init__(self, workspace: Workspace, bases: ModelPool, meters: Meters) -> None:
        self._workspace, self._bases, self._meters = workspace, bases, meters
        self._settings = workspace.settings
        self._exchanges, self._shadows = workspace.exchanges, workspace.shadows
        self._models: Models | None = None
        self._turn = threading.Lock()
        self._beside: set[asyncio.Task[None]] = set()

    @property
    def models(self) -> Models:
        """The models; importing what runs them takes seconds, so that waits until now."""
        with self._turn:
            if self._models is None:
                from moli.serving.models import Models

                self._models = Models(self._workspace, self._bases)
            return self._models

    def offered(self) -> list[Offered]:
        """What can be asked for."""
        return self.models.list()

    async def begin(self, wanted: Wanted, caller: Caller) -> Asked:
        """Have a model start on what is wanted of it.

        Raises:
            NotFoundError, ModelError: the model is not available.
            BusyError: too many wait for it.
            InputError: a conversation or a text is too long, or refused by the template.
        """
        served = await run_in_threadpool(lambda: self.models.get(wanted.model))
        loop = asyncio.get_running_loop()

        def keep(asked: Asked) -> None:
            self._kept(asked, caller)
            loop.call_soon_threadsafe(self._begin_shadow, asked, caller)

        return await self._started(Asked(wanted, served, keep), caller)

    async def _started(self, asked: Asked, caller: Caller) -> Asked:
        wanted, served = asked.wanted, asked.served

        def begin() -> None:
            more = max(len(wanted.texts), 1) * wanted.count - 1
            if served.backend.waiting_requests + more >= self._settings.queue:
                raise BusyError(
                    _RETRY,
                    f"{served.backend.waiting_requests} answers are already waiting for this model",
                    fix=f"Try again in {_RETRY} s, and ask for {self._settings.queue} at most.",
                )
            prompts = [ids for ids in _prompts(wanted, served) for _ in range(wanted.count)]
            samplings = [
                _sampling(wanted, served, len(ids), number % wanted.count)
                for number, ids in enumerate(prompts)
            ]
            asked.begin(prompts, samplings, caller.tenant)

        try:
            await run_in_threadpool(begin)
        except BaseException:
            asked.cancel()
            raise
        return asked

    # What is kept of it

    def _kept(self, asked: Asked, caller: Caller, shadow_of: str = "") -> None:
        """Store an exchange. Called in a thread."""
        wanted, served = asked.wanted, asked.served
        said = wanted.messages or tuple(Message("user", text) for text in wanted.texts)
        prompt, written, cached = asked.usage()
        exchange = Exchange(
            id=asked.id,
            created_at=asked.created_at,
            kind="chat" if wanted.messages else "text",
            model=served.name,
            base=served.base,
            adapter=served.content,
            template_sha256=served.template_sha256 if wanted.messages else "",
            prompt_sha256=_hash(asked.prompts),
            messages=said,
            choices=asked.choices(),
            prompt_tokens=prompt,
            cached_tokens=cached,
            tools=wanted.tools,
            sampling=wanted.told,
            timings_ms=asked.timings,
            tenant=caller.tenant,
            key=caller.key,
            previous=wanted.previous,
            shadow_of=shadow_of,
        )
        self._exchanges.add(exchange)
        self._meters.answered(served.name, prompt - cached, cached, written, asked.timings)
        if self._settings.log_texts:
            texts = [each.text for each in exchange.choices]
            log("exchange", id=exchange.id, asked=[each.content for each in said], said=texts)

    # Shadows

    def _begin_shadow(self, shown: Asked, caller: Caller) -> None:
        task = asyncio.create_task(self._shadow(shown, caller))
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    async def _shadow(self, shown: Asked, caller: Caller) -> None:
        """Let the alias's shadow answer the same request, if it is its turn and nobody has to
        wait."""
        shadow = (await run_in_threadpool(self._shadows.current)).get(shown.model)
        if shadow is None or random.random() >= shadow.share:  # noqa: S311 - a share, no secret
            return
        try:
            served = await run_in_threadpool(lambda: self.models.get(shadow.hash))
            if served.backend.waiting_requests:
                return
            keep = partial(self._kept, caller=caller, shadow_of=shown.id)
            wanted = replace(shown.wanted, model=shadow.hash)
            asked = await self._started(Asked(wanted, served, keep), caller)
            async for _ in asked.pieces():
                pass
        except MoliError as error:
            log("shadow failed", alias=shown.model, hash=shadow.hash, error=str(error))


def _prompts(wanted: Wanted, served: Served) -> list[list[int]]:
    tokenizer = served.tokenizer
    if not wanted.messages:
        return [list(tokenizer(text, verbose=False)["input_ids"]) for text in wanted.texts]
    if not tokenizer.chat_template:
        raise InputError(
            f"{served.name} has no chat template, so it cannot hold a conversation",
            fix="Use /v1/completions, or tune it for 'instruction'.",
        )
    return [prompt_ids(tokenizer, wanted.messages, wanted.tools)]


def _sampling(wanted: Wanted, served: Served, prompt: int, number: int) -> Sampling:
    """The sampling of one of several answers to a prompt: each is drawn from a seed of its own."""
    room = max(1, served.places - prompt)
    made = replace(wanted.sampling, max_tokens=min(wanted.most or _UNSAID, room))
    if made.seed is not None:
        made = replace(made, seed=(made.seed + number) % (1 << 63))
    if wanted.must_call:
        tools = [each for each in wanted.tools if each.name in wanted.must_call]
        call_format = detect_format(served.template)
        added = served.tokenizer.get_added_vocab()
        made = replace(
            made, constraint=tool_calls_grammar(call_format, tools, wanted.several, added)
        )
    return made


def _hash(prompts: Sequence[Sequence[int]]) -> str:
    digest = hashlib.sha256()
    for ids in prompts:
        digest.update(array("i", ids).tobytes())
    return digest.hexdigest()
