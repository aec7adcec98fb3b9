"""Generation in progress: deltas from a backend's thread, as an asynchronous stream.

A backend answers requests with a base model: the engine in this process, or a vLLM or SGLang
server. A delta is the part of an answer that one step of generation adds.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool

from moli.models.protocols.backend import failure
from moli.models.templates.tool_call_formats import detect_format
from moli.models.templates.tool_call_parser import (
    ToolCallDelta,
    ToolCallParser,
    join_tool_calls,
)
from moli.models.tokenizers import token_bytes_of
from moli.records.exchanges import Choice, ExchangeKind
from moli.records.generation import Delta, FinishReason, Request, Sampling, ScoredToken
from moli.records.messages import Message, Tool
from moli.serving.concurrency import DISCONNECT_POLL
from moli.serving.token_logprobs import PlacedToken, TokenPlacer, scored_tokens

if TYPE_CHECKING:
    from moli.models.protocols.backend import RunningRequest
    from moli.serving.served_models import ServedModel


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A request to a language model, whichever API it came in by.

    Attributes:
        model: name of the model; "" for the one in the settings.
        sampling: how tokens are chosen; its `max_tokens` is not used.
        max_tokens: maximum tokens of an answer; None for the default.
        messages: the conversation to answer; () if texts are continued.
        texts: texts to continue, some as token ids; () if a conversation is answered.
        n: number of answers to the conversation, or to each text.
        tools: tools that the model may call.
        required_tools: names of tools of which one must be called; () if the model decides.
        parallel_tool_calls: whether several tools may be called at once.
        prompt_field: field of the request with the conversation or the texts, for errors.
        options: the sampling options as the client sent them, with what the model recommends for
            those that it left out; they are stored with the exchange.
        kind: the API, which decides what an exchange can be used for.
        echo: whether an answer begins with the text that it continues.
        previous: id of the exchange (stored request and answers) that this one continues; "" if
            there is none.
    """

    model: str
    sampling: Sampling
    max_tokens: int | None = None
    messages: tuple[Message, ...] = ()
    texts: tuple[str | tuple[int, ...], ...] = ()
    n: int = 1
    tools: tuple[Tool, ...] = ()
    required_tools: tuple[str, ...] = ()
    parallel_tool_calls: bool = True
    prompt_field: str = "messages"
    options: dict[str, Any] = field(default_factory=dict)
    kind: ExchangeKind = "chat"
    echo: bool = False
    previous: str = ""

    def with_recommended(self, sampling: Mapping[str, float]) -> GenerationRequest:
        """This request with the values that its model recommends where it sets none."""
        unset: dict[str, Any] = {
            name: value for name, value in sampling.items() if name not in self.options
        }
        return replace(
            self,
            sampling=replace(self.sampling, **unset),
            options={**self.options, **unset},
        )


