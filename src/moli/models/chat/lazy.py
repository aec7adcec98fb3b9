"""A chat model that is loaded in the background."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from moli.models.protocols.chat import ChatModel, TextCallback
from moli.records.messages import Message

_HEARTBEAT_SECONDS = 0.1  # between two calls of a callback while the model is loaded
_log = logging.getLogger(__name__)


class LazyChat:
    """A chat model that is loaded when it is first needed, or when `start_loading` is called.

    Callers wait until the model is loaded; if loading fails, the next call tries again.
    """

    def __init__(self, name: str, load: Callable[[], ChatModel]) -> None:
        self.name = name
        self._load = load
        self._loading: Future[ChatModel] | None = None
        self._lock = threading.Lock()

    def start_loading(self) -> Future[ChatModel]:
        """Load the model in the background, unless it is loaded or being loaded."""
        with self._lock:
            loading = self._loading
            if loading is None or (loading.done() and loading.exception()):
                pool = ThreadPoolExecutor(1, thread_name_prefix="load")
                loading = self._loading = pool.submit(self._load)
                loading.add_done_callback(self._log_failure)
            return loading

    @property
    def template_sha256(self) -> str:
        """Hash of the chat template; waits until the model is loaded."""
        return self.start_loading().result().template_sha256

    def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int = 512,
        cache_namespace: str = "",
        on_text: TextCallback | None = None,
    ) -> str:
        """The model's next message; waits until the model is loaded."""
        loading = self.start_loading()
        while on_text and wait([loading], _HEARTBEAT_SECONDS).not_done:
            on_text("")
        return loading.result().complete(
            messages, max_tokens=max_tokens, cache_namespace=cache_namespace, on_text=on_text
        )

    def _log_failure(self, loading: Future[ChatModel]) -> None:
        """Log why loading failed, if it did."""
        program_is_ending = not threading.main_thread().is_alive()  # which makes loading fail
        if (error := loading.exception()) and not program_is_ending:
            _log.error("%s cannot be loaded: %s", self.name, error)
