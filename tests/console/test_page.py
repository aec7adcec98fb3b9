from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from console.conftest import ENCODER, EXAMPLE, INJECTED, make_workspace, serving, visiting
from samples import ingest_with

from moli.models.encoders.load import load_encoder

QUOTE = "The toy has a warranty of eighteen months."


@pytest.mark.slow
def test_asking_shows_the_cited_answer_and_opens_its_source(chromium: Any, address: str) -> None:
    with visiting(chromium, address) as visit:
        page = visit.page
        assert page.evaluate("document.documentElement.lang") == "en-US"
        assert page.evaluate("document.activeElement.tagName") == "INPUT"
        visit.ask("How long is the warranty of the toy?")
        assert QUOTE in page.inner_text(".answer")
        assert page.inner_text(".source h2") == "Toy manual"
        assert "page 1" in page.inner_text(".source .where")
        assert page.inner_text(".source .path") == "docs/manual.pdf"
        assert page.inner_text("mark") == QUOTE
        label = page.get_attribute(".chip", "aria-label")
        assert label == "Source 1: Toy manual · page 1 · Warranty"
        assert "confidence" in page.inner_text(".meta")
        assert visit.elsewhere == []
        assert visit.failures == []


@pytest.mark.slow
def test_asking_in_chinese_shows_a_chinese_page(chromium: Any, address: str) -> None:
    with visiting(chromium, address, "zh-CN") as visit:
        page = visit.page
        assert page.inner_text("h1") == "向你的文档提问"
        assert page.evaluate("document.documentElement.lang") == "zh-CN"
        visit.ask("充满电需要多长时间？")
        assert "充满电需要两小时" in page.inner_text(".answer")
        assert "第 2 页" in page.inner_text(".source .where")
        assert page.inner_text("mark") == "充满电需要两小时。"
        assert "置信度" in page.inner_text(".meta")
        assert visit.elsewhere == []
        assert visit.failures == []


@pytest.mark.slow
def test_a_quote_deep_in_a_long_document_is_scrolled_into_view(chromium: Any, address: str) -> None:
    with visiting(chromium, address) as visit:
        page = visit.page
        visit.ask("Which box does shelf 1500 hold, number 6500?")
        chip = page.locator(".chip", has=page.locator("span")).first
        chip.click()
        page.wait_for_function("document.querySelector('.text').scrollTop > 0")
        assert page.inner_text("mark") in page.inner_text(".answer")
        assert "A long document" in page.inner_text(".note")
        assert page.evaluate("document.querySelector('.text').textContent.length") <= 20_000
        page.wait_for_function("""() => {
            const box = document.querySelector(".text")?.getBoundingClientRect();
            const mark = document.querySelector("mark")?.getBoundingClientRect();
            return box && mark && box.top <= mark.top && mark.top <= box.bottom;
        }""")


@pytest.mark.slow
def test_markup_in_documents_and_questions_stays_text(chromium: Any, address: str) -> None:
    with visiting(chromium, address) as visit:
        page = visit.page
        evil = "<img src=http://evil.example/q.png> what does the gremlin note say <script>1"
        visit.ask(evil)
        page.click(".sources .entry")
        page.wait_for_selector("mark")
        assert page.text_content(".source .text") == INJECTED
        assert page.input_value(".question input") == evil
        assert page.locator(".moli script, .moli img, .moli a:not(.brand)").count() == 0
        assert page.title() == "Moli"
        assert visit.elsewhere == []
        assert visit.failures == []


@pytest.mark.slow
def test_an_empty_page_lists_the_visible_documents_and_offers_an_example(
    chromium: Any, address: str
) -> None:
    with visiting(chromium, address) as visit:
        page = visit.page
        assert page.inner_text(".count") == "3 documents"
        titles = page.locator(".documents .title").all_inner_texts()
        assert sorted(titles) == ["Toy manual", "gremlin.txt", "shelves.txt"]
        assert "manual.pdf: page 3 could not be read" in page.inner_text(".documents")
        page.click("text=Toy manual")
        page.wait_for_selector(".source .text")
        assert page.locator("mark").count() == 0
        page.click(f"text={EXAMPLE}")
        page.wait_for_selector(".meta")
        assert page.input_value(".question input") == EXAMPLE
        assert not page.is_visible(".shelf")


@pytest.mark.slow
def test_an_answers_address_shows_it_again_after_a_reload(chromium: Any, address: str) -> None:
    with visiting(chromium, address) as visit:
        page = visit.page
        visit.ask("How long is the warranty of the toy?")
        page.wait_for_url("**/?trace=*")
        answer = page.inner_text(".answer")
        page.reload()
        page.wait_for_selector("mark")
        assert page.inner_text(".answer") == answer
        assert page.input_value(".question input") == "How long is the warranty of the toy?"
        assert visit.failures == []


@pytest.mark.slow
def test_an_unknown_address_of_an_answer_says_so_and_the_page_works(
    chromium: Any, address: str
) -> None:
    with visiting(chromium, address, path="/?trace=nothing") as visit:
        assert "no answer 'nothing'" in visit.page.inner_text(".notice")
        visit.ask("How long is the warranty of the toy?")
        assert visit.page.inner_text(".notice") == ""


@pytest.mark.slow
def test_a_question_asked_before_the_page_is_connected_is_answered(
    chromium: Any, address: str
) -> None:
    with visiting(chromium, address) as visit:
        page = visit.page
        page.wait_for_function("window.did_handshake")
        page.evaluate("window.did_handshake = false")
        page.evaluate("setTimeout(() => window.did_handshake = true, 1500)")
        visit.ask("How long is the warranty of the toy?")
        assert QUOTE in page.inner_text(".answer")