@dataclass(frozen=True, slots=True)
class ChoiceDelta:
    """New part of one of the answers, with tool calls parsed out of its text.

    Attributes:
        index: index of the answer, from 0.
        text: new text that is not part of a tool call.
        calls: new parts of tool calls.
        delta: the backend's delta that this comes from.
        tokens: tokens whose text is complete now; () if their log probabilities were not requested.
    """

    index: int
    text: str
    calls: tuple[ToolCallDelta, ...]
    delta: Delta
    tokens: tuple[PlacedToken, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing, as while a character or a call is incomplete."""
        return not (self.text or self.calls or self.tokens or self.delta.reason)

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
        self._scored_prompts: list[list[ScoredToken]] = []  # by the index of the answer

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
        self._scored_prompts = [[ScoredToken(ids[0], None)] if ids else [] for ids in prompts]
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
            InputError: an answer cannot go on with the format that the request asks for.
        """
        unfinished = len(self._running)
        try:
            readers = [self._reader(index) for index in range(len(self._running))]
            while unfinished:
                index, delta = await self._queue.get()
                self.timings_ms.setdefault("first", self._elapsed_ms())
                if delta.reason in ("failed", "refused"):
                    raise failure(delta.reason, self._constrained_by())
                self._scored_prompts[index] += delta.prompt
                if delta.prompt and not delta.reason:
                    continue  # nothing of the answer yet
                parsed = readers[index].read(delta)
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
                await asyncio.wait({task}, timeout=DISCONNECT_POLL)
                if not task.done() and await is_disconnected():
                    self.cancel()
            await task
        finally:
            self.cancel()
        return self._choices

    def _constrained_by(self) -> str:
        """Field of the request that constrains the answers; "" if they are free."""
        if self.request.required_tools:
            return "tools"
        constraint = self.request.sampling.constraint
        return constraint.where if constraint else ""

    async def _complete(self) -> None:
        """Call `on_complete`, unless an answer was cancelled."""
        self.timings_ms["last"] = self._elapsed_ms()
        if all(each.reason != "cancelled" for each in self._running):  # else nobody received it
            await run_in_threadpool(self._on_complete, self)

    def _elapsed_ms(self) -> float:
        """Milliseconds since this generation was created."""
        return round((time.perf_counter() - self._started) * 1000, 3)

    def _reader(self, index: int) -> _AnswerReader:
        """A new reader of one answer."""
        request, parser, placer = self.request, None, None
        if request.tools:
            call_format = detect_format(self.served.template)
            parser = ToolCallParser(call_format, request.tools, request.required_tools)
        if request.sampling.logprobs is not None:
            offset = len(self.prompt_text(index)) if request.echo else 0
            placer = self._token_placer(offset)
        return _AnswerReader(index, parser, placer)

    def _token_placer(self, offset: int = 0) -> TokenPlacer:
        """A new placer of the tokens of a text."""
        tokenizer = self.served.tokenizer
        return TokenPlacer(tokenizer, token_bytes_of(tokenizer), offset)

    def prompt_text(self, index: int) -> str:
        """The text that an answer continues."""
        prompt = self.request.texts[index // self.request.n]
        if isinstance(prompt, str):
            return prompt
        return str(self.served.tokenizer.decode(prompt, skip_special_tokens=True))

    def prompt_tokens(self, index: int) -> list[PlacedToken]:
        """The tokens of that text; their log probabilities must have been requested."""
        scored = self._scored_prompts[index]
        return self._token_placer().feed(self.prompt_text(index), scored, "length")

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


@dataclass(frozen=True, slots=True)
class _AnswerReader:
    """Reads the deltas of one answer.

    Attributes:
        parser: finds tool calls; None if the request has no tools.
        placer: places tokens in the text; None if their log probabilities were not requested.
    """

    index: int
    parser: ToolCallParser | None
    placer: TokenPlacer | None

    def read(self, delta: Delta) -> ChoiceDelta:
        """The delta with its text, tool calls and tokens apart."""
        text, calls, tokens = delta.text, tuple[ToolCallDelta, ...](), tuple[PlacedToken, ...]()
        if self.placer:
            tokens = tuple(self.placer.feed(text, scored_tokens(delta), delta.reason))
        if self.parser:
            parsed = self.parser.feed(text) + (self.parser.close() if delta.reason else [])
            text = "".join(each for each in parsed if isinstance(each, str))
            calls = tuple(each for each in parsed if not isinstance(each, str))
        return ChoiceDelta(self.index, text, calls, delta, tokens)


def _count_tokens(deltas: Sequence[ChoiceDelta]) -> int:
    """Number of generated tokens in deltas."""
    return sum(len(each.delta.ids) for each in deltas)


def _join_deltas(deltas: Sequence[ChoiceDelta]) -> Choice:
    """The complete answer that these deltas add up to."""
    reason = deltas[-1].delta.reason
    assert reason  # noqa: S101 - it is complete
    text = "".join(each.text for each in deltas)
    calls = join_tool_calls(call for each in deltas for call in each.calls)
    return Choice(text, reason, _count_tokens(deltas), calls)
