"""Optical character recognition (OCR) of page images with Tesseract."""

import functools
import io
import os
import statistics
import subprocess
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from moli.parsing.archive import REPAIR
from moli.parsing.blocks import Blocks
from moli.parsing.limits import Limits
from moli.parsing.pages.order import Row
from moli.parsing.pages.prose import is_unspaced, join_lines, remove_spaces_in_chinese, whole_words
from moli.parsing.pages.running import take_running_lines
from moli.parsing.pages.segments import Segment
from moli.parsing.processes import kill_child_with_parent
from moli.records.errors import DocumentError

_LANGUAGES = ("eng", "chi_sim")
_MAX_PIXELS = 150_000_000
_MAX_SIDE = 10_000
# Mean confidences from 0 to 100. Below this one the page may be rotated or too small.
_CERTAIN_CONFIDENCE = 70.0
# Below this one a paragraph is a picture taken for text.
_MIN_PARAGRAPH_CONFIDENCE = 25.0
_SMALL_SIDE = 1500
# A page whose grey levels differ by less than this is blank.
_MIN_CONTRAST = 24
_PAGE_HEIGHT = 842.0  # points of A4
_TALL = 1.6  # height of a title's words, beside the usual height
_WIDE_GAP = 3.0  # between words that do not belong together, beside the usual height
_ROTATIONS = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)

_Word = tuple[Segment, float]
"""A word with its box, and the confidence from 0 to 100."""


@dataclass(slots=True)
class RecognizedPage:
    """The text recognized on a page.

    Attributes:
        paragraphs: lists of lines, each the segments between wide gaps, in points of a page that
            is as high as A4.
        confidence: mean over the letters, from 0 to 100.
        letters: number of characters in all words.
        usual_height: the median height of the words in points.
    """

    paragraphs: list[list[Row]] = field(default_factory=list)
    confidence: float = 0.0
    letters: int = 0
    usual_height: float = 1.0

    @property
    def is_chinese(self) -> bool:
        """Whether more than 15 % of the letters are Chinese."""
        return sum(map(is_unspaced, "".join(self.lines()))) > 0.15 * self.letters

    def lines(self) -> Iterator[str]:
        """The texts of all lines."""
        return (line for lines in self.paragraphs for line in _line_texts(lines))

    def rows(self) -> list[Row]:
        """The lines as rows, in which those side by side are one."""
        rows: list[Row] = []
        lines = (line for lines in self.paragraphs for line in lines)
        for line in sorted(lines, key=lambda line: line[0].top):
            if rows and rows[-1][0].is_on_line_of(line[0]):
                rows[-1] = sorted([*rows[-1], *line], key=lambda segment: segment.left)
            else:
                rows.append(line)
        return rows

    def keep(self, rows: list[Row]) -> None:
        """Leave out all segments but those in `rows`."""
        kept = {id(segment) for row in rows for segment in row}
        self.paragraphs = [
            [line for row in lines if (line := [part for part in row if id(part) in kept])]
            for lines in self.paragraphs
        ]

    @property
    def score(self) -> float:
        """Quality to compare attempts by: number of letters, and above all confidence."""
        return self.letters * max(0.0, self.confidence - 30.0) ** 2


def read(data: bytes, blocks: Blocks, limits: Limits) -> None:
    """Add the text in the image file `data` to `blocks`; each frame of a TIFF is a page."""
    recognizer = PageRecognizer(blocks, limits)
    pages = [recognizer.recognize(image) for image in _frames(data, blocks)]
    even_out_sizes(pages)
    rows = [page.rows() for page in pages]
    heads = take_running_lines(rows)
    for page, head, kept in zip(pages, heads, rows, strict=True):
        blocks.begin_page()
        blocks.add_paragraph("\n".join(head))
        page.keep(kept)
        add_recognized_page(page, blocks)


def even_out_sizes(pages: Sequence[RecognizedPage]) -> None:
    """Give the lines of a document one size, but those that are clearly higher, such as titles.

    The height of a line depends on its letters, so that of one line differs from page to page.
    """
    usual = statistics.median([page.usual_height for page in pages if page.letters] or [1.0])
    for page in pages:
        for segment in (part for lines in page.paragraphs for line in lines for part in line):
            ratio = segment.size / page.usual_height
            segment.size = usual * (ratio if ratio > _TALL else 1.0)


