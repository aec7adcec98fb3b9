"""What one server offers of a workspace, as far as a reader may see it.

A caller's own groups are the most that they see. They may ask to see less, never more.
What is hidden and what does not exist are reported in the same words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from moli.models.backend import ModelPool
from moli.models.chat.lazy import LazyChat
from moli.models.chat.load import load_chat
from moli.models.encoders.load import load_encoder
from moli.models.protocols.chat import ChatModel
from moli.models.protocols.encoder import Encoder
from moli.models.weights.loading import runs_locally
from moli.records.answers import Answer, Hit, Trace
from moli.records.documents import Document
from moli.records.errors import NotFoundError
from moli.retrieval.answer import QUOTES, Answerer
from moli.retrieval.search import Retriever
from moli.workspace import Workspace
from moli.workspace.filter import Filter


class Library:
    """Search, answers, documents and traces of a workspace, for many threads at once."""

    def __init__(
        self, workspace: Workspace, encoder: Encoder, chat: ChatModel | None = None
    ) -> None:
        self.encoder = encoder
        self._settings = workspace.settings
        self._documents = workspace.documents
        self._passages = workspace.passages
        self._traces = workspace.traces
        self._retriever = Retriever(workspace, encoder)
        self._answerer = Answerer(workspace, self._retriever, chat)
        self._chat = chat
        self._model = chat.name if chat else QUOTES

    def begin(self) -> None:
        """Load what takes long, in the background."""
        if isinstance(self._chat, LazyChat):
            self._chat.start_loading()

    @classmethod
    def open(cls, workspace: Workspace, bases: ModelPool | None = None) -> Library:
        """The library with the encoder and the language model its settings name.

        A language model that runs here takes seconds to load; that waits for `begin`.

        Args:
            bases: where the language model is loaded, if it is shared with others.

        Raises:
            ModelError: one of them is not available.
        """
        settings = workspace.settings
        chat: ChatModel | None = None
        if name := settings.model:
            load = partial(load_chat, name, timeout=settings.timeout_seconds, bases=bases)
            chat = LazyChat(name, load) if runs_locally(name) else load()
        library = cls(workspace, load_encoder(settings.encoder), chat)
        # The first reader should not wait for what is only loaded on first use.
        library.search("ready 就绪", 1, Filter(frozenset(settings.groups)))
        return library

    def ask(self, question: str, visible: Filter, tenant: str = "") -> Answer:
        return self._answerer.ask(question, visible, tenant)

    def search(self, query: str, limit: int, visible: Filter) -> list[Hit]:
        return self._retriever.search(query, limit, visible)

    def documents(self, visible: Filter) -> list[Document]:
        """The documents by source. Each names only those of its groups that the reader is in."""
        return [_seen(each, visible) for each in self._documents.list(visible)]

    def document(self, document_id: int, visible: Filter) -> Document:
        """One document.

        Raises:
            NotFoundError: it does not exist, or the reader may not see it.
        """
        return _seen(self._documents.get(document_id, visible), visible)

    def text(self, document_id: int, visible: Filter) -> str:
        """The whole text of a document.

        Raises:
            NotFoundError: it does not exist, or the reader may not see it.
        """
        self._documents.get(document_id, visible)
        return self._documents.text(document_id)

    def trace(self, trace_id: str, visible: Filter, tenant: str = "") -> Trace:
        """The trace by its whole id, if it is the tenant's and all that it rests on may be seen.

        Raises:
            NotFoundError: it does not exist, or holds something the reader may not see.
        """
        try:
            trace = self._traces.get(trace_id)
        except NotFoundError:
            trace = None
        own = trace is not None and trace.id == trace_id and trace.tenant == tenant
        if trace is None or not own or not self._shows(trace, visible):
            raise NotFoundError(f"no trace '{trace_id}'", fix="Copy the id that an answer gave.")
        return replace(trace, groups=_common(trace.groups, visible))

    def _shows(self, trace: Trace, visible: Filter) -> bool:
        quoted = {each.document_id for each in trace.passages}
        quoted |= {each.document_id for part in trace.sentences for each in part.citations}
        if not quoted:
            # Nothing but the question: it is shown to those who see all that the asker saw.
            return frozenset(trace.groups) <= visible.groups
        return len(self._documents.list(visible, quoted)) == len(quoted)

    def status(self, visible: Filter) -> dict[str, Any]:
        """How the server is set up, and how much of it the reader sees."""
        indexes = self._retriever.indexes.status()
        return {
            "documents": len(self._documents.list(visible)),
            "passages": len(self._passages.all_visible_ids(visible)),
            "encoder": self._settings.encoder,
            "model": self._model,
            "behind": {name: index["behind"] for name, index in indexes.items()},
        }


def _seen(document: Document, visible: Filter) -> Document:
    return replace(document, groups=_common(document.groups, visible))


def _common(groups: Sequence[str], visible: Filter) -> tuple[str, ...]:
    return tuple(each for each in groups if each in visible.groups)
