"""What a server needs from whatever writes its answers: this process's engine, or a server."""

from __future__ import annotations

import threading
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Protocol

from moli.records.errors import InputError, ModelError
from moli.records.generation import Completion, Delta, DeltaCallback, FinishReason, Request


class Running(Protocol):
    """A request in progress."""

    @property
    def prompt(self) -> int:
        """Tokens of the prompt."""

    @property
    def cached(self) -> int:
        """How many of them were cached, from an earlier answer."""

    @property
    def reason(self) -> FinishReason | None:
        """Why the answer ended; None while it is in progress."""

    def cancel(self) -> None:
        """Stop soon. May be called from any thread, and more than once."""


class Backend(Protocol):
    """Writes answers to any number of requests at once."""

    @property
    def waiting(self) -> int:
        """Requests that have not been started yet."""

    @property
    def working(self) -> int:
        """Requests being answered."""

    def submit(self, request: Request, hear: DeltaCallback) -> Running:
        """Have a request answered, without waiting for it.

        `hear` is called from a thread of the backend and should be quick. The last delta, and no
        other, has a reason; a request that is cancelled or fails ends with such a delta as well.

        Raises:
            InputError: the request cannot be answered.
        """

    def add(self, name: str, folder: Path) -> None:
        """Let requests name an adapter from now on.

        Args:
            name: derived from its content: different content never has the same name.

        Raises:
            ModelError: it is not available, or does not fit the base.
        """

    def close(self) -> None:
        """Stop; requests in progress end as cancelled."""


def check_request(request: Request, places: int, adapters: Container[str]) -> None:
    """Check that a request can be answered by a model with this many positions and these adapters.

    Raises:
        InputError: it has no tokens or too many, or an adapter that was not added.
    """
    length = len(request.ids)
    if not length:
        raise InputError("the prompt has no tokens", fix="Write something.")
    if length >= places:
        raise InputError(
            f"the prompt has {length:,} tokens, but the model has room for {places:,}, including "
            "the answer",
            fix="Shorten it.",
        )
    if request.adapter and request.adapter not in adapters:
        raise InputError(f"no adapter is called '{request.adapter}' here", fix="Add it first.")


def complete(
    backend: Backend, requests: Sequence[Request], heard: DeltaCallback | None = None
) -> list[Completion]:
    """Wait for the answers to all of these.

    Args:
        heard: called with every delta, from a thread of the backend.

    Raises:
        InputError: one of them cannot be answered.
        ModelError: one of them failed.
    """
    told: list[list[Delta]] = [[] for _ in requests]
    done = threading.Semaphore(0)

    def hears(deltas: list[Delta]) -> DeltaCallback:
        def hear(delta: Delta) -> None:
            deltas.append(delta)
            if heard:
                heard(delta)
            if delta.reason:
                done.release()

        return hear

    rows = [backend.submit(each, hears(told[n])) for n, each in enumerate(requests)]
    for _ in rows:
        done.acquire()
    answers = [completion(row, each) for row, each in zip(rows, told, strict=True)]
    if any(each.reason not in ("stop", "length") for each in answers):
        raise ModelError("the model failed to answer", fix="See the log.")
    return answers


def completion(row: Running, deltas: Sequence[Delta]) -> Completion:
    """An answer that is complete, of what was told of it."""
    reason = deltas[-1].reason
    assert reason  # noqa: S101
    return Completion(
        text="".join(each.text for each in deltas),
        ids=tuple(token for each in deltas for token in each.ids),
        reason=reason,
        prompt_tokens=row.prompt,
        cached_tokens=row.cached,
        logprobs=tuple(value for each in deltas for value in each.logprobs),
        alternatives=tuple(others for each in deltas for others in each.alternatives),
    )
