"""Generation in progress: deltas from a backend's thread, as an asynchronous stream.

A backend answers requests with a base model: the engine in this process, or a vLLM or SGLang
server. A delta is the part of an answer that one step of generation adds.
"""

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
    from moli.serving.served_models import ServedModel

_DISCONNECT_POLL = 0.25  # seconds between two checks whether the client is still connected


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A request to a language model, whichever API it came in by.

    Attributes:
        model: name of the model; "" for the one in the settings.
        sampling: how tokens are chosen; its `max_tokens` is not used.
        max_tokens: maximum tokens of an answer; None for the default.
        messages: the conversation to answer; () if texts are continued.
        texts: texts to continue; () if a conversation is answered.
        n: number of answers to the conversation, or to each text.
        tools: tools that the model may call.
        required_tools: names of tools of which one must be called; () if the model decides.
        parallel_tool_calls: whether several tools may be called at once.
        options: the sampling options as the client sent them, which are stored with the exchange.
        previous: id of the exchange (stored request and answers) that this one continues; "" if
            there is none.
    """

    model: str
    sampling: Sampling
    max_tokens: int | None = None
    messages: tuple[Message, ...] = ()
    texts: tuple[str, ...] = ()
    n: int = 1
    tools: tuple[Tool, ...] = ()
    required_tools: tuple[str, ...] = ()
    parallel_tool_calls: bool = True
    options: dict[str, Any] = field(default_factory=dict)
    previous: str = ""


@dataclass(frozen=True, slots=True)
class ChoiceDelta:
    """New part of one of the answers, with tool calls parsed out of its text.

    Attributes:
        index: index of the answer, from 0.
        text: new text that is not part of a tool call.
        calls: tool calls that are complete now.
        delta: the backend's delta that this comes from.
    """

    index: int
    text: str
    calls: tuple[ToolCall, ...]
    delta: Delta

    @property
    def reason(self) -> FinishReason | str:
        """Why the answer ends here, such as "stop" or "length"; "" if it goes on."""
        return self.delta.reason


@dataclass(frozen=True, slots=True)
class Usage:
    """Numbers of tokens. A prompt counts once, however many answers it has.

    Attributes:
        cached_tokens: prompt tokens whose keys and values were cached by an earlier request.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int


