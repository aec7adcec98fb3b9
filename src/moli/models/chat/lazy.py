"""A chat model that is loaded in the background."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from moli.models.protocols.chat import ChatModel
from moli.records.messages import Message

_log = logging.getLogger(__name__)


class LaterChat:
    """Callers wait until the model is loaded; if loading fails, the next caller tries again."""

    def __init__(self, name: str, load: Callable[[], ChatModel]) -> None:
        self.name = name
        self._load = load
        self._loading: Future[ChatModel] | None = None
        self._turn = threading.Lock()

    def begin(self) -> Future[ChatModel]:
        """Load it in the background, unless that has been started and has not failed."""
        with self._turn:
            loading = self._loading
            if loading is None or (loading.done() and loading.exception()):
                pool = ThreadPoolExecutor(1, thread_name_prefix="load")
                loading = self._loading = pool.submit(self._load)
                loading.add_done_callback(self._tell)
            return loading

    @property
    def template_sha256(self) -> str:
        return self.begin().result().template_sha256

    def complete(
        self, messages: Sequence[Message], *, max_tokens: int = 512, cache_namespace: str = ""
    ) -> str:
        return (
            self.begin()
            .result()
            .complete(messages, max_tokens=max_tokens, cache_namespace=cache_namespace)
        )

    def _tell(self, loading: Future[ChatModel]) -> None:
        ends = not threading.main_thread().is_alive()  # the program, and this with it
        if (error := loading.exception()) and not ends:
            _log.error("%s cannot be loaded: %s", self.name, error)
