"""Images of text, recognised with Tesseract."""

import functools
import io
import os
import subprocess
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from moli.parsing.archive import REPAIR
from moli.parsing.blocks import Blocks
from moli.parsing.limits import Limits
from moli.parsing.pages.prose import close_up, is_unspaced, join_lines, words
from moli.parsing.processes import tied_to_this
from moli.records.errors import DocumentError

_LANGUAGES = ("eng", "chi_sim")
_MAX_PIXELS = 150_000_000
_MAX_SIDE = 10_000
# Below this mean confidence the page is likely upside down, sideways or too small.
_DOUBTFUL = 70.0
_NOISE = 25.0
_SMALL = 1500
# A page whose grey varies less than this is blank.
_FAINT = 24
_TURNS = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)


@dataclass(slots=True)
class Recognised:
    """The paragraphs of a page, each a list of lines, and how sure the engine is of them."""

    paragraphs: list[list[str]] = field(default_factory=list)
    confidence: float = 0.0
    letters: int = 0

    @property
    def is_chinese(self) -> bool:
        """Whether a good part of the letters is Chinese."""
        text = "".join(line for lines in self.paragraphs for line in lines)
        return sum(map(is_unspaced, text)) > 0.15 * self.letters

    @property
    def weight(self) -> float:
        """How much was read with how much certainty; certainty counts more."""
        return self.letters * max(0.0, self.confidence - 30.0) ** 2


def read(data: bytes, blocks: Blocks, limits: Limits) -> None:
    """Add the text in the image `data` to `blocks`; each frame of a TIFF is a page."""
    recogniser = Recogniser(blocks, limits)
    for image in _frames(data, blocks):
        blocks.page()
        add_page(recogniser.recognise(image), blocks)


def add_page(page: Recognised, blocks: Blocks) -> None:
    """Add recognised paragraphs to `blocks`."""
    vocabulary = words(line for lines in page.paragraphs for line in lines)
    for lines in page.paragraphs:
        blocks.paragraph(close_up(join_lines(lines, vocabulary)))


class Recogniser:
    """Reads the pages of one document, in the language that its pages turn out to be in."""

    def __init__(self, blocks: Blocks, limits: Limits) -> None:
        self._blocks, self._limits = blocks, limits
        self._languages = languages()

    def recognise(self, image: Image.Image, dpi: int = 0) -> Recognised:
        """The text of one image, whichever way up it is.

        The engine finds the orientation of most pages itself. Where it is in doubt, because
        the page holds little text or is small, the other languages, orientations and twice
        the size are tried.
        """
        if _is_blank(image):
            return Recognised()
        page = self._attempt(image, dpi)
        if page.letters and page.is_chinese != self._languages.startswith("chi"):
            # The engine reads a line in the first language that seems to fit: the order matters.
            self._turn_languages()
            page = self._attempt(image, dpi)
        if page.confidence >= _DOUBTFUL and page.letters > 10:
            return page
        candidates = [page]
        if max(image.size) < _SMALL:
            larger = image.resize((image.width * 2, image.height * 2), Image.Resampling.LANCZOS)
            candidates.append(self._attempt(larger, dpi * 2))
        for turn in _TURNS:
            if max(candidates, key=lambda page: page.weight).confidence >= _DOUBTFUL:
                break
            candidates.append(self._attempt(image.transpose(turn), dpi, upright=True))
        return max(candidates, key=lambda page: page.weight)

    def _turn_languages(self) -> None:
        self._languages = "+".join(reversed(self._languages.split("+")))

    def _attempt(self, image: Image.Image, dpi: int, upright: bool = False) -> Recognised:
        self._blocks.on_ocr()
        buffer = io.BytesIO()
        image.convert("L").save(buffer, "PPM")
        mode = "3" if upright or "osd" not in installed() else "1"
        resolution = ["--dpi", str(dpi)] if dpi else []
        try:
            done = subprocess.run(
                ["tesseract", "-", "-", "--psm", mode, "-l", self._languages, *resolution, "tsv"],
                input=buffer.getvalue(),
                capture_output=True,
                timeout=self._limits.page_seconds,
                check=False,
                env={**os.environ, "OMP_THREAD_LIMIT": "1"},
                preexec_fn=tied_to_this(),
            )
        except subprocess.TimeoutExpired:
            seconds = self._limits.page_seconds
            self._blocks.warn(f"a page was not recognised within {seconds:g} s")
            return Recognised()
        if done.returncode:
            self._blocks.warn("a page could not be recognised")
            return Recognised()
        return _parsed(done.stdout.decode("utf-8", "replace"))


def _is_blank(image: Image.Image) -> bool:
    levels = [level for level, count in enumerate(image.convert("L").histogram()) if count]
    return levels[-1] - levels[0] < _FAINT


def _frames(data: bytes, blocks: Blocks) -> Iterator[Image.Image]:
    """The pages of an image file, upright as the file says; only the first of an animation."""
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
                yield _prepared(frame)
                if image.format == "MPO":
                    break
    except Image.DecompressionBombError as error:
        raise DocumentError(
            "bomb", f"the image is too large ({error})", fix="Save it at a lower resolution."
        ) from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError) as error:
        raise DocumentError("broken", f"the image is damaged ({error})", fix=REPAIR) from error


def _prepared(image: Image.Image) -> Image.Image:
    """Upright, on white, in grey, and of a size that the engine takes."""
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


def _parsed(table: str) -> Recognised:
    """Paragraphs from the engine's table of words, without what it misread pictures as."""
    paragraphs: dict[tuple[str, ...], dict[str, list[tuple[str, float]]]] = {}
    for row in table.splitlines()[1:]:
        fields = row.split("\t")
        if len(fields) == 12 and fields[0] == "5" and fields[11].strip():
            lines = paragraphs.setdefault(tuple(fields[1:4]), {})
            lines.setdefault(fields[4], []).append((fields[11], float(fields[10])))
    page = Recognised()
    total = 0.0
    for lines in paragraphs.values():
        found = [word for line in lines.values() for word in line]
        letters = sum(len(text) for text, _ in found)
        certainty = sum(len(text) * confidence for text, confidence in found)
        if certainty / letters >= _NOISE:
            page.paragraphs.append([" ".join(text for text, _ in line) for line in lines.values()])
            page.letters += letters
            total += certainty
    page.confidence = total / page.letters if page.letters else 0.0
    return page


@functools.cache
def installed() -> frozenset[str]:
    """The languages that Tesseract can read here.

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


def languages() -> str:
    """The languages to read in, as the engine takes them."""
    found = [language for language in _LANGUAGES if language in installed()]
    if not found:
        raise DocumentError(
            "missing_tool",
            "Tesseract has no language data for English or Chinese",
            fix="Run: apt-get install tesseract-ocr-eng tesseract-ocr-chi-sim",
        )
    return "+".join(found)
