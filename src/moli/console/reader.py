"""The library, limited to the documents that a visitor of the page may see."""

from __future__ import annotations

from moli.records.answers import Trace
from moli.records.documents import Document
from moli.retrieval.answer import SentencesCallback
from moli.serving.access import Caller
from moli.serving.library import Library


class LibraryReader:
    """The library as one caller sees it. Calls may be slow: make them outside of the event loop.

    Attributes:
        key: name of the caller's key; "" on a server without keys.
        can_add: whether the caller may add documents.
    """

    def __init__(self, library: Library, caller: Caller) -> None:
        self._library, self._caller = library, caller
        self._visible = caller.document_filter()
        self.key, self.can_add = caller.key, caller.admin

    def documents(self) -> list[Document]:
        """The visible documents, by source."""
        return self._library.documents(self._visible)

    def text(self, document_id: int) -> str:
        """The whole text of a document.

        Raises:
            NotFoundError: it does not exist, or the caller may not see it.
        """
        return self._library.text(document_id, self._visible)

    def ask(self, question: str, on_sentences: SentencesCallback) -> Trace:
        """Answer a question; the trace has the answer and its passages.

        Args:
            on_sentences: see `Answerer.ask`.

        Raises:
            InputError: the question is empty or too long.
            ModelError: the language model did not answer.
        """
        answer = self._library.ask(question, self._visible, self._caller.tenant, on_sentences)
        return self.trace(answer.trace_id)

    def trace(self, trace_id: str) -> Trace:
        """The trace of an earlier answer.

        Raises:
            NotFoundError: it does not exist, or the caller may not see it.
        """
        return self._library.trace(trace_id, self._visible, self._caller.tenant)