def add_recognized_page(page: RecognizedPage, blocks: Blocks) -> None:
    """Add the paragraphs of a recognized page to `blocks`."""
    vocabulary = whole_words(page.lines())
    for lines in page.paragraphs:
        text = join_lines(_line_texts(lines), vocabulary)
        blocks.add_paragraph(remove_spaces_in_chinese(text))


def _line_texts(lines: list[Row]) -> list[str]:
    """The text of each line."""
    return [" ".join(segment.text for segment in line) for line in lines]


class PageRecognizer:
    """Recognizes the pages of one document, and remembers the language that they are in."""

    def __init__(self, blocks: Blocks, limits: Limits) -> None:
        self._blocks, self._limits = blocks, limits
        self._languages = usable_languages()

    def recognize(self, image: Image.Image, dpi: int = 0) -> RecognizedPage:
        """The text of one image in any orientation.

        Tesseract finds the orientation of most pages itself. Where its confidence is low, because
        the page has little text or is small, other languages, orientations and twice the size are
        tried, and the best attempt is returned.

        Args:
            image: a page.
            dpi: resolution in dots per inch; 0 if unknown.
        """
        if _is_blank(image):
            return RecognizedPage()
        page = self._run_tesseract(image, dpi)
        if page.letters and page.is_chinese != self._languages.startswith("chi"):
            # Tesseract reads a line in the first language that seems to fit: the order matters.
            self._reverse_languages()
            page = self._run_tesseract(image, dpi)
        if page.confidence >= _CERTAIN_CONFIDENCE and page.letters > 10:
            return page
        candidates = [page]
        if max(image.size) < _SMALL_SIDE:
            larger = image.resize((image.width * 2, image.height * 2), Image.Resampling.LANCZOS)
            candidates.append(self._run_tesseract(larger, dpi * 2))
        for rotation in _ROTATIONS:
            if max(candidates, key=lambda page: page.score).confidence >= _CERTAIN_CONFIDENCE:
                break
            candidates.append(self._run_tesseract(image.transpose(rotation), dpi, upright=True))
        return max(candidates, key=lambda page: page.score)

    def _reverse_languages(self) -> None:
        """Have the last language tried first."""
        self._languages = "+".join(reversed(self._languages.split("+")))

    def _run_tesseract(self, image: Image.Image, dpi: int, upright: bool = False) -> RecognizedPage:
        """Run Tesseract; if `upright`, without looking for the orientation."""
        self._blocks.on_ocr()
        buffer = io.BytesIO()
        image.convert("L").save(buffer, "PPM")
        mode = "3" if upright or "osd" not in installed_languages() else "1"
        resolution = ["--dpi", str(dpi)] if dpi else []
        try:
            done = subprocess.run(
                ["tesseract", "-", "-", "--psm", mode, "-l", self._languages, *resolution, "tsv"],
                input=buffer.getvalue(),
                capture_output=True,
                timeout=self._limits.page_seconds,
                check=False,
                env={**os.environ, "OMP_THREAD_LIMIT": "1"},
                preexec_fn=kill_child_with_parent(),
            )
        except subprocess.TimeoutExpired:
            seconds = self._limits.page_seconds
            self._blocks.warn(f"a page was not recognised within {seconds:g} s")
            return RecognizedPage()
        if done.returncode:
            self._blocks.warn("a page could not be recognised")
            return RecognizedPage()
        scale = _PAGE_HEIGHT / max(1, image.height)
        return _page_from_tsv(done.stdout.decode("utf-8", "replace"), scale)


def _is_blank(image: Image.Image) -> bool:
    """Whether all pixels have nearly the same grey level."""
    levels = [level for level, count in enumerate(image.convert("L").histogram()) if count]
    return levels[-1] - levels[0] < _MIN_CONTRAST


