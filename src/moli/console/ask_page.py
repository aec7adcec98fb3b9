"""The elements of the page, and their behavior when someone asks a question."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

from nicegui import run, ui
from nicegui.events import GenericEventArguments

from moli.console.answer_view import AnswerView
from moli.console.elements import add_button, add_container, add_text
from moli.console.reader import LibraryReader
from moli.console.shelf import Shelf
from moli.console.source import SourcePanel
from moli.console.translations import Translation
from moli.records.answers import Sentence, Trace
from moli.records.errors import MoliError
from moli.serving.access import SIGN_OUT

# The question travels with the submission: while a page is still connecting, the two events of
# typing and of submitting may arrive in either order.
_SEND_QUESTION = "(event) => emit(event.target.elements.question.value)"


class _StoppedError(Exception):
    """The visitor does not wait for the answer any longer."""


class _Asking:
    """A question that is being answered in a thread, and can be stopped.

    Args:
        view: shows the sentences that are complete.
    """

    def __init__(self, view: AnswerView) -> None:
        self._view, self._loop = view, asyncio.get_running_loop()
        self._stopped = threading.Event()
        self._shown: Sequence[Sentence] = ()

    @property
    def is_stopped(self) -> bool:
        """Whether nobody waits for the answer any longer."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """Have the thread stop soon, and show nothing of it from now on."""
        self._stopped.set()

    def show(self, sentences: Sequence[Sentence]) -> None:
        """Show sentences, from the thread that answers.

        Raises:
            _StoppedError: nobody waits for the answer.
        """
        if self.is_stopped:
            raise _StoppedError
        if len(sentences) > len(self._shown):
            self._shown = sentences
            self._loop.call_soon_threadsafe(self._show_draft, sentences)

    def _show_draft(self, sentences: Sequence[Sentence]) -> None:
        """Show sentences, in the event loop."""
        if not self.is_stopped:
            self._view.show_draft(sentences)


class AskPage:
    """The page of one visitor.

    Args:
        texts: texts of the page in the visitor's language.
        examples: questions to offer while nothing has been asked.
    """

    def __init__(self, reader: LibraryReader, texts: Translation, examples: Sequence[str]) -> None:
        self._reader, self._texts = reader, texts
        self._asking: _Asking | None = None
        self._trace_id = ""  # of the page's address
        self._no_answer = texts.no_answer
        with add_container("div", "moli") as root:
            self._add_header()
            add_text("p", texts.offline, "offline-note").props("role=alert")
            with add_container("div", "desk"):
                with add_container("div", "welcome") as self._welcome:
                    add_text("h1", texts.heading)
                    add_text("p", texts.subheading, "quiet")
                self._add_form()
                self._notice = add_container("div", "notice").props("role=alert")
                answer, shelf = add_container("div"), add_container("div")
            self._source = SourcePanel(reader, texts, root)
        with answer:
            self._answer = AnswerView(texts, self._source)
        with shelf:
            self._shelf = Shelf(
                texts, self._source, can_add=reader.can_add, examples=examples, ask=self.ask
            )
        ui.on("moli_address", self._follow_history)
        ui.on("moli_added", self.list_documents)

    def _add_header(self) -> None:
        """Add the name, the number of documents, and who is signed in."""
        texts = self._texts
        with add_container("div", "top"):
            add_text("a", "Moli", "brand").props["href"] = "/"
            self._count = add_container("span", "count")
            if self._reader.key:
                with add_container("form", "account").props(f"method=post action={SIGN_OUT}"):
                    add_text("span", texts.signed_in.format(name=self._reader.key))
                    with add_button("sign-out", kind="submit"):
                        add_text("span", texts.sign_out)

    def _add_form(self) -> None:
        """Add the field for a question, and the button that submits it."""
        texts = self._texts
        form = add_container("form", "ask").props("role=search")
        with form.on("submit.prevent", self._submit, js_handler=_SEND_QUESTION):
            self._field = ui.input(placeholder=texts.placeholder).classes("question")
            self._field.props("borderless dense autofocus maxlength=4000 name=question")
            self._field.props["aria-label"] = texts.question
            self._ask_button = add_button("primary", kind="submit")
            with self._ask_button:
                add_text("span", texts.ask)

    async def list_documents(self) -> None:
        """Read and list the documents, and remember what to say if there are none."""
        documents = await run.io_bound(self._reader.documents) or []
        texts = self._texts
        nothing = texts.no_documents if self._reader.can_add else texts.nothing_visible
        self._no_answer = texts.no_answer if documents else nothing
        self._count.clear()
        with self._count:
            add_text("span", texts.count_label(len(documents)))
        self._shelf.show(documents, nothing)

    # Asking

    async def _submit(self, event: GenericEventArguments) -> None:
        """Answer the question in a submitted form."""
        await self.ask(str(event.args))

    async def ask(self, question: str) -> None:
        """Answer a question on the page; while one is being answered, others are ignored."""
        if self._asking or not question.strip():
            return
        asking = self._asking = _Asking(self._answer)
        self._field.value = question
        self._ask_button.props("disabled")
        self._show_only_answer()
        self._answer.show_waiting(self.stop)
        message = self._texts.server_error
        try:
            started = time.perf_counter()
            trace = await run.io_bound(self._reader.ask, question, asking.show)
            if trace is not None and not asking.is_stopped:
                message = ""
                await self._show_answer(trace, time.perf_counter() - started)
                self._trace_id = trace.id
                ui.navigate.history.push(f"/?trace={trace.id}")
        except MoliError as error:
            message = str(error)
        except _StoppedError:
            pass
        finally:
            if not asking.is_stopped:
                self._finish(message)

    def stop(self, message: str = "") -> None:
        """Stop answering, if a question is being answered, and show a message instead.

        Args:
            message: default: that it was stopped.
        """
        if self._asking:
            self._asking.stop()
            self._finish(message or self._texts.stopped)

    async def _follow_history(self, event: GenericEventArguments) -> None:
        """Show the answer and the source of an entry of the browser's history."""
        trace_id, source = str(event.args["trace"]), int(event.args["source"])
        is_shown = trace_id == self._trace_id
        if not is_shown:
            await self.show_address(trace_id)
        if is_shown or source >= 0:
            await self._source.show_visited(source)

    async def show_address(self, trace_id: str) -> None:
        """Show what an address of the page stands for: an earlier answer, or the start for ""."""
        self.stop()
        self._trace_id = trace_id
        self._notice.clear()
        self._source.close()
        if not trace_id:
            self._answer.clear()
            self._field.value = ""
            self._welcome.classes(remove="unseen")
            self._shelf.set_visibility(visible=True)
            return
        try:
            trace = await run.io_bound(self._reader.trace, trace_id)
        except MoliError as error:
            self._finish(str(error))
            return
        if trace is not None:
            self._field.value = trace.question
            self._show_only_answer()
            await self._show_answer(trace, sum(trace.timings_ms.values()) / 1000)

    async def _show_answer(self, trace: Trace, seconds: float) -> None:
        """Show an answer and its first source."""
        await self._answer.show(trace, seconds, self._no_answer)

    def _show_only_answer(self) -> None:
        """Hide what is only shown while nothing has been asked. The heading stays for readers."""
        self._notice.clear()
        self._source.close()
        self._welcome.classes("unseen")
        self._shelf.set_visibility(visible=False)

    def _finish(self, message: str) -> None:
        """Allow the next question, and show a message, if any, in place of an answer."""
        self._asking = None
        self._ask_button.props(remove="disabled")
        self._notice.clear()
        if message:
            self._answer.clear()
            with self._notice:
                add_text("p", message)