class ActiveGeneration:
    """All answers to one request, while they are generated.

    Args:
        on_complete: called in a thread when all answers are complete, before the last delta is
            passed on; not called if one was cancelled.

    Attributes:
        id: id of the exchange, the stored record of the request and its answers; 32
            hexadecimal digits.
        created_at: seconds since 1970.
        prompts: token ids of each prompt; a prompt with n answers occurs n times.
        timings_ms: milliseconds from the start to the first and to the last delta.
    """

    def __init__(
        self,
        request: GenerationRequest,
        served: ServedModel,
        on_complete: Callable[[ActiveGeneration], None],
    ) -> None:
        self.id, self.created_at = uuid.uuid4().hex, time.time()
        self.request, self.served = request, served
        self.prompts: list[list[int]] = []
        self.timings_ms: dict[str, float] = {}
        self._on_complete = on_complete
        self._started = time.perf_counter()
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[tuple[int, Delta]] = asyncio.Queue()
        self._running: list[RunningRequest] = []  # by the index of the answer
        self._choices: list[list[ChoiceDelta]] = []  # by the index of the answer

    @property
    def model(self) -> str:
        """Name of the model as the request has it; the default model's name if it has none."""
        return self.served.name

    def start(
        self, prompts: list[list[int]], samplings: Sequence[Sampling], cache_namespace: str
    ) -> None:
        """Submit a prompt for each answer to the backend. Called in a thread.

        Args:
            prompts: token ids of each prompt; a prompt with n answers occurs n times.
            samplings: sampling parameters of each answer.
            cache_namespace: cached prompts are reused only within the same namespace.
        """
        self.prompts = prompts
        self._choices = [[] for _ in prompts]
        for index, ids in enumerate(prompts):
            request = Request(ids, samplings[index], self.served.adapter, cache_namespace)
            on_delta = partial(self._enqueue, index)
            self._running.append(self.served.backend.submit(request, on_delta))

    def _enqueue(self, index: int, delta: Delta) -> None:
        """Pass a delta on to the event loop. Called in the backend's thread."""
        self._loop.call_soon_threadsafe(self._queue.put_nowait, (index, delta))

    async def stream(self) -> AsyncIterator[ChoiceDelta]:
        """Yield the deltas until all answers are complete; to stop early cancels them.

        Raises:
            ModelError: an answer failed.
        """
        unfinished = len(self._running)
        try:
            parsers = [self._tool_call_parser() for _ in self._running]
            while unfinished:
                index, delta = await self._queue.get()
                self.timings_ms.setdefault("first", self._elapsed_ms())
                if delta.reason == "failed":
                    raise ModelError("the model failed to answer", fix="The server's log says why.")
                parsed = _parse_delta(index, delta, parsers[index])
                self._choices[index].append(parsed)
                unfinished -= bool(delta.reason)
                if not unfinished:
                    await self._complete()
                yield parsed
        finally:
            self.cancel()

    async def collect(
        self, is_disconnected: Callable[[], Awaitable[bool]]
    ) -> list[list[ChoiceDelta]]:
        """The deltas of each answer, once all are complete or the client has disconnected.

        Raises:
            ModelError: an answer failed.
        """

        async def read_stream() -> None:
            """Read all deltas; `stream` collects them in `_choices`."""
            async for _ in self.stream():
                pass

        task = asyncio.create_task(read_stream())
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=_DISCONNECT_POLL)
                if not task.done() and await is_disconnected():
                    self.cancel()
            await task
        finally:
            self.cancel()
        return self._choices

    async def _complete(self) -> None:
        """Call `on_complete`, unless an answer was cancelled."""
        self.timings_ms["last"] = self._elapsed_ms()
        if all(each.reason != "cancelled" for each in self._running):  # else nobody received it
            await run_in_threadpool(self._on_complete, self)

    def _elapsed_ms(self) -> float:
        """Milliseconds since this generation was created."""
        return round((time.perf_counter() - self._started) * 1000, 3)

    def _tool_call_parser(self) -> ToolCallParser | None:
        """A new parser for one answer; None if the request has no tools."""
        if not self.request.tools:
            return None
        return ToolCallParser(detect_format(self.served.template), self.request.tools)

    def cancel(self) -> None:
        """Stop the answers that are not complete."""
        for running in self._running:
            if running.reason is None:
                running.cancel()

    def usage(self) -> Usage:
        """Numbers of tokens read and generated so far."""
        first_of_prompt = self._running[:: self.request.n]
        return Usage(
            prompt_tokens=sum(each.prompt_tokens for each in first_of_prompt),
            completion_tokens=sum(map(_count_tokens, self._choices)),
            cached_tokens=sum(each.cached_tokens for each in first_of_prompt),
        )

    def choices(self) -> tuple[Choice, ...]:
        """The answers, when they are complete."""
        return tuple(map(_join_deltas, self._choices))

    def describe_token(self, token_id: int) -> dict[str, Any]:
        """Text and UTF-8 bytes of a token, as the fields `token` and `bytes` of OpenAI's API."""
        text = str(self.served.tokenizer.decode([token_id]))
        return {"token": text, "bytes": list(text.encode())}


def _parse_delta(index: int, delta: Delta, parser: ToolCallParser | None) -> ChoiceDelta:
    """Separate the text of a delta from the tool calls in it."""
    if parser is None:
        return ChoiceDelta(index, delta.text, (), delta)
    parsed = parser.feed(delta.text) + (parser.close() if delta.reason else [])
    text = "".join(each for each in parsed if isinstance(each, str))
    calls = tuple(each for each in parsed if isinstance(each, ToolCall))
    return ChoiceDelta(index, text, calls, delta)


def _count_tokens(deltas: Sequence[ChoiceDelta]) -> int:
    """Number of generated tokens in deltas."""
    return sum(len(each.delta.ids) for each in deltas)


def _join_deltas(deltas: Sequence[ChoiceDelta]) -> Choice:
    """The complete answer that these deltas add up to."""
    reason = deltas[-1].delta.reason
    assert reason  # noqa: S101 - it is complete
    text = "".join(each.text for each in deltas)
    calls = tuple(call for each in deltas for call in each.calls)
    return Choice(text, reason, _count_tokens(deltas), calls)
