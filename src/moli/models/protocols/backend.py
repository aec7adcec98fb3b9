"""Backends: they answer requests, with the engine in this process or on another server."""

from __future__ import annotations

import threading
from collections.abc import Container, Generator, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Literal, Protocol

from moli.records.errors import InputError, ModelError
from moli.records.generation import Completion, Delta, DeltaCallback, FinishReason, Request

_COMPLETE = ("stop", "length")  # reasons of answers that did not fail
_HEARTBEAT_SECONDS = 0.1  # between two pieces of a stream


class RunningRequest(Protocol):
    """A request that was submitted to a backend."""

    @property
    def prompt_tokens(self) -> int:
        """Number of tokens of the prompt."""

    @property
    def cached_tokens(self) -> int:
        """Number of prompt tokens whose keys and values were cached from an earlier request."""

    @property
    def reason(self) -> FinishReason | None:
        """Why the answer ended; None while it is in progress."""

    def cancel(self) -> None:
        """Stop soon. May be called from any thread, and more than once."""


class Backend(Protocol):
    """Answers any number of requests at once."""

    @property
    def waiting_requests(self) -> int:
        """Number of submitted requests whose answers have not been started yet."""

    @property
    def running_requests(self) -> int:
        """Number of submitted requests that are being answered now; waiting ones not included."""

    def submit(self, request: Request, on_delta: DeltaCallback) -> RunningRequest:
        """Have a request answered, without waiting for it.

        `on_delta` is called from a thread of the backend and should be quick. The last delta, and
        no other, has a reason; a request that is cancelled or fails ends with such a delta as well.

        Raises:
            InputError: the request cannot be answered.
        """

    def add_adapter(self, name: str, folder: Path) -> None:
        """Make a LoRA adapter available, so that requests can name it.

        Args:
            name: name derived from the adapter's content: other content never has the same name.
            folder: folder with the adapter's files.

        Raises:
            ModelError: the adapter cannot be read, or does not fit the base model.
        """

    def close(self) -> None:
        """Stop; requests in progress end as cancelled."""


def check_request(request: Request, max_model_len: int, adapters: Container[str]) -> None:
    """Check that a request can be answered.

    Args:
        max_model_len: maximum number of tokens of a prompt and its answer together; the answer
            needs room for at least one token.
        adapters: names of the adapters that were added.

    Raises:
        InputError: the prompt has no tokens or too many, or the adapter was not added.
    """
    length = len(request.ids)
    if not length:
        raise InputError("the prompt has no tokens", fix="Write something.")
    if length >= max_model_len:
        raise InputError(
            f"the prompt has {length:,} tokens, but the model has room for {max_model_len:,}, "
            "including the answer",
            fix="Shorten it.",
        )
    if request.adapter and request.adapter not in adapters:
        raise InputError(f"no adapter is called '{request.adapter}' here", fix="Add it first.")


def complete(
    backend: Backend, requests: Sequence[Request], on_delta: DeltaCallback | None = None
) -> list[Completion]:
    """Submit requests and wait for all of their answers, which are in the order of the requests.

    Args:
        on_delta: called with every delta of every answer, from a thread of the backend. A delta
            does not say which request it belongs to.

    Raises:
        InputError: one of the requests cannot be answered, or its answer was refused.
        ModelError: one of them failed.
    """
    deltas_of_all: list[list[Delta]] = [[] for _ in requests]
    done = threading.Semaphore(0)

    def collect_into(deltas: list[Delta]) -> DeltaCallback:
        """A callback that collects one answer's deltas."""

        def collect(delta: Delta) -> None:
            deltas.append(delta)
            if on_delta:
                on_delta(delta)
            if delta.reason:
                done.release()

        return collect

    running = [
        backend.submit(request, collect_into(deltas))
        for request, deltas in zip(requests, deltas_of_all, strict=True)
    ]
    for _ in running:
        done.acquire()
    completions = list(map(join_deltas, running, deltas_of_all))
    for completion in completions:
        if completion.reason not in _COMPLETE:
            raise failure(completion.reason)
    return completions


def stream(backend: Backend, request: Request) -> Generator[str]:
    """Pieces of an answer's text as they are generated, and "" now and then while there is none.

    Closing the generator cancels the request.

    Raises:
        InputError: the request cannot be answered, or its answer was refused.
        ModelError: it failed.
    """
    deltas: SimpleQueue[Delta] = SimpleQueue()
    running = backend.submit(request, deltas.put)
    reason: FinishReason | Literal[""] = ""
    try:
        while not reason:
            try:
                delta = deltas.get(timeout=_HEARTBEAT_SECONDS)
            except Empty:
                yield ""
            else:
                reason = delta.reason
                yield delta.text
    finally:
        if not reason:
            running.cancel()
    if reason not in _COMPLETE:
        raise failure(reason)


def failure(reason: FinishReason | Literal[""], where: str = "") -> InputError | ModelError:
    """The error for an answer that did not end well.

    Args:
        where: field of the request with the format of the answer; "" if it has none.
    """
    if reason == "refused":
        return InputError(
            "the model cannot write an answer to this request",
            where,
            fix="Ask for a simpler format.",
        )
    return ModelError("the model failed to answer", fix="See the log.")


def join_deltas(request: RunningRequest, deltas: Sequence[Delta]) -> Completion:
    """The complete answer to a request that has ended, from all its deltas."""
    reason = deltas[-1].reason
    assert reason  # noqa: S101 - the last delta has one
    return Completion(
        text="".join(delta.text for delta in deltas),
        ids=tuple(token for delta in deltas for token in delta.ids),
        reason=reason,
        prompt_tokens=request.prompt_tokens,
        cached_tokens=request.cached_tokens,
        logprobs=tuple(value for delta in deltas for value in delta.logprobs),
        alternatives=tuple(others for delta in deltas for others in delta.alternatives),
    )
