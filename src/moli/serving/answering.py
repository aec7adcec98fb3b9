"""Requests to the engine from the server's loop: what its threads tell comes back as a stream."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool

from moli.models.template import prompt_ids
from moli.records.errors import InputError, ModelError
from moli.records.generation import Delta, Sampling
from moli.records.messages import Message
from moli.workspace import Workspace

if TYPE_CHECKING:
    from moli.models.engine.bases import Bases
    from moli.models.engine.engine import Row
    from moli.serving.models import Models, Offered, Served

MakeSampling = Callable[[int], Sampling]
_GONE = 0.25  # seconds between two looks at whether a client is still there


class Asked:
    """Some answers under way; whoever leaves them cancels them."""

    def __init__(self, model: str, tokenizer: Any) -> None:
        self.model = model
        self._tokenizer = tokenizer
        self._loop = asyncio.get_running_loop()
        self._told: asyncio.Queue[tuple[int, Delta]] = asyncio.Queue()
        self._rows: list[Row] = []
        self._written = 0

    def begin(self, served: Served, prompts: Sequence[Sequence[int]], sampling: Any) -> None:
        """Have these continued. Called in a thread."""
        from moli.models.engine.engine import Request

        for number, ids in enumerate(prompts):
            request = Request(ids, sampling[number], served.adapter)
            self._rows.append(served.worker.submit(request, partial(self._hear, number)))

    def _hear(self, number: int, delta: Delta) -> None:
        """In the engine's thread."""
        self._loop.call_soon_threadsafe(self._told.put_nowait, (number, delta))

    async def deltas(self) -> AsyncIterator[tuple[int, Delta]]:
        """What is told, with the number of its answer, until all are complete."""
        left = len(self._rows)
        try:
            while left:
                number, delta = await self._told.get()
                self._written += len(delta.ids)
                left -= bool(delta.reason)
                yield number, delta
        finally:
            self.cancel()

    async def all(self, gone: Callable[[], Awaitable[bool]]) -> list[list[Delta]]:
        """Everything, answer by answer.

        Raises:
            ModelError: one failed.
        """
        told: list[list[Delta]] = [[] for _ in self._rows]

        async def collect() -> None:
            async for number, delta in self.deltas():
                told[number].append(delta)

        task = asyncio.create_task(collect())
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=_GONE)
                if not task.done() and await gone():
                    self.cancel()
            await task
        finally:
            self.cancel()
        if any(each[-1].reason == "failed" for each in told):
            raise ModelError("the model failed to answer", fix="Look into the server's log.")
        return told

    def cancel(self) -> None:
        """Stop what is not complete."""
        for row in self._rows:
            if row.reason is None:
                row.cancel()

    def usage(self) -> tuple[int, int, int]:
        """Tokens of the prompts, of the answers, and those of the prompts that were kept."""
        prompts = sum(row.prompt for row in self._rows)
        return prompts, self._written, sum(row.cached for row in self._rows)

    def token(self, number: int) -> dict[str, Any]:
        """A token as text and as bytes."""
        text = str(self._tokenizer.decode([number]))
        return {"token": text, "bytes": list(text.encode())}


class Answering:
    """A workspace's language models, loaded when they are first asked for."""

    def __init__(self, workspace: Workspace, bases: Bases) -> None:
        self._workspace, self._bases = workspace, bases
        self._models: Models | None = None
        self._turn = threading.Lock()

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

    async def conversation(
        self,
        model: str,
        messages: Sequence[Message],
        most: int | None,
        sampling: MakeSampling,
        count: int,
    ) -> Asked:
        """Begin to answer a conversation, `count` times.

        Raises:
            NotFoundError, ModelError: the model cannot be had.
            InputError: the conversation is too long, or refused by the template.
        """

        def prompts(served: Served) -> list[list[int]]:
            tokenizer = served.tokenizer
            if not tokenizer.chat_template:
                raise InputError(
                    f"{served.name} has no chat template, so it cannot hold a conversation",
                    fix="Use /v1/completions, or tune it for 'instruction'.",
                )
            return [prompt_ids(tokenizer, messages)]

        return await self._begin(model, prompts, most, sampling, count)

    async def texts(
        self, model: str, texts: Sequence[str], most: int, sampling: MakeSampling, count: int
    ) -> Asked:
        """Begin to continue texts, each `count` times.

        Raises:
            NotFoundError, ModelError: the model cannot be had.
            InputError: a text is empty or too long.
        """

        def prompts(served: Served) -> list[list[int]]:
            return [served.tokenizer(text, verbose=False)["input_ids"] for text in texts]

        return await self._begin(model, prompts, most, sampling, count)

    async def _begin(
        self,
        model: str,
        read: Callable[[Served], list[list[int]]],
        most: int | None,
        sampling: MakeSampling,
        count: int,
    ) -> Asked:
        served = await run_in_threadpool(lambda: self.models.get(model))
        asked = Asked(served.name, served.tokenizer)

        def begin() -> None:
            prompts = [ids for ids in read(served) for _ in range(count)]
            samplings = []
            for number, ids in enumerate(prompts):
                room = served.places - len(ids)
                each = sampling(max(1, min(most or room, room)))
                samplings.append(_numbered(each, number % count))
            asked.begin(served, prompts, samplings)

        try:
            await run_in_threadpool(begin)
        except BaseException:
            asked.cancel()
            raise
        return asked


def _numbered(sampling: Sampling, number: int) -> Sampling:
    """Several answers to one prompt are drawn from seeds of their own."""
    if sampling.seed is None or not number:
        return sampling
    return replace(sampling, seed=(sampling.seed + number) % (1 << 63))
