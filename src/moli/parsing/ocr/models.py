"""The models of PP-OCRv6 that the package RapidOCR holds, run with OpenVINO.

One finds the lines of text on a page (Liao et al. 2020, "Real-time Scene Text Detection with
Differentiable Binarization"), the other reads a line in Chinese, English and other languages in
Latin letters. RapidOCR's own code is not used: it needs twice the memory, reads lines from a
reduced image, and would download a model that it misses.

Lines do not depend on each other, and numbers are in float32, so a page is read the same with any
number of threads.
"""

import math
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from moli.models.hardware.openvino import ov
from moli.parsing.pages.prose import BETWEEN_UNSPACED

Image = NDArray[np.uint8]
"""Grey levels, [height, width]."""

_MAX_THREADS = 4  # More would need more memory than a sandbox allows.
# The detector sees a page with about this many pixels, and a small image with a shorter side of
# this length but at most so many times enlarged: its letters should be 10 to 40 pixels high.
_DETECTED_PIXELS = 1_500_000
_SHORT_SIDE = 736
_MAX_ENLARGEMENT = 2.0
_MARGIN = 16  # pixels of white added around a page, since a letter at the edge is overlooked
_STRIDE = 32  # of which the sides are multiples
_TEXT_PROBABILITY = 0.3
_LINE_PROBABILITY = 0.5
_MIN_HEIGHT = 3.0
# The detector marks the core of a line; growing it by area x ratio / perimeter gives the letters.
_GROWTH_RATIO = 1.6
_LINE_HEIGHT = 48  # pixels of a line that is read
_WIDTH_STEP = 128  # widths are multiples of it, since OpenVINO prepares for each size anew
_MAX_WIDTH = 4096
_SPACE_PROBABILITY = 0.01  # From .003 to .02 words are parted best, measured in two languages.


