"""Answers written by a vLLM or SGLang server, for the same requests as the engine's.

backend = RemoteBackend("http://gpu:8000", "Qwen/Qwen3-8B")
backend.add_adapter(stored.hash, stored.folder)
backend.submit(Request(ids, Sampling(), adapter=stored.hash), hear)

The server gets token ids, so the template is the one that the model was trained with; and it gets
adapters under names derived from their content: one reloaded under an old name would be answered
from what the old one had cached.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import secrets
import threading
from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from moli.models.protocols.backend import check_request
from moli.models.remote.admin import Desk
from moli.models.remote.wire import Kind, body, cached_of, delta_of, error_in, events, kind_of
from moli.records.errors import ModelError
from moli.records.generation import Delta, DeltaCallback, FinishReason, Request

_log = logging.getLogger(__name__)
_CONNECT = 10.0  # seconds
_CONNECTIONS = 512  # at once; what is more waits for one
_IDLE = 2.0  # seconds a connection is kept, less than the 5 after which these servers close it


class _LostError(Exception):
    """The server no longer has this adapter."""


@dataclass(slots=True, eq=False)
class Stream:
    """An answer in progress on a server.

    Attributes:
        begun: whether the server has sent any of it.
    """

    request: Request
    hear: DeltaCallback
    loop: asyncio.AbstractEventLoop
    task: asyncio.Task[Delta] | None = None
    begun: bool = False
    cached_tokens: int = 0
    reason: FinishReason | None = None

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt."""
        return len(self.request.ids)

    def cancel(self) -> None:
        """Stop; the connection is closed. May be called from any thread."""
        with contextlib.suppress(RuntimeError):  # the backend was closed, and this with it
            self.loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self.task:
            self.task.cancel()

    def end(self, delta: Delta) -> None:
        """Report the end of it."""
        self.reason = delta.reason or "failed"
        self.hear(delta)


class RemoteBackend:
    """A server that writes answers. Listeners are called in a thread of this backend.

    Args:
        url, base, kind, key: as for `preflight`.
        timeout: seconds without a word from the server after which an answer has failed.

    Attributes:
        facts: what the server has and takes, as it was found.

    Raises:
        ModelError: the server cannot be reached, serves another base, or is too old.
    """

    def __init__(
        self, url: str, base: str, *, kind: Kind = "vllm", key: str = "", timeout: float = 120.0
    ) -> None:
        self._desk = Desk(url, kind, key)
        self.facts = self._desk.facts(base)
        self._folders: dict[str, Path] = {}
        self._turn = threading.Lock()
        self._secret = secrets.token_bytes(32)
        self._client = httpx.AsyncClient(
            base_url=self.url,
            headers=self._desk.headers,
            timeout=httpx.Timeout(timeout, connect=_CONNECT, pool=None),
            limits=httpx.Limits(max_connections=_CONNECTIONS, keepalive_expiry=_IDLE),
        )
        self._streams: set[Stream] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="remote", daemon=True)
        self._thread.start()

    # From any thread

    @property
    def url(self) -> str:
        """Of the server."""
        return self._desk.url

    @property
    def waiting_requests(self) -> int:
        """Requests that the server has not begun to answer."""
        return sum(not each.begun for each in list(self._streams))

    @property
    def running_requests(self) -> int:
        """Requests being answered."""
        return sum(each.begun for each in list(self._streams))

    def submit(self, request: Request, hear: DeltaCallback) -> Stream:
        """Have a request answered; `hear` is called as it proceeds.

        The server is not waited for: one that is gone, or refuses, ends the answer as failed.

        Raises:
            InputError: the request has no tokens or too many, an adapter that was not added, or
                something that this kind of server cannot do.
        """
        check_request(request, self.facts.places, self._folders)
        room, salt = self.facts.places - len(request.ids), self._salt(request.cache_namespace)
        asked = body(self._desk.server, self.facts.base, request, room, salt)
        stream = Stream(request, hear, self._loop)
        self._streams.add(stream)
        self._loop.call_soon_threadsafe(self._begin, stream, asked)
        return stream

    def add_adapter(self, name: str, folder: Path) -> None:
        """Let requests name an adapter from now on; the server loads it, unless it has it.

        Args:
            name: of its content.
            folder: which the server has to see under the same path.

        Raises:
            ModelError: the server cannot be reached, or refuses it; what it said, and what to do.
        """
        with self._turn:
            if name not in self._folders:
                self._desk.load(name, folder)
                self._folders[name] = folder

    def close(self) -> None:
        """Stop; requests in progress end as cancelled."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._desk.close()

    def _salt(self, space: Hashable) -> str:
        """The same for the same space, and not to be guessed by those who may ask the server."""
        if space is None:
            return ""
        return hashlib.blake2b(repr(space).encode(), key=self._secret, digest_size=32).hexdigest()

    def _load_again(self, name: str) -> None:
        with self._turn:
            self._desk.load(name, self._folders[name])

    # In the loop's thread

    def _begin(self, stream: Stream, asked: dict[str, Any]) -> None:
        stream.task = self._loop.create_task(self._answer(stream, asked))
        stream.task.add_done_callback(partial(self._ended, stream))

    async def _answer(self, stream: Stream, asked: dict[str, Any]) -> Delta:
        try:
            return await self._read(stream, asked)
        except _LostError:  # the server was started anew since the adapter was loaded
            await asyncio.to_thread(self._load_again, stream.request.adapter)
            return await self._read(stream, asked)

    async def _read(self, stream: Stream, asked: dict[str, Any]) -> Delta:
        """Tell all of an answer but its last delta, which is told when nothing is left to learn."""
        last: Delta | None = None
        async with self._client.stream("POST", "/v1/completions", json=asked) as response:
            if not response.is_success:
                await response.aread()
                error = error_in(response)
                if stream.request.adapter and self._desk.server.lost in error["message"]:
                    raise _LostError
                raise ModelError(f"it responded with {response.status_code}, {kind_of(error)}")
            async for event in events(response):
                stream.begun = True
                if "error" in event:
                    raise ModelError(f"it stopped with {kind_of(event['error'])}")
                stream.cached_tokens = cached_of(event.get("usage")) or stream.cached_tokens
                for choice in event["choices"]:
                    delta = delta_of(choice, stream.request.sampling.logprobs)
                    if delta.reason:
                        last = delta
                    else:
                        stream.hear(delta)
        if last is None:
            raise ModelError("the stream ended early")
        return last

    def _ended(self, stream: Stream, task: asyncio.Task[Delta]) -> None:
        self._streams.discard(stream)
        if task.cancelled():
            stream.end(Delta("", (), reason="cancelled"))
        elif error := task.exception():
            # Not in the error's own words, which may be some of the conversation.
            why = error if isinstance(error, ModelError) else type(error).__name__
            _log.warning("%s at %s did not answer: %s", self._desk.server.name, self.url, why)
            stream.end(Delta("", (), reason="failed"))
        else:
            stream.end(task.result())

    async def _stop(self) -> None:
        tasks = [each.task for each in list(self._streams) if each.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()
