"""Answers under way: what a model's thread reports comes back as a stream of pieces."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool

from moli.models.templates.tool_call_formats import detect_format
from moli.models.templates.tool_call_parser import ToolCallParser
from moli.records.errors import ModelError
from moli.records.exchanges import Choice
from moli.records.generation import Delta, FinishReason, Request, Sampling
from moli.records.messages import Message, Tool, ToolCall

if TYPE_CHECKING:
    from moli.models.protocols.backend import RunningRequest
    from moli.serving.models import Served

_GONE = 0.25  # seconds between two looks at whether a client is still there


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks of a model.

    Attributes:
        sampling: how tokens are chosen; `most` decides its `max_tokens`.
        most: maximum tokens of an answer; None for as many as the model has places for.
        messages: a conversation to answer, or else
        texts: texts to continue.
        count: how many answers to each.
        tools: those that may be called.
        must_call: names of the tools of which one has to be called; empty where the model decides.
        several: whether more than one may be called at once.
        told: how tokens are to be chosen, in the request's own words.
        previous: the exchange that this one continues.
    """

    model: str
    sampling: Sampling
    most: int | None = None
    messages: tuple[Message, ...] = ()
    texts: tuple[str, ...] = ()
    count: int = 1
    tools: tuple[Tool, ...] = ()
    must_call: tuple[str, ...] = ()
    several: bool = True
    told: dict[str, Any] = field(default_factory=dict)
    previous: str = ""


@dataclass(frozen=True, slots=True)
class Piece:
    """What is new in one of the answers.

    Attributes:
        number: the number of the answer.
        text: what is certain now and not part of a call.
        calls: those that are complete now.
        delta: what the model wrote for it.
    """

    number: int
    text: str
    calls: tuple[ToolCall, ...]
    delta: Delta

    @property
    def reason(self) -> FinishReason | str:
        """Why the answer ends here; "" while it goes on."""
        return self.delta.reason


class Asked:
    """Some answers under way; to stop reading them is to cancel them.

    Attributes:
        id: the exchange's, 32 hexadecimal digits.
        created_at: in seconds since 1970.
    """

    def __init__(self, wanted: Wanted, served: Served, keep: Callable[[Asked], None]) -> None:
        self.id, self.created_at = uuid.uuid4().hex, time.time()
        self.wanted, self.served = wanted, served
        self.prompts: list[list[int]] = []
        self.timings: dict[str, float] = {}
        self._keep = keep
        self._begun = time.perf_counter()
        self._loop = asyncio.get_running_loop()
        self._told: asyncio.Queue[tuple[int, Delta]] = asyncio.Queue()
        self._rows: list[RunningRequest] = []
        self._pieces: list[list[Piece]] = []

    @property
    def model(self) -> str:
        """The name it was asked by."""
        return self.served.name

    def begin(self, prompts: list[list[int]], samplings: Sequence[Sampling], space: str) -> None:
        """Have these prompts continued. Called in a thread."""
        self.prompts = prompts
        self._pieces = [[] for _ in prompts]
        for number, ids in enumerate(prompts):
            request = Request(ids, samplings[number], self.served.adapter, space)
            self._rows.append(self.served.backend.submit(request, partial(self._hear, number)))

    def _hear(self, number: int, delta: Delta) -> None:
        """Called in the model's thread."""
        self._loop.call_soon_threadsafe(self._told.put_nowait, (number, delta))

    async def pieces(self) -> AsyncIterator[Piece]:
        """The pieces, until all answers are complete.

        Raises:
            ModelError: one failed.
        """
        left = len(self._rows)
        try:
            readers = [self._reader() for _ in self._rows]
            while left:
                number, delta = await self._told.get()
                self.timings.setdefault("first", self._elapsed())
                if delta.reason == "failed":
                    raise ModelError("the model failed to answer", fix="The server's log says why.")
                piece = _piece(number, delta, readers[number])
                self._pieces[number].append(piece)
                left -= bool(delta.reason)
                if not left:
                    await self._end()
                yield piece
        finally:
            self.cancel()

    async def all(self, gone: Callable[[], Awaitable[bool]]) -> list[list[Piece]]:
        """Everything, answer by answer.

        Raises:
            ModelError: one failed.
        """

        async def collect() -> None:
            async for _ in self.pieces():
                pass

        task = asyncio.create_task(collect())
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=_GONE)
                if not task.done() and await gone():
                    self.cancel()
            await task
        finally:
            self.cancel()
        return self._pieces

    async def _end(self) -> None:
        self.timings["last"] = self._elapsed()
        if all(row.reason != "cancelled" for row in self._rows):  # else nobody received the answer
            await run_in_threadpool(self._keep, self)

    def _elapsed(self) -> float:
        return round((time.perf_counter() - self._begun) * 1000, 3)

    def _reader(self) -> ToolCallParser | None:
        if not self.wanted.tools:
            return None
        return ToolCallParser(detect_format(self.served.template), self.wanted.tools)

    def cancel(self) -> None:
        """Stop what is not complete."""
        for row in self._rows:
            if row.reason is None:
                row.cancel()

    def usage(self) -> tuple[int, int, int]:
        """Tokens of the prompts, of the answers, and how many of the prompts' were cached.

        A prompt counts once, however many answers it has.
        """
        once = self._rows[:: self.wanted.count]
        read, kept = sum(row.prompt_tokens for row in once), sum(row.cached_tokens for row in once)
        return read, sum(map(_tokens, self._pieces)), kept

    def choices(self) -> tuple[Choice, ...]:
        """The answers, when they are complete."""
        return tuple(_choice(each) for each in self._pieces)

    def token(self, number: int) -> dict[str, Any]:
        """A token as text and as bytes."""
        text = str(self.served.tokenizer.decode([number]))
        return {"token": text, "bytes": list(text.encode())}


def _piece(number: int, delta: Delta, reader: ToolCallParser | None) -> Piece:
    if reader is None:
        return Piece(number, delta.text, (), delta)
    found = reader.feed(delta.text) + (reader.close() if delta.reason else [])
    text = "".join(each for each in found if isinstance(each, str))
    return Piece(number, text, tuple(each for each in found if isinstance(each, ToolCall)), delta)


def _tokens(pieces: Sequence[Piece]) -> int:
    return sum(len(each.delta.ids) for each in pieces)


def _choice(pieces: Sequence[Piece]) -> Choice:
    reason = pieces[-1].delta.reason
    assert reason  # noqa: S101 - it is complete
    text = "".join(each.text for each in pieces)
    return Choice(text, reason, _tokens(pieces), tuple(c for each in pieces for c in each.calls))
