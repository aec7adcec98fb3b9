"""Search, answers, documents and traces of a workspace, for readers who may see only parts of it.

A trace is the stored record of an answer: the question, the passages found and the citations.
A caller's groups limit what they see; a request can narrow that further, but never widen it. A
hidden document is reported in the same words as one that does not exist.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from moli.models.backend import ModelPool
from moli.models.chat.lazy import LazyChat
from moli.models.encoders.load import encoder_of, load_encoder, load_workspace_encoder
from moli.models.protocols.chat import ChatModel
from moli.models.protocols.encoder import Encoder
from moli.models.weights.loading import runs_locally
from moli.records.answers import Absence, Answer, Hit, Trace
from moli.records.documents import Document
from moli.records.errors import NotFoundError
from moli.retrieval.absence import find_absence
from moli.retrieval.answer import QUOTES, Answerer, SentencesCallback
from moli.retrieval.search import Retriever
from moli.training.trained.names import find_named, load_named_chat
from moli.workspace import Workspace
from moli.workspace.filter import Filter


class Library:
    """The documents of a workspace, and answers from them, for many threads at once.

    Args:
        chat: the language model that answers; None for answers made of quotes.
    """

    def __init__(
        self, workspace: Workspace, encoder: Encoder, chat: ChatModel | None = None
    ) -> None:
        self._workspace = workspace
        self._documents = workspace.documents
        self._passages = workspace.passages
        self._traces = workspace.traces
        self._retriever = Retriever(workspace, encoder)
        self._lock = threading.Lock()
        self._chat = chat
        self._model = chat.name if chat else QUOTES

    def start_loading(self) -> None:
        """Load the language model in the background, if it runs on this machine."""
        if isinstance(self._chat, LazyChat):
            self._chat.start_loading()

    @classmethod
    def open(cls, workspace: Workspace, model_pool: ModelPool | None = None) -> Library:
        """The library with the encoder and the language model of the settings.

        A language model that runs here takes seconds to load; that waits for `start_loading`.

        Args:
            model_pool: where the language model is loaded, if others share it.

        Raises:
            ModelError: a model is not available.
        """
        settings = workspace.settings
        chat: ChatModel | None = None
        if name := settings.model:
            load = partial(load_named_chat, name, workspace, model_pool)
            is_local = find_named(name, workspace.models) is not None or runs_locally(name)
            chat = LazyChat(name, load) if is_local else load()
        library = cls(workspace, load_workspace_encoder(workspace), chat)
        # Parts that are only loaded on first use are loaded now, not while the first reader waits.
        library.search("ready 就绪", 1, Filter(frozenset(settings.groups)))
        return library

    @property
    def encoder(self) -> Encoder:
        """The encoder of the documents.

        Raises:
            ModelError: it is not available.
        """
        return self._current_retriever().encoder

    def _current_retriever(self) -> Retriever:
        """The retriever with the documents' encoder.

        The first documents may come from another process, and with another encoder than the one
        that was loaded for an empty workspace.
        """
        with self._lock:
            name = encoder_of(self._workspace, self._retriever.encoder.name)
            if name != self._retriever.encoder.name:
                self._retriever = Retriever(
                    self._workspace, load_encoder(name, self._workspace.root)
                )
            return self._retriever

    def ask(
        self,
        question: str,
        visible: Filter,
        tenant: str = "",
        on_sentences: SentencesCallback | None = None,
    ) -> Answer:
        """Answer a question from the visible documents, and store the answer's trace.

        Args:
            tenant: owner of the trace; "" for the only tenant.
            on_sentences: see `Answerer.ask`.
        """
        answerer = Answerer(self._workspace, self._current_retriever(), self._chat)
        return answerer.ask(question, visible, tenant, on_sentences)

    def search(self, query: str, limit: int, visible: Filter) -> list[Hit]:
        """At most `limit` passages of the visible documents that fit a query, the best first."""
        return self._current_retriever().search(query, limit, visible)

    def absence(self, visible: Filter) -> Absence:
        """The reason why no document is visible; "" if any is."""
        return find_absence(self._passages, visible)

    def documents(self, visible: Filter) -> list[Document]:
        """The visible documents by source, with only those of their groups the reader is in."""
        return [_hide_other_groups(each, visible) for each in self._documents.list(visible)]

    def document(self, document_id: int, visible: Filter) -> Document:
        """One document, with only those of its groups that the reader is in.

        Raises:
            NotFoundError: it does not exist, or the reader may not see it.
        """
        return _hide_other_groups(self._documents.get(document_id, visible), visible)

    def text(self, document_id: int, visible: Filter) -> str:
        """The whole text of a document.

        Raises:
            NotFoundError: it does not exist, or the reader may not see it.
        """
        self._documents.get(document_id, visible)
        return self._documents.text(document_id)

    def trace(self, trace_id: str, visible: Filter, tenant: str = "") -> Trace:
        """A trace of the tenant by its whole id, if all documents that it quotes are visible.

        Args:
            trace_id: the whole id; its beginning alone is not accepted.
            tenant: owner of the trace.
        Raises:
            NotFoundError: it does not exist, or holds something the reader may not see.
        """
        try:
            trace = self._traces.get(trace_id)
        except NotFoundError:
            trace = None
        is_own = trace is not None and trace.id == trace_id and trace.tenant == tenant
        if trace is None or not is_own or not self._is_trace_visible(trace, visible):
            raise NotFoundError(f"no answer '{trace_id}'", fix="Copy the id that an answer gave.")
        return replace(trace, groups=_shared_groups(trace.groups, visible))

    def _is_trace_visible(self, trace: Trace, visible: Filter) -> bool:
        """Whether the reader may see all documents that a trace quotes."""
        quoted = {each.document_id for each in trace.passages}
        quoted |= {each.document_id for part in trace.sentences for each in part.citations}
        if not quoted:
            # Only the question is in it: readers see it if they see all that the asker saw.
            return frozenset(trace.groups) <= visible.groups
        return len(self._documents.list(visible, quoted)) == len(quoted)

    def status(self, visible: Filter) -> dict[str, Any]:
        """The server's setup, and how many documents and passages are visible."""
        retriever = self._current_retriever()
        indexes = retriever.indexes.status()
        return {
            "documents": len(self._documents.list(visible)),
            "passages": len(self._passages.all_visible_ids(visible)),
            "encoder": retriever.encoder.name,
            "model": self._model,
            "behind": {name: index["behind"] for name, index in indexes.items()},
        }


def _hide_other_groups(document: Document, visible: Filter) -> Document:
    """The document without those of its groups that the reader is not in."""
    return replace(document, groups=_shared_groups(document.groups, visible))


def _shared_groups(groups: Sequence[str], visible: Filter) -> tuple[str, ...]:
    """The groups of a document that the reader is in as well."""
    return tuple(each for each in groups if each in visible.groups)