@pytest.mark.slow
def test_the_page_survives_a_lost_connection(chromium: Any, address: str) -> None:
    with visiting(chromium, address) as visit:
        page = visit.page
        visit.ask("How long is the warranty of the toy?")
        before = page.inner_text(".answer")
        page.evaluate("window.socket.io.engine.close()")
        page.wait_for_function("window.socket.connected === false")
        page.wait_for_function("window.socket.connected === true", timeout=15_000)
        assert page.inner_text(".answer") == before
        visit.ask("gremlin note")
        assert page.locator(".sentence").count() > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("locale", "heading", "missing"),
    [
        (
            "en-US",
            "Not sure. The closest sentence in your documents:",
            "does not mention: B7, 2025",
        ),
        ("zh-CN", "不确定。文档中最接近的句子：", "没有提到：B7, 2025"),
    ],
)
def test_the_closest_sentence_is_shown_as_not_sure_with_its_source(
    chromium: Any,
    tmp_path: Path,
    check_accessibility: Callable[[Any], None],
    locale: str,
    heading: str,
    missing: str,
) -> None:
    workspace = make_workspace(tmp_path / "w", confidence=1.0, unsure=0.0)
    with (
        workspace,
        serving(workspace) as (address, _),
        visiting(chromium, address, locale) as visit,
    ):
        page = visit.page
        visit.ask("How long is the warranty of the toy?")
        assert page.inner_text("h2.unsure") == heading
        assert page.inner_text(".closest .words >> nth=0") in QUOTE
        assert page.inner_text("mark") == QUOTE
        assert page.locator(".missing").count() == 0
        (trace,) = workspace.traces.recent()
        lacking = replace(trace, id="f" * 32, missing=("B7", "2025"))
        workspace.traces.add(lacking)
        page.goto(f"{address}/?trace={lacking.id}")
        assert missing in page.inner_text(".missing")
        check_accessibility(page)
        assert visit.failures == []


@pytest.mark.slow
def test_documents_that_disagree_are_shown_with_their_dates(
    chromium: Any, tmp_path: Path, check_accessibility: Callable[[Any], None]
) -> None:
    workspace = make_workspace(tmp_path / "w")
    texts = {f"terms-{year}.txt": f"Goods may be returned in {days} days."
             for year, days in ((2023, 30), (2024, 14))}  # fmt: skip
    ingest_with(load_encoder(ENCODER), workspace, texts)
    with workspace, serving(workspace) as (address, _), visiting(chromium, address) as visit:
        visit.ask("In how many days may goods be returned?")
        assert visit.page.inner_text("h2.unsure") == "Your documents differ on this:"
        origins = visit.page.locator(".origin").all_inner_texts()
        assert origins == ["terms-2024.txt · 2024", "terms-2023.txt · 2023"]
        assert "14 days" in visit.page.inner_text(".sentence >> nth=0")
        check_accessibility(visit.page)
        assert visit.failures == []


@pytest.mark.slow
def test_without_an_answer_the_nearest_passages_can_be_opened(
    chromium: Any, tmp_path: Path
) -> None:
    workspace = make_workspace(tmp_path / "w", confidence=1.0, unsure=1.0)
    with workspace, serving(workspace) as (address, _), visiting(chromium, address) as visit:
        page = visit.page
        visit.ask("How long is the warranty of the toy?")
        assert "do not answer this question" in page.inner_text(".result")
        assert page.locator(".source").is_hidden()
        page.locator(".sources .entry").first.click()
        page.wait_for_selector("mark")


@pytest.mark.slow
def test_a_sentence_without_proof_is_marked(chromium: Any, tmp_path: Path) -> None:
    answer = 'Eighteen months. [1: "eighteen months"]\nThe moon is cheese.'
    workspace = make_workspace(tmp_path / "w", model=f"scripted:{answer}")
    with workspace, serving(workspace) as (address, _), visiting(chromium, address) as visit:
        page = visit.page
        visit.ask("How long is the warranty of the toy?")
        sentences = page.locator(".sentence")
        assert sentences.count() == 2
        assert "not supported" not in sentences.nth(0).inner_text()
        assert "not supported" in sentences.nth(1).inner_text()
        assert page.inner_text("mark") == "eighteen months"


@pytest.mark.slow
def test_a_model_that_fails_shows_a_message_and_the_page_stays_usable(
    chromium: Any, tmp_path: Path
) -> None:
    workspace = make_workspace(tmp_path / "w", model="openai:nobody@http://127.0.0.1:9/v1")
    with workspace, serving(workspace) as (address, _), visiting(chromium, address) as visit:
        for _ in range(2):
            visit.ask("How long is the warranty of the toy?")
            assert "cannot be reached" in visit.page.inner_text(".notice")
            assert visit.page.is_enabled(".primary")
        assert visit.failures == []


def test_addresses_other_than_the_page_keep_the_apis_errors(address: str) -> None:
    for method, path, status in (("GET", "/nothing", 404), ("GET", "/v1/ask", 405),
                                 ("POST", "/", 404), ("POST", "/health", 405)):  # fmt: skip
        response = httpx.request(method, address + path)
        assert response.status_code == status
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert httpx.get(address, headers={"host": "evil.example"}).status_code == 400
    assert "frame-ancestors 'none'" in httpx.get(address).headers["content-security-policy"]
