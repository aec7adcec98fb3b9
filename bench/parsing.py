"""Accuracy of the parsers on real files, against texts that others recovered from them.

    make bench-parsing    (or: python bench/parsing.py [FIXTURES] [--json] [--only pdf])
    python bench/parsing.py --encodings    (guesses of encodings, on the same texts re-encoded)

Four collections of files are paired with the text expected of them. Accuracy is
1 - edit distance / length on text reduced to its words, so that white space and punctuation
of tables do not count; recall and precision compare bags of words, so that a different
reading order shows in accuracy only.
"""

import argparse
import contextlib
import json
import re
import sys
import tarfile
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from charset_normalizer import from_bytes
from rapidfuzz.distance import Indel

from moli.parsing import SUFFIXES, Sandbox
from moli.parsing.encodings import guess_encoding
from moli.parsing.formats import AUDIO
from moli.records.documents import ParsedDocument
from moli.records.errors import DocumentError

FIXTURES = Path(__file__).parents[2] / "shared" / "data" / "documents" / "fixtures.tar.gz"
# Files whose expected text is not the text of the file, with the reason.
UNREASONABLE = {
    "docling/tests/data/html/sources/hyperlink_03.html": "is the menu of a site",
    "docling/tests/data/ocr/sources/nemotron_multipage.pdf": "expects turned pages garbled",
    "docling/tests/data/xlsx/sources/xlsx_comments.xlsx": "leaves out the comments",
    "docling/tests/data/docx/sources/docx_comments.docx": "leaves out the comments",
    "docling/tests/data/docx/sources/docx_page_header_footer_first_page.docx": "has no headers",
    "docling/tests/data/docx/sources/unit_test_formatting.docx": "leaves out the headers",
    "docling/tests/data/xlsx/sources/xlsx_07_gap_tolerance_.xlsx": "has numbers without format",
    "textract/tests/eml/raw_text.eml": "expects the body of the first part only",
    "textract/tests/json/raw_text.json": "expects values without their names",
    "textract/tests/pdf/two_column.pdf": "expects both columns side by side",
}
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_IMAGE = re.compile(r"!\[[^\]]*\]\([^)]*\)")
_LINK = re.compile(r"\[([^\]]*)\]\(<?[^)\s]*>?(?:\s+\"[^\"]*\")?\)")
_RULE = re.compile(r"^\s*\|?(?:\s*:?-{2,}:?\s*\|?)+\s*$", re.MULTILINE)
_TAG = re.compile(r"</?(?:br|b|i|u|sub|sup|p|div|span|table|t[rdh]|a)\b[^>]*>")
_ESCAPE = re.compile(r"\\([\\`*_{}\[\]()#+\-.!|<>$&~])")
_ENTITIES = {"&lt;": "<", "&gt;": ">", "&amp;": "&", "&quot;": '"'}
_TABLE_ROW = re.compile(r"^\s*\|.*\|\s*$", re.MULTILINE)
_DEFAULT_NAME = re.compile(r"^## (?:Sheet|Slide)\s?\d*$", re.MULTILINE)
_WORD = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]|[^\W_]+")


