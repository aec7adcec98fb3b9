"""What people do on the page besides asking: going back, waiting, rating, signing out, adding."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from console.conftest import Visit, make_workspace, serving, visiting
from samples import ingest_with

from moli.models.encoders.load import load_encoder
from moli.workspace import Workspace

WARRANTY = "How long is the warranty of the toy?"
QUOTE = "The toy has a warranty of eighteen months."
Check = Callable[[Any], None]

pytestmark = pytest.mark.slow


class SlowModel:
    """A server whose model writes one sentence, and then waits until it is told to go on."""

    def __init__(self) -> None:
        self.go_on, self.abandoned = threading.Event(), threading.Event()

    def pieces(self) -> Iterator[str]:
        yield 'Eighteen months. [1: "eighteen months"]\n'
        while not self.go_on.wait(0.05):
            yield ""
        yield 'The toy has it. [1: "The toy has a warranty"]\n'

    @contextmanager
    def serve(self) -> Iterator[str]:
        model = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                try:
                    for piece in model.pieces():
                        event = json.dumps({"choices": [{"delta": {"content": piece}}]})
                        self.wfile.write(f"data: {event}\n\n".encode())
                except OSError:
                    model.abandoned.set()

            def log_message(self, *_: object) -> None:
                pass

        http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=http.serve_forever, daemon=True).start()
        try:
            yield f"openai:m@http://127.0.0.1:{http.server_port}/v1"
        finally:
            self.go_on.set()
            http.shutdown()
            http.server_close()


@pytest.fixture
def slow(tmp_path: Path, chromium: Any) -> Iterator[tuple[SlowModel, Visit]]:
    """A visit to a server whose model is slow."""
    model = SlowModel()
    with (
        model.serve() as reference,
        make_workspace(tmp_path / "w", model=reference) as workspace,
        serving(workspace) as (address, _),
        visiting(chromium, address) as visit,
    ):
        yield model, visit


def start(visit: Visit, question: str = WARRANTY) -> None:
    """Send a question, and do not wait for its answer."""
    visit.page.fill(".question input", question)
    visit.page.keyboard.press("Enter")


# Addresses


def test_back_and_forward_go_through_the_answers(chromium: Any, address: str) -> None:
    with visiting(chromium, address) as visit:
        page = visit.page
        visit.ask(WARRANTY)
        page.wait_for_url("**/?trace=*")
        first = page.url
        visit.ask("What does the gremlin note say?")
        page.wait_for_function(f"location.href !== {json.dumps(first)}")
        page.go_back()
        page.wait_for_function(f"document.querySelector('.answer')?.innerText.includes('{QUOTE}')")
        assert page.url == first
        assert page.input_value(".question input") == WARRANTY
        page.go_back()
        page.wait_for_selector(".shelf", state="visible")
        assert page.locator(".answer").count() == 0
        assert page.input_value(".question input") == ""
        page.go_forward()
        page.wait_for_selector(".answer")
        assert not page.is_visible(".shelf")
        assert visit.failures == []


def test_an_answers_address_can_be_shared(chromium: Any, address: str) -> None:
    with visiting(chromium, address) as visit:
        visit.ask(WARRANTY)
        visit.page.wait_for_url("**/?trace=*")
        path = visit.page.url.removeprefix(address)
    with visiting(chromium, address, path=path) as other:
        other.page.wait_for_selector(".answer")
        assert QUOTE in other.page.inner_text(".answer")


# Waiting


def test_sentences_appear_while_the_model_writes(slow: tuple[SlowModel, Visit]) -> None:
    model, visit = slow
    page = visit.page
    start(visit)
    page.wait_for_selector(".draft .chip")
    assert page.inner_text(".draft .words >> nth=0").startswith("Eighteen")
    page.wait_for_function("document.querySelector('.elapsed')?.innerText === '0:01'")
    model.go_on.set()
    page.wait_for_selector(".meta")
    assert page.locator(".sentence").count() == 2
    assert page.locator(".waiting").count() == 0


def test_waiting_can_be_stopped_and_the_model_stops_too(
    slow: tuple[SlowModel, Visit], check_accessibility: Check
) -> None:
    model, visit = slow
    page = visit.page
    start(visit)
    page.wait_for_selector(".draft .chip")
    check_accessibility(page)
    page.click(".stop")
    page.wait_for_selector(".notice p")
    assert "Stopped" in page.inner_text(".notice")
    assert model.abandoned.wait(20)
    model.go_on.set()
    visit.ask(WARRANTY)
    assert page.locator(".sentence").count() == 2
    assert page.inner_text(".notice") == ""
    assert visit.failures == []


def test_a_server_that_is_gone_is_reported_until_it_is_back(chromium: Any, tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "w")
    with (
        workspace,
        serving(workspace) as (address, process),
        visiting(chromium, address) as visit,
    ):
        page = visit.page
        assert not page.is_visible(".offline-note")
        process.terminate()
        page.wait_for_selector(".offline-note", state="visible")
        assert "does not answer" in page.inner_text(".offline-note")
        process.wait(20)
        with serving(workspace, int(address.rpartition(":")[2])):
            page.wait_for_selector(".offline-note", state="hidden", timeout=60_000)
            page.wait_for_selector(".documents .title")
            visit.ask(WARRANTY)
            assert QUOTE in page.inner_text(".answer")


def test_back_closes_the_source_before_it_leaves_the_answer(chromium: Any, address: str) -> None:
    with visiting(chromium, address) as visit:
        page = visit.page
        page.fill(".question input", "a draft")
        for title in ("Toy manual", "gremlin"):
            page.click(f".documents .entry:has-text('{title}')")
            page.wait_for_selector(f".source h2:has-text('{title}')")
        page.go_back()  # from whichever document is open
        page.wait_for_selector(".source", state="hidden")
        assert page.input_value(".question input") == "a draft"
        page.go_forward()
        page.wait_for_selector(".source h2:has-text('gremlin')")
        page.click(".source .close")  # goes back too: no entry is left that shows nothing new
        page.wait_for_selector(".source", state="hidden")
        assert page.evaluate("history.state?.source") is None
        visit.ask(WARRANTY)
        page.wait_for_url("**/?trace=*")
        page.wait_for_selector(".source .text")
        answer = page.url
        page.click(".sources .entry")
        page.wait_for_function("history.state?.source !== undefined")
        page.keyboard.press("Escape")
        page.wait_for_selector(".source", state="hidden")
        assert (page.url, page.locator(".answer").count()) == (answer, 1)
        page.go_back()
        page.wait_for_selector(".shelf", state="visible")
        assert visit.failures == []


# Keys of the keyboard, thumbs


def test_slash_goes_to_the_question_and_escape_closes_the_source(
    chromium: Any, address: str
) -> None:
    with visiting(chromium, address) as visit:
        page = visit.page
        visit.ask(WARRANTY)
        page.wait_for_selector(".source .text")
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("/")
        assert page.evaluate("document.activeElement.getAttribute('name')") == "question"
        assert page.input_value(".question input") == WARRANTY
        page.keyboard.type("/")
        assert page.input_value(".question input").count("/") == 1
        page.keyboard.press("Escape")
        page.wait_for_selector(".source", state="hidden")


def test_thumbs_are_stored_as_feedback(chromium: Any, tmp_path: Path) -> None:
    with make_workspace(tmp_path / "w") as workspace:
        with serving(workspace) as (address, _), visiting(chromium, address) as visit:
            page = visit.page
            visit.ask(WARRANTY)
            page.wait_for_url("**/?trace=*")
            page.click(".thumb.up")
            page.wait_for_selector(".thumb.up[aria-pressed=true]")
            page.click(".thumb.down")
            page.wait_for_selector(".thumb.down[aria-pressed=true]")
            assert page.get_attribute(".thumb.up", "aria-pressed") == "false"
            assert "stored" in page.inner_text(".thanks")
            trace_id = page.url.partition("trace=")[2]
        ratings = [(each.answer_id, each.rating) for each in workspace.feedback.list()]
        assert ratings == [(trace_id, "up"), (trace_id, "down")]


# Documents


def test_a_document_with_several_quotes_is_listed_once(chromium: Any, tmp_path: Path) -> None:
    answer = (
        'Eighteen months. [1: "eighteen months"]\n'
        'Two hours. [1: "充满电需要两小时"]\nThe toy has it. [1: "The toy has a warranty"]'
    )
    workspace = make_workspace(tmp_path / "w", model=f"scripted:{answer}")
    with workspace, serving(workspace) as (address, _), visiting(chromium, address) as visit:
        page = visit.page
        visit.ask(WARRANTY)
        assert page.locator(".chip").all_inner_texts() == ["1", "1", "1"]
        assert page.locator(".sources .title").all_inner_texts() == ["Toy manual"]
        assert page.locator(".sources .entry").count() == 3
        page.click(".chip >> nth=1")
        page.wait_for_function("document.querySelector('mark')?.innerText.includes('两小时')")


def test_all_documents_are_listed_filtered_and_opened(
    chromium: Any, tmp_path: Path, check_accessibility: Check
) -> None:
    with make_workspace(tmp_path / "w") as workspace:
        texts = {f"minutes/week {n:03}.txt": f"Meeting number {n}." for n in range(250)}
        ingest_with(load_encoder("scripted:hash"), workspace, texts)
        with serving(workspace) as (address, _), visiting(chromium, address) as visit:
            page = visit.page
            page.wait_for_selector(".documents .entry")
            assert page.locator(".documents .entry").count() == 12
            check_accessibility(page)
            page.click(".more")
            page.wait_for_function("document.querySelectorAll('.documents .entry').length > 12")
            page.click(".more")
            page.wait_for_function("document.querySelectorAll('.documents .entry').length === 253")
            page.fill(".filter input", "WEEK 243")
            page.wait_for_function("document.querySelectorAll('.documents .entry').length === 1")
            page.click("text=week 243.txt")
            page.wait_for_selector(".source .text")
            assert page.inner_text(".source .text") == "Meeting number 243."
            page.fill(".filter input", "nothing like it")
            page.wait_for_selector("text=No document has such a name.")


def test_chosen_and_dropped_files_are_added_and_answer(chromium: Any, tmp_path: Path) -> None:
    note = tmp_path / "note.txt"
    note.write_text("The spare key hangs behind the blue door.", encoding="utf-8")
    with make_workspace(tmp_path / "w") as workspace:
        with serving(workspace) as (address, _), visiting(chromium, address) as visit:
            page = visit.page
            page.set_input_files(".drop input", note)
            page.wait_for_selector("text=note.txt: added")
            page.wait_for_function("document.querySelector('.count').innerText === '4 documents'")
            page.evaluate("""() => {
                const data = new DataTransfer();
                data.items.add(new File(["The cellar key is lost."], "lost.md"));
                data.items.add(new File([new Uint8Array([0, 1, 2])], "odd.exe"));
                document.body.dispatchEvent(
                    new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
            }""")
            page.wait_for_selector("text=lost.md: added")
            page.wait_for_selector(".uploads .failed")
            assert "odd.exe" in page.inner_text(".uploads .failed")
            visit.ask("Where does the spare key hang?")
            assert "blue door" in page.inner_text(".answer")
        assert sorted(each.name for each in (workspace.root / "uploads").iterdir()) == [
            "lost.md",
            "note.txt",
        ]


# Keys


def sign_in(page: Any, address: str, secret: str) -> None:
    page.goto(address)
    page.fill("input[name=key]", secret)
    page.click("button")
    page.wait_for_selector(".question input")


def test_the_page_says_who_is_signed_in_and_lets_them_out(
    chromium: Any, tmp_path: Path, check_accessibility: Check
) -> None:
    with make_workspace(tmp_path / "w") as workspace:
        secret = workspace.keys.add("anna", groups=["everyone"]).secret
        with serving(workspace) as (address, _):
            context = chromium.new_context(locale="en-US")
            page = context.new_page()
            page.goto(address)
            check_accessibility(page)
            sign_in(page, address, secret)
            page.wait_for_selector("text=signed in as anna")
            assert page.locator(".drop").count() == 0
            page.click(".sign-out")
            page.wait_for_url("**/sign-in")
            assert context.cookies() == []
            page.goto(address)
            assert page.url == f"{address}/sign-in"
            context.close()


def test_a_key_that_may_read_nothing_says_so(chromium: Any, tmp_path: Path) -> None:
    with make_workspace(tmp_path / "w") as workspace:
        secret = workspace.keys.add("nobody", groups=["empty"]).secret
        with serving(workspace) as (address, _):
            context = chromium.new_context(locale="en-US")
            page = context.new_page()
            sign_in(page, address, secret)
            page.wait_for_selector(".shelf >> text=may not read any document")
            page.fill(".question input", WARRANTY)
            page.keyboard.press("Enter")
            page.wait_for_selector(".result >> text=may not read any document")
            context.close()


@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(
    chromium: Any, address: str, check_accessibility: Check, locale: str, scheme: str
) -> None:
    with visiting(chromium, address, locale) as visit:
        visit.page.emulate_media(color_scheme=scheme)
        visit.page.wait_for_selector(".documents .entry")
        check_accessibility(visit.page)
        visit.ask(WARRANTY)
        visit.page.wait_for_selector("mark")
        check_accessibility(visit.page)


def test_without_an_answer_axe_finds_nothing(
    chromium: Any, tmp_path: Path, check_accessibility: Check
) -> None:
    workspace: Workspace = make_workspace(tmp_path / "w", confidence=1.0)
    with workspace, serving(workspace) as (address, _), visiting(chromium, address) as visit:
        visit.ask(WARRANTY)
        check_accessibility(visit.page)
