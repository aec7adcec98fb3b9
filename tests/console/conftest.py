from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from samples import ingest_with

from moli.models.encoders.load import load_encoder
from moli.records.documents import Heading, ParsedDocument
from moli.retrieval.ingest import Ingester, SourceDocument
from moli.workspace import Workspace

CHROMIUM = Path("/usr/bin/chromium")
ENCODER = "scripted:hash"
EXAMPLE = "How long is the warranty?"
INJECTED = (
    "The gremlin note says <script>document.title='owned'</script> and "
    "<img src=http://evil.example/pixel.png onerror=\"document.title='owned'\"> gremlin, and "
    "${document.title='owned'} `{{ 7*7 }}` ![x](http://evil.example/y.png)."
)

_RUN = """
import sys
from pathlib import Path
from moli.console.server import serve
from moli.workspace import Workspace
with Workspace.open(Path(sys.argv[1])) as workspace:
    serve(workspace, "127.0.0.1", int(sys.argv[2]), lambda address: print(address, flush=True),
          [sys.argv[3]])
"""


def make_workspace(root: Path, **settings: object) -> Workspace:
    lines = {"encoder": ENCODER, "confidence": 0.0} | settings
    toml = "\n".join(
        f"{name} = '''{value}'''" if isinstance(value, str) else f"{name} = {value}"
        for name, value in lines.items()
    )
    root.mkdir(exist_ok=True)
    (root / "moli.toml").write_text(toml, encoding="utf-8")
    workspace = Workspace.init(root)
    ingest = Ingester(workspace, load_encoder(ENCODER))
    shelves = "\n\n".join(f"Shelf {n} holds box number {n + 5000}." for n in range(3000))
    texts = {"notes/gremlin.txt": INJECTED, "archive/shelves.txt": shelves}
    ingest_with(load_encoder(ENCODER), workspace, texts)
    ingest_with(load_encoder(ENCODER), workspace, {"board.txt": "The board met in Turin."}, "board")
    text = "Warranty\n\nThe toy has a warranty of eighteen months.\n\n充电\n\n充满电需要两小时。"
    second = text.index("充电")
    parsed = ParsedDocument(
        text,
        (0, second),
        (Heading(0, 1, "Warranty"), Heading(second, 1, "充电")),
        "Toy manual",
        warnings=("page 3 could not be read",),
    )
    list(ingest.add_documents([SourceDocument("docs/manual.pdf", "pdf", "0" * 64, 1, parsed)]))
    return workspace


@contextmanager
def serving(workspace: Workspace, port: int = 0) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server in a process of its own, and its address."""
    process = subprocess.Popen(
        [sys.executable, "-c", _RUN, str(workspace.root), str(port), EXAMPLE],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None and process.stderr is not None
        address = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address), process.stderr.read()
        yield address, process
    finally:
        process.terminate()
        process.communicate(timeout=20)


@dataclass
class Visit:
    """A browser's page, what it asked the network for, and what went wrong in it."""

    page: Any
    address: str
    elsewhere: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def ask(self, question: str) -> None:
        shown = ".result .meta, .notice p"
        self.page.evaluate(f"document.querySelectorAll('{shown}').forEach(e => e.dataset.old = 1)")
        self.page.fill(".question input", question)
        self.page.keyboard.press("Enter")
        fresh = ".result .meta:not([data-old]), .notice p:not([data-old])"
        self.page.wait_for_selector(fresh, timeout=20_000)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    playwright = pytest.importorskip("playwright.sync_api")
    quiet = ("--no-sandbox", "--disable-gpu", "--disable-background-networking",
             "--disable-component-update", "--disable-sync")  # fmt: skip
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=str(CHROMIUM), args=list(quiet))
        yield browser
        browser.close()


@contextmanager
def visiting(browser: Any, address: str, locale: str = "en-US", path: str = "/") -> Iterator[Visit]:
    context = browser.new_context(locale=locale, viewport={"width": 1280, "height": 800})
    page = context.new_page()
    visit = Visit(page, address)
    own = (address, address.replace("http", "ws", 1), "data:")
    page.on(
        "request",
        lambda request: (
            None if request.url.startswith(own) else visit.elsewhere.append(request.url)
        ),
    )
    page.on("pageerror", lambda error: visit.failures.append(str(error)))
    page.on(
        "console",
        lambda message: visit.failures.append(message.text) if message.type == "error" else None,
    )
    page.goto(address + path)
    page.wait_for_selector(".question input")
    yield visit
    context.close()


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with make_workspace(tmp_path_factory.mktemp("console")) as made:
        yield made


@pytest.fixture(scope="session")
def address(workspace: Workspace) -> Iterator[str]:
    with serving(workspace) as (address, _):
        yield address


@pytest.fixture
def check_accessibility() -> Callable[[Any], None]:
    """Fails if axe finds anything on a page."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()

    def check(page: Any) -> None:
        found = axe.run(page).response["violations"]
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found] == []

    return check