@dataclass(frozen=True, slots=True)
class Score:
    """Accuracy of the text of one file, compared with the expected text."""

    file: str
    format: str
    accuracy: float
    recall: float
    precision: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that was refused."""

    file: str
    reason: str
    message: str


def without_markdown(markdown: str) -> str:
    """Markdown without its syntax."""
    text = _TABLE_ROW.sub(_without_repeated_cells, _COMMENT.sub("", markdown))
    text = _DEFAULT_NAME.sub("", text)
    text = _LINK.sub(r"\1", _IMAGE.sub("", text))
    text = _TAG.sub(" ", _RULE.sub("", text))
    for entity, character in _ENTITIES.items():
        text = text.replace(entity, character)
    return _ESCAPE.sub(r"\1", text)


def _without_repeated_cells(row: re.Match[str]) -> str:
    """A table row in which a cell that spans several columns occurs once."""
    cells = [cell.strip() for cell in row[0].strip().strip("|").split("|")]
    kept = [cell for n, cell in enumerate(cells) if n == 0 or cell != cells[n - 1] or not cell]
    return " | ".join(kept)


def words_of(text: str) -> list[str]:
    """Words in lower case, and single characters of scripts without spaces."""
    return _WORD.findall(text.casefold())


def compare(text: str, expected: str) -> tuple[float, float, float]:
    """Character accuracy, and recall and precision of words, of a parsed text."""
    ours, theirs = words_of(text), words_of(expected)
    accuracy = Indel.normalized_similarity(" ".join(ours), " ".join(theirs))
    common = (Counter(ours) & Counter(theirs)).total()
    return accuracy, common / max(1, len(theirs)), common / max(1, len(ours))


def files_with_expected_text(root: Path) -> Iterator[tuple[Path, str]]:
    """All files with the texts expected of them."""
    yield from _docling_files(root / "docling/tests/data")
    yield from _textract_files(root / "textract/tests")
    tests = root / "markitdown/packages/markitdown/tests/test_files"
    for expected in sorted((tests / "expected_outputs").glob("*.md")):
        source = tests / f"{expected.stem}.pdf"
        if source.exists():
            yield source, without_markdown(expected.read_text())
    pictures = root / "tesseract_test/testing"
    for name in ("8071_093.3B", "8087_054.3B", "eurotext", "phototest"):
        source, expected = pictures / f"{name}.tif", pictures / f"{name}.txt"
        if source.exists() and expected.exists():
            yield source, expected.read_text("utf-8", "replace")
    for name in ("rotated-180", "rotated-L", "rotated-R"):
        source = pictures / f"phototest-{name}.png"
        if source.exists():
            yield source, (pictures / "phototest.gold.txt").read_text()


def _docling_files(data: Path) -> Iterator[tuple[Path, str]]:
    for source in sorted(data.glob("*/sources/*")):
        truth = source.parents[1] / "groundtruth"
        candidates = [truth / f"{source.name}.md", truth / f"{source.stem}.md"]
        if source.parent.parent.name == "ocr":
            # The texts expected of the turned pages are as garbled as what they were made with.
            upright = source.stem.partition("_rotated")[0]
            candidates = [truth / "nemotron_ocr/full_page" / f"{upright}.nemotron_ocr.full_page.md"]
        expected = next((path for path in candidates if path.exists()), None)
        if expected is not None and source.suffix.lower() in SUFFIXES:
            yield source, without_markdown(expected.read_text())


def _textract_files(tests: Path) -> Iterator[tuple[Path, str]]:
    for source in sorted(tests.glob("*/*")):
        expected = source.with_suffix(".txt")
        if source.suffix.lower() in SUFFIXES and source.suffix != ".txt" and expected.exists():
            yield source, expected.read_text("utf-8", "replace")


def measure(
    root: Path, parse: Callable[[Path], ParsedDocument], is_included: Callable[[str], bool]
) -> tuple[list[Score], list[Failure]]:
    """Parse every file that has an expected text and has a name for which `is_included` is true."""
    scores: list[Score] = []
    failures: list[Failure] = []
    for source, expected in files_with_expected_text(root):
        name = source.relative_to(root).as_posix()
        kind = SUFFIXES[source.suffix.lower()]
        if kind == AUDIO or not expected.strip() or not is_included(name):
            continue
        started = time.perf_counter()
        try:
            text = parse(source).text
        except DocumentError as error:
            failures.append(Failure(name, error.reason, str(error)))
            continue
        seconds = time.perf_counter() - started
        scores.append(Score(name, kind, *compare(text, expected), seconds))
    return scores, failures


def report(scores: list[Score], failures: list[Failure], worst: int = 25) -> str:
    """The means by format, the worst files and the failures, as text."""
    formats: dict[str, list[Score]] = defaultdict(list)
    for score in scores:
        if score.file not in UNREASONABLE:
            formats[score.format].append(score)
    lines = [
        f"{'format':8} {'files':>5} {'accuracy':>8} {'recall':>7} {'precis.':>7} {'s/file':>6}"
    ]
    for name, group in sorted(formats.items()):
        means = (
            sum(getattr(score, field) for score in group) / len(group)
            for field in ("accuracy", "recall", "precision", "seconds")
        )
        accuracy, recall, precision, seconds = means
        lines.append(
            f"{name:8} {len(group):5} {accuracy:8.3f} {recall:7.3f} {precision:7.3f} {seconds:6.2f}"
        )
    lines.append("\nworst:")
    for score in sorted(scores, key=lambda score: score.accuracy)[:worst]:
        why = UNREASONABLE.get(score.file, "")
        lines.append(
            f"  {score.accuracy:.3f} r {score.recall:.3f} p {score.precision:.3f}"
            f" {score.file} {why}"
        )
    lines.append(f"\nfailed: {len(failures)}")
    lines += [f"  {failure.file}: {failure.reason}: {failure.message}" for failure in failures]
    return "\n".join(lines)


# Encodings that a text is put into, by a character that shows its script; the first that occurs.
_SCRIPTS = (
    ("[\u3041-\u30fe]", ("cp932", "euc_jp")), ("[\uac00-\ud7af]", ("cp949",)),
    ("[\u4e00-\u9fff]", ("gb18030", "cp950")), ("[\u0400-\u04ff]", ("cp1251", "koi8_r")),
    (r"[^\x00-\x7f]", ("cp1252",)),
)  # fmt: skip


def encoded_texts(texts: Iterable[str]) -> Iterator[tuple[str, str, bytes]]:
    """Beginnings of texts, in the older encodings of their scripts that have all their characters.

    Yields:
        text, encoding and encoded text; none that are valid UTF-8.
    """
    for text in dict.fromkeys(text[:length] for text in texts for length in (200, 2000)):
        names = next((names for script, names in _SCRIPTS if re.search(script, text)), ())
        for name in names:
            with contextlib.suppress(UnicodeEncodeError):
                data = text.encode(name)
                if data.decode("utf-8", "replace") != text:
                    yield text, name, data


def compare_guesses(root: Path, parse: Callable[[Path], ParsedDocument]) -> str:
    """A table of encodings: numbers of texts, and of those that each guesser decodes rightly."""
    texts = []
    for source in sorted(root.rglob("*")):
        if source.is_file() and SUFFIXES.get(source.suffix.lower(), "image") != "image":
            with contextlib.suppress(DocumentError):
                texts.append(parse(source).text)
    right: dict[str, Counter[str]] = defaultdict(Counter)
    for text, name, data in encoded_texts(texts):
        match = from_bytes(data).best()
        guesses = {"moli": guess_encoding(data), "charset-normalizer": "cp1252"}
        if match is not None:
            guesses["charset-normalizer"] = match.encoding
        right[name]["texts"] += 1
        for guesser, guess in guesses.items():
            right[name][guesser] += data.decode(guess, "replace") == text
    columns = ("texts", "moli", "charset-normalizer")
    lines = [f"{'encoding':9}" + "".join(f" {column:>18}" for column in columns)]
    for name, counts in sorted(right.items()):
        lines.append(f"{name:9}" + "".join(f" {counts[column]:18}" for column in columns))
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "fixtures",
        type=Path,
        nargs="?",
        default=FIXTURES,
        help="the archive of files, or a folder of them (default: the shared fixtures)",
    )
    parser.add_argument("--json", action="store_true", help="print every score as JSON")
    parser.add_argument("--only", default="", help="a format, or a part of file names")
    parser.add_argument("--encodings", action="store_true", help="compare guesses of encodings")
    parser.add_argument("--worst", type=int, default=25, help="how many of the worst to list")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root: Path = options.fixtures
        if root.is_file():
            with tarfile.open(root) as archive:
                archive.extractall(folder, filter="data")
            root = Path(folder)

        def is_included(name: str) -> bool:
            return options.only in name or options.only == SUFFIXES[Path(name).suffix.lower()]

        with Sandbox() as sandbox:
            if options.encodings:
                print(compare_guesses(root, sandbox.parse))
                return
            scores, failures = measure(root, sandbox.parse, is_included)
    if options.json:
        values = {"scores": [asdict(score) for score in scores],
                  "failures": [asdict(failure) for failure in failures]}  # fmt: skip
        json.dump(values, sys.stdout, indent=1)
    else:
        print(report(scores, failures, options.worst))


if __name__ == "__main__":
    main()
