"""A backend whose answers are written by a vLLM or SGLang server.

backend = RemoteBackend("http://gpu:8000", "Qwen/Qwen3-8B")
backend.add_adapter(stored.hash, stored.folder)
backend.submit(Request(ids, Sampling(), adapter=stored.hash), on_delta)

The server gets token ids, so the chat template is the one that the model was trained with. It gets
adapters under names derived from their content: if one were reloaded under an old name, the server
would answer from the keys and values that it cached for the old one.
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
from moli.models.remote.admin import ServerAdmin
from moli.models.remote.completions import (
    cached_prompt_tokens,
    loggable_error,
    parse_delta,
    parse_error,
    request_body,
    stream_events,
)
from moli.models.remote.servers import ServerKind
from moli.records.errors import InputError, ModelError, MoliError
from moli.records.generation import Delta, DeltaCallback, FinishReason, Request

_log = logging.getLogger(__name__)
_REFUSALS = (400, 413, 422)  # statuses by which a server says that the request is wrong
_CONNECT_TIMEOUT = 10.0  # seconds
_MAX_CONNECTIONS = 512  # at once; further requests wait for one
_KEEPALIVE = 2.0  # seconds an idle connection is kept; these servers close it after 5


class _AdapterMissingError(Exception):
    """The server no longer has the adapter of a request."""


@dataclass(slots=True, eq=False)
class RemoteRequest:
    """A `RunningRequest` that a server is answering.

    Attributes:
        loop: event loop of the backend.
        task: task that reads the answer; None until it is started.
        has_begun: whether the server has sent any of the answer.
        cached_tokens: number of prompt tokens that the server had cached.
        reason: why the answer ended; None while it is in progress.
    """

    request: Request
    on_delta: DeltaCallback
    loop: asyncio.AbstractEventLoop
    task: asyncio.Task[Delta] | None = None
    has_begun: bool = False
    cached_tokens: int = 0
    reason: FinishReason | None = None

    @property
    def prompt_tokens(self) -> int:
        """Number of tokens of the prompt."""
        return len(self.request.ids)

    def cancel(self) -> None:
        """Stop, and close the connection. May be called from any thread."""
        with contextlib.suppress(RuntimeError):  # the backend was closed, and this with it
            self.loop.call_soon_threadsafe(self._cancel_task)

    def _cancel_task(self) -> None:
        """Cancel the task, which ends the request. Called in the event loop."""
        if self.task:
            self.task.cancel()

    def finish(self, delta: Delta) -> None:
        """Set `reason`, and call `on_delta` with the last delta."""
        self.reason = delta.reason or "failed"
        self.on_delta(delta)


class RemoteBackend:
    """A backend whose requests are answered by a server.

    Callbacks are called in a thread of this backend.

    Args:
        url: address with or without the /v1 at its end.
        key: API key that the server was started with; "" for none.
        base: the name of the base model on the server, or its path there.
        timeout: seconds of silence from the server after which an answer has failed.

    Attributes:
        info: capabilities of the server when it was connected.

    Raises:
        ModelError: the server cannot be reached, serves another base, or is too old.
    """

    def __init__(
        self,
        url: str,
        base: str,
        *,
        kind: ServerKind = "vllm",
        key: str = "",
        timeout: float = 120.0,
    ) -> None:
        self._admin = ServerAdmin(url, kind, key)
        self.info = self._admin.inspect(base)
        self._adapter_folders: dict[str, Path] = {}
        self._lock = threading.Lock()
        self._salt_key = secrets.token_bytes(32)
        self._client = httpx.AsyncClient(
            base_url=self.url,
            headers=self._admin.headers,
            timeout=httpx.Timeout(timeout, connect=_CONNECT_TIMEOUT, pool=None),
            limits=httpx.Limits(max_connections=_MAX_CONNECTIONS, keepalive_expiry=_KEEPALIVE),
        )
        self._running: set[RemoteRequest] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="remote", daemon=True)
        self._thread.start()

    # These methods are called from any thread.

    @property
    def url(self) -> str:
        """Address of the server."""
        return self._admin.url

    @property
    def waiting_requests(self) -> int:
        """Number of requests submitted here that the server has not begun to answer."""
        return sum(not running.has_begun for running in list(self._running))

    @property
    def running_requests(self) -> int:
        """Number of requests submitted here that the server is answering now."""
        return sum(running.has_begun for running in list(self._running))

    def submit(self, request: Request, on_delta: DeltaCallback) -> RemoteRequest:
        """Have a request answered, without waiting for the server.

        If the server is gone, its answer ends as failed; if it refuses the request, as refused.

        Raises:
            InputError: the request has no tokens or too many, an adapter that was not added, or
                something that this kind of server cannot do.
        """
        check_request(request, self.info.max_model_len, self._adapter_folders)
        max_tokens = self.info.max_model_len - len(request.ids)
        salt = self._cache_salt(request.cache_namespace)
        body = request_body(self._admin.server, self.info.base, request, max_tokens, salt)
        running = RemoteRequest(request, on_delta, self._loop)
        self._running.add(running)
        self._loop.call_soon_threadsafe(self._start, running, body)
        return running

    def add_adapter(self, name: str, folder: Path) -> None:
        """Make a LoRA adapter available; the server loads it, unless it has it already.

        Args:
            name: name derived from the adapter's content: other content never has the same name.
            folder: adapter files; the server has to see the folder under the same path.

        Raises:
            ModelError: the server cannot be reached, or refuses the adapter; the error says why,
                and what the user can do.
        """
        with self._lock:
            if name not in self._adapter_folders:
                self._admin.load_adapter(name, folder)
                self._adapter_folders[name] = folder

    def close(self) -> None:
        """Stop; requests in progress end as cancelled."""
        asyncio.run_coroutine_threadsafe(self._cancel_all(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._admin.close()

    def _cache_salt(self, cache_namespace: Hashable) -> str:
        """The `cache_salt` of requests in a namespace, which other clients cannot guess."""
        if cache_namespace is None:
            return ""
        namespace = repr(cache_namespace).encode()
        return hashlib.blake2b(namespace, key=self._salt_key, digest_size=32).hexdigest()

    def _reload_adapter(self, name: str) -> None:
        """Have the server load an adapter that it no longer has."""
        with self._lock:
            self._admin.load_adapter(name, self._adapter_folders[name])

    # These methods are called in the thread of the event loop.

    def _start(self, running: RemoteRequest, body: dict[str, Any]) -> None:
        """Start the task that sends a request and reads its answer."""
        running.task = self._loop.create_task(self._stream_answer(running, body))
        running.task.add_done_callback(partial(self._finish, running))

    async def _stream_answer(self, running: RemoteRequest, body: dict[str, Any]) -> Delta:
        """Send a request, and once more if the server was restarted and lost its adapter.

        Returns:
            The last delta, which is not reported yet.
        """
        try:
            return await self._send_and_stream(running, body)
        except _AdapterMissingError:
            await asyncio.to_thread(self._reload_adapter, running.request.adapter)
            return await self._send_and_stream(running, body)

    async def _send_and_stream(self, running: RemoteRequest, body: dict[str, Any]) -> Delta:
        """Send a request, and report its answer up to its last delta.

        Returns:
            The last delta. It is not reported yet, since the usage comes after it.
        """
        last: Delta | None = None
        async with self._client.stream("POST", "/v1/completions", json=body) as response:
            if not response.is_success:
                await response.aread()
                error = parse_error(response)
                missing = self._admin.server.adapter_missing_message in error["message"]
                if running.request.adapter and missing:
                    raise _AdapterMissingError
                problem = f"it responded with {response.status_code}, {loggable_error(error)}"
                if response.status_code in _REFUSALS:
                    raise InputError(problem)
                raise ModelError(problem)
            async for event in stream_events(response):
                running.has_begun = True
                if "error" in event:
                    raise ModelError(f"it stopped with {loggable_error(event['error'])}")
                cached = cached_prompt_tokens(event.get("usage"))
                running.cached_tokens = cached or running.cached_tokens
                for choice in event["choices"]:
                    delta = parse_delta(choice, running.request.sampling.logprobs)
                    if delta.reason:
                        last = delta
                    else:
                        running.on_delta(delta)
        if last is None:
            raise ModelError("the stream ended early")
        return last

    def _finish(self, running: RemoteRequest, task: asyncio.Task[Delta]) -> None:
        """Report the end of an answer whose task is done."""
        self._running.discard(running)
        if task.cancelled():
            running.finish(Delta("", (), reason="cancelled"))
        elif error := task.exception():
            # An error of another kind may quote the conversation: only its type is logged.
            why = error if isinstance(error, MoliError) else type(error).__name__
            _log.warning("%s at %s did not answer: %s", self._admin.server.name, self.url, why)
            reason: FinishReason = "refused" if isinstance(error, InputError) else "failed"
            running.finish(Delta("", (), reason=reason))
        else:
            running.finish(task.result())

    async def _cancel_all(self) -> None:
        """Cancel all requests, wait for their ends, and close the connections."""
        tasks = [running.task for running in list(self._running) if running.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()