@dataclass(frozen=True, slots=True)
class LineBox:
    """A rectangle around a line of text, in pixels.

    Attributes:
        x: horizontal position of the center.
        y: vertical position of the center.
        width: length of the sides that are nearer to the horizontal.
        height: length of the other sides.
        angle: by which it is turned clockwise, in degrees from -45 to 45.
    """

    x: float
    y: float
    width: float
    height: float
    angle: float

    def cut_out(self, page: Image) -> Image:
        """The part of the page in the box, turned upright."""
        width, height = max(2, round(self.width)), max(2, round(self.height))
        matrix = cv2.getRotationMatrix2D((self.x, self.y), self.angle, 1.0)
        matrix[:, 2] += np.array((width / 2 - self.x, height / 2 - self.y))
        cut = cv2.warpAffine(
            page, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
        return cast(Image, cut)


class LineText(NamedTuple):
    """The text of a line, and the mean confidence in its characters, from 0 to 1."""

    text: str
    confidence: float


class TextDetector:
    """Finds the lines of text on a page."""

    def __init__(self) -> None:
        cv2.setNumThreads(1)
        self._model = _compile(_read_model("PP-OCRv6_det_small.onnx"), streams=1)
        self._request = self._model.create_infer_request()

    def find_lines(self, page: Image) -> list[LineBox]:
        """The boxes of all lines, in no particular order."""
        height, width = page.shape
        enlargement = min(_MAX_ENLARGEMENT, max(1.0, _SHORT_SIDE / min(height, width)))
        scale = min(enlargement, math.sqrt(_DETECTED_PIXELS / (height * width)))
        # A long strip keeps at least a stride of its shorter side.
        size = max(_STRIDE, round(width * scale)), max(_STRIDE, round(height * scale))
        probabilities = self._text_probabilities(cv2.resize(
            page, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        ))  # fmt: skip
        mask = (probabilities > _TEXT_PROBABILITY).astype(np.uint8)
        mask = cast(Image, cv2.dilate(mask, np.ones((2, 2), np.uint8)))
        contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        to_page = width / size[0], height / size[1]
        cores = (cv2.minAreaRect(contour) for contour in contours)
        return [
            _line_box(core, to_page)
            for core in cores
            if min(core[1]) >= _MIN_HEIGHT
            and _mean_inside(probabilities, core) >= _LINE_PROBABILITY
        ]

    def _text_probabilities(self, page: Any) -> NDArray[np.float32]:
        """For each pixel of the page with its margin, the probability that it is text."""
        height, width = (-(-(side + 2 * _MARGIN) // _STRIDE) * _STRIDE for side in page.shape)
        framed = np.full((height, width), 255, np.uint8)
        framed[_MARGIN : _MARGIN + page.shape[0], _MARGIN : _MARGIN + page.shape[1]] = page
        pixels = np.broadcast_to(_normalize(framed), (1, 3, height, width))
        with _memory_errors():
            output = self._request.infer([np.ascontiguousarray(pixels)])[0]
        probabilities = cast(NDArray[np.float32], output[0, 0].copy())
        self._model.release_memory()  # Hundreds of megabytes, which reading the lines needs.
        return probabilities


def _mean_inside(probabilities: NDArray[np.float32], core: Any) -> float:
    """Mean probability inside a rectangle."""
    corners = cv2.boxPoints(core)
    left, top = np.floor(corners.min(0)).astype(int).clip(0)
    right, bottom = np.ceil(corners.max(0)).astype(int) + 1
    part = probabilities[top:bottom, left:right]
    mask = np.zeros(part.shape, np.uint8)
    cv2.fillPoly(mask, [(corners - (left, top)).astype(np.int32)], 1.0)
    return float(cv2.mean(part, mask)[0])


def _line_box(core: Any, to_page: tuple[float, float]) -> LineBox:
    """The box around the letters of a line.

    Args:
        core: the rectangle that the detector marks, as OpenCV has it: center, size and clockwise
            angle, which may be any, in pixels of the framed page.
        to_page: the scale from those to the pixels of the page, horizontally and vertically.
    """
    (x, y), (width, height), angle = core
    quarters = round(angle / 90)
    if quarters % 2:
        width, height = height, width
    growth = width * height * _GROWTH_RATIO / (width + height)
    along, across = to_page
    return LineBox(
        (x - _MARGIN) * along,
        (y - _MARGIN) * across,
        (width + growth) * along,
        (height + growth) * across,
        angle - 90 * quarters,
    )


class LineReader:
    """Reads lines of text, several at a time."""

    def __init__(self) -> None:
        model = _read_model("PP-OCRv6_rec_small.onnx")
        characters = model.get_rt_info()["framework"]["character"].value.splitlines()
        # The first output stands for no character, and the last for a space.
        self._characters = ["", *characters, " "]
        streams = _threads()
        self._model = _compile(model, streams)
        self._queue = ov.AsyncInferQueue(self._model, streams)
        self._queue.set_callback(self._keep_text)
        self._texts: dict[int, LineText] = {}

    def read(self, lines: Iterable[Image], seconds: float) -> list[LineText]:
        """The texts of lines, each an image of its own; after `seconds` no more are begun."""
        deadline = time.monotonic() + seconds
        self._texts = {}
        with _memory_errors():
            for number, line in enumerate(lines):
                if time.monotonic() > deadline:
                    break
                self._queue.start_async([_line_pixels(line)], number)
            self._queue.wait_all()
        self._model.release_memory()
        return [self._texts[number] for number in range(len(self._texts))]

    def _keep_text(self, request: Any, number: int) -> None:
        """Decode what the model says of a line: the likeliest character at each place.

        A character that several places in a row have is one (Graves et al. 2006, CTC).
        """
        probabilities = request.get_output_tensor(0).data[0]  # [places, characters]
        likeliest = probabilities.argmax(1)
        # The model, trained mostly on Chinese, is slow to see a space beside Latin letters.
        is_space = (likeliest == 0) & (probabilities[:, -1] > _SPACE_PROBABILITY)
        best = np.where(is_space, len(self._characters) - 1, likeliest)
        kept = (best != 0) & np.append(True, best[1:] != best[:-1])
        is_read = kept & (likeliest != 0)
        confidence = float(probabilities.max(1)[is_read].mean()) if is_read.any() else 0.0
        text = "".join(self._characters[character] for character in best[kept])
        self._texts[number] = LineText(_closed_up(text), confidence)


def _closed_up(text: str) -> str:
    """`text` with single spaces, and with none between Chinese or in words like `T I T L E`."""
    words = text.split()
    if len(words) > 2 and all(len(word) == 1 and word.isalpha() for word in words):
        return "".join(words)
    return BETWEEN_UNSPACED.sub("", " ".join(words))


def _line_pixels(line: Image) -> NDArray[np.float32]:
    """A line as the model takes it, [1, 3, height, width], filled up with grey at its end."""
    height, width = line.shape
    scaled = min(_MAX_WIDTH, max(1, math.ceil(_LINE_HEIGHT * width / height)))
    pixels = np.zeros((1, 3, _LINE_HEIGHT, -(-scaled // _WIDTH_STEP) * _WIDTH_STEP), np.float32)
    shrunk = height > 2 * _LINE_HEIGHT
    pixels[..., :scaled] = _normalize(cv2.resize(
        line, (scaled, _LINE_HEIGHT), interpolation=cv2.INTER_AREA if shrunk else cv2.INTER_LINEAR
    ))  # fmt: skip
    return pixels


def _normalize(grey: Any) -> NDArray[np.float32]:
    """Grey levels as numbers from -1 to 1."""
    return np.asarray(grey, np.float32) / np.float32(127.5) - np.float32(1)


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Raise a `MemoryError` where OpenVINO fails, as it does if it cannot allocate memory."""
    try:
        yield
    except RuntimeError as error:
        raise MemoryError(str(error)) from error


def _threads() -> int:
    """Number of threads to compute with."""
    return min(os.cpu_count() or 1, _MAX_THREADS)


def _read_model(name: str) -> Any:
    """A model of the package RapidOCR."""
    with resources.as_file(resources.files("rapidocr") / "models" / name) as path:
        return ov.Core().read_model(Path(path))


def _compile(model: Any, streams: int) -> Any:
    """The model, ready to compute that many inputs at a time."""
    options = {
        "INFERENCE_NUM_THREADS": _threads(),
        "NUM_STREAMS": streams,
        "ENABLE_CPU_PINNING": False,  # Several processes would be tied to the same cores.
        # In bfloat16, which OpenVINO would take where it can, a text would depend on the machine.
        "INFERENCE_PRECISION_HINT": "f32",
        # What OpenVINO prepares for a size of input is not kept, so memory does not grow with them.
        "CPU_RUNTIME_CACHE_CAPACITY": 0,
    }
    return ov.Core().compile_model(model, "CPU", options)
