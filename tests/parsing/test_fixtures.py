"""Real files, against texts that others recovered from them."""

import functools
import importlib.util
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from moli.parsing import SUFFIXES, Sandbox
from moli.parsing.formats import AUDIO
from moli.records.documents import ParsedDocument
from moli.records.errors import DocumentError

# What was measured, rounded down. Where it is far from 1, the expected text differs by choice:
# it leaves out notes of slides, or speakers of subtitles, or adds the numbers of charts.
ACCURACY = {
    "captions": 0.89, "csv": 0.99, "docx": 0.98, "epub": 0.99, "html": 0.98, "image": 0.98,
    "md": 0.97, "odp": 0.89, "ods": 0.97, "odt": 0.98, "pdf": 0.97, "pptx": 0.93, "rtf": 0.99,
    "txt": 0.88, "xls": 0.94, "xlsx": 0.89,
}  # fmt: skip


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    pytest.importorskip("rapidfuzz")
    path = Path(__file__).parents[2] / "bench/parsing.py"
    spec = importlib.util.spec_from_file_location("bench_parsing", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_parsing"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def parse() -> Iterator[Callable[[Path], ParsedDocument]]:
    """Reads a file, but each only once."""
    with Sandbox() as sandbox:
        yield functools.cache(sandbox.parse)


def is_slow(name: str) -> bool:
    """Scans of many pages, or turned ones, which other tests cover."""
    return "/ocr/" in name or name.endswith(("ocr_text.pdf", "_scan.pdf"))


@pytest.mark.slow
def test_accuracy(
    fixtures: Path, bench: ModuleType, parse: Callable[[Path], ParsedDocument]
) -> None:
    scores, failures = bench.measure(
        fixtures, parse, lambda name: not is_slow(name) and name not in bench.UNREASONABLE
    )
    assert not failures
    formats: dict[str, list[float]] = defaultdict(list)
    for score in scores:
        formats[score.format].append(score.accuracy)
    means = {name: sum(values) / len(values) for name, values in formats.items()}
    assert means.keys() == ACCURACY.keys()
    short = {name: (mean, ACCURACY[name]) for name, mean in means.items() if mean < ACCURACY[name]}
    assert not short


def check(document: ParsedDocument) -> None:
    text = document.text
    for heading in document.headings:
        assert text[heading.offset : heading.offset + len(heading.text)] == heading.text
        assert 1 <= heading.level <= 9
    offsets = [heading.offset for heading in document.headings]
    assert offsets == sorted(offsets)
    assert not document.pages or document.pages[0] == 0
    assert list(document.pages) == sorted(document.pages)
    assert unicodedata.is_normalized("NFC", text)
    assert text == text.strip("\n") and "\n\n\n" not in text
    assert not any(letter < " " and letter != "\n" for letter in text)


@pytest.mark.slow
def test_every_real_file_is_read_or_refused_with_a_reason(
    fixtures: Path, parse: Callable[[Path], ParsedDocument]
) -> None:
    refused = defaultdict(list)
    read = 0
    for path in sorted(fixtures.rglob("*")):
        name = path.relative_to(fixtures).as_posix()
        kind = SUFFIXES.get(path.suffix.lower())
        if not path.is_file() or kind in (None, "image", AUDIO) or "truth" in name or is_slow(name):
            continue
        try:
            check(parse(path))
            read += 1
        except DocumentError as error:
            refused[error.reason].append(path.name)
    assert read > 150
    assert refused.keys() <= {"empty"}, refused