def _frames(data: bytes, blocks: Blocks) -> Iterator[Image.Image]:
    """The pages of an image file, prepared for Tesseract; of an animation only the first frame."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
            if image.width * image.height > _MAX_PIXELS:
                raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
            for title in ("Title", "title"):
                blocks.title = blocks.title or str(image.info.get(title, ""))
            frames = ImageSequence.Iterator(image) if image.format in ("TIFF", "MPO") else [image]
            for frame in frames:
                yield _prepare_image(frame)
                if image.format == "MPO":
                    break
    except Image.DecompressionBombError as error:
        raise DocumentError(
            "bomb", f"the image is too large ({error})", fix="Save it at a lower resolution."
        ) from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError) as error:
        raise DocumentError("broken", f"the image is damaged ({error})", fix=REPAIR) from error


def _prepare_image(image: Image.Image) -> Image.Image:
    """The image upright by its EXIF data, on white, in grey, and small enough for Tesseract."""
    if image.width * image.height > _MAX_PIXELS:
        raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
    image = ImageOps.exif_transpose(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image)
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        image = image.convert("F").point(lambda value: value / 256)
    image = image.convert("L")
    if max(image.size) > _MAX_SIDE:
        image.thumbnail((_MAX_SIDE, _MAX_SIDE))
    return image


def _page_from_tsv(table: str, scale: float) -> RecognizedPage:
    """A page from the table of words that Tesseract writes, without pictures misread as text.

    Args:
        scale: points for each pixel.
    """
    paragraphs: dict[tuple[str, ...], dict[str, list[_Word]]] = {}
    for row in table.splitlines()[1:]:
        fields = row.split("\t")
        if len(fields) == 12 and fields[0] == "5" and fields[11].strip():
            lines = paragraphs.setdefault(tuple(fields[1:4]), {})
            left, top, width, height = (int(number) * scale for number in fields[6:10])
            word = Segment(fields[11], left, top, left + width, top + height, height)
            lines.setdefault(fields[4], []).append((word, float(fields[10])))
    page = RecognizedPage()
    heights = [word.size for lines in paragraphs.values() for line in lines.values()
               for word, _ in line]  # fmt: skip
    page.usual_height = statistics.median(heights) if heights else 1.0
    total = 0.0
    for lines in paragraphs.values():
        words = [word for line in lines.values() for word in line]
        letters = sum(len(word.text) for word, _ in words)
        certainty = sum(len(word.text) * confidence for word, confidence in words)
        if certainty / letters >= _MIN_PARAGRAPH_CONFIDENCE:
            page.paragraphs.append([_row_of(line, page.usual_height) for line in lines.values()])
            page.letters += letters
            total += certainty
    page.confidence = total / page.letters if page.letters else 0.0
    return page


def _row_of(words: list[_Word], usual: float) -> Row:
    """The segments of a line: its words, joined where no wide gap is between them.

    Args:
        usual: the median height of the words on the page.
    """
    row: Row = []
    top, bottom = min(word.top for word, _ in words), max(word.bottom for word, _ in words)
    size = max(word.size for word, _ in words)
    for word, _ in words:
        if row and word.left - row[-1].right < _WIDE_GAP * usual:
            row[-1].text += f" {word.text}"
            row[-1].right = word.right
        else:
            row.append(Segment(word.text, word.left, top, word.right, bottom, size))
    return row


@functools.cache
def installed_languages() -> frozenset[str]:
    """Codes of the languages that Tesseract is installed with, and `osd` if it finds orientations.

    Raises:
        DocumentError: missing_tool, if Tesseract is not installed.
    """
    try:
        done = subprocess.run(
            ["tesseract", "--list-langs"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DocumentError(
            "missing_tool",
            "reading scanned pages and images needs Tesseract, which is not installed",
            fix="Run: apt-get install tesseract-ocr tesseract-ocr-chi-sim",
        ) from error
    return frozenset(done.stdout.split("\n")[1:])


def usable_languages() -> str:
    """Codes of the installed languages among those read here, joined for Tesseract by `+`.

    Raises:
        DocumentError: missing_tool, if none of them is installed.
    """
    usable = [language for language in _LANGUAGES if language in installed_languages()]
    if not usable:
        raise DocumentError(
            "missing_tool",
            "Tesseract has no language data for English or Chinese",
            fix="Run: apt-get install tesseract-ocr-eng tesseract-ocr-chi-sim",
        )
    return "+".join(usable)
