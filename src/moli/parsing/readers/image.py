"""Images of text: each frame of a TIFF is a page."""

import io
import warnings
from collections.abc import Iterator
from typing import cast

from PIL import Image, ImageOps, ImageSequence, ImageStat, UnidentifiedImageError

from moli.parsing.archive import REPAIR
from moli.parsing.blocks import Blocks
from moli.parsing.limits import Limits
from moli.parsing.ocr.recognizer import PageRecognizer
from moli.parsing.pages.document import add_pages
from moli.parsing.pages.layout import Page
from moli.records.errors import DocumentError

_MAX_PIXELS = 150_000_000
_MAX_SIDE = 10_000
_ANIMATIONS = ("GIF", "WEBP", "PNG", "AVIF")
_COLOR_RATIO = 2.0  # of contrasts, above which a color channel is read and not the brightness


def read(data: bytes, blocks: Blocks, limits: Limits) -> None:
    """Add the text in the image file `data` to `blocks`."""
    recognizer = PageRecognizer(blocks, limits)
    pages: list[Page] = []
    try:
        pages.extend(map(recognizer.recognize, _frames(data, blocks)))
    except Image.DecompressionBombError as error:
        raise DocumentError(
            "bomb", f"the image is too large ({error})", fix="Save it at a lower resolution."
        ) from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError) as error:
        if not any(page.letters for page in pages):
            raise DocumentError("broken", f"the image is damaged ({error})", fix=REPAIR) from error
        blocks.warn(f"the image is damaged after page {len(pages)}")
    add_pages(pages, blocks)


def _frames(data: bytes, blocks: Blocks) -> Iterator[Image.Image]:
    """The pages of an image file, ready to recognize; of an animation only the first frame."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        image = Image.open(io.BytesIO(data))
        if image.width * image.height > _MAX_PIXELS:
            raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
        for title in ("Title", "title"):
            blocks.title = blocks.title or str(image.info.get(title, ""))
        has_pages = image.format == "TIFF"
        count = getattr(image, "n_frames", 1)
        if count > 1 and image.format in _ANIMATIONS:
            blocks.warn(f"of an animation of {count} frames, only the first was read")
        for frame in ImageSequence.Iterator(image) if has_pages else [image]:
            yield _prepare_image(frame)


def _prepare_image(image: Image.Image) -> Image.Image:
    """The image upright by its EXIF data, on white, in grey, and not too large."""
    if image.width * image.height > _MAX_PIXELS:
        raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
    image = ImageOps.exif_transpose(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = _on_paper(image.convert("RGBA"))
    image = _grey(image)
    if max(image.size) > _MAX_SIDE:
        image.thumbnail((_MAX_SIDE, _MAX_SIDE))
    return image


def _on_paper(image: Image.Image) -> Image.Image:
    """An image with transparent parts on white, or where it is light itself, on black."""
    opacity = image.getchannel("A")
    is_light = (
        any(opacity.getextrema()) and ImageStat.Stat(image.convert("L"), opacity).mean[0] > 127
    )
    paper = Image.new("RGBA", image.size, "black" if is_light else "white")
    return Image.alpha_composite(paper, image)


def _grey(image: Image.Image) -> Image.Image:
    """An image in grey levels from 0 to 255.

    Where colors differ and not their brightness, it is the channel in which they differ most.
    """
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        # Scanners store levels of 12 or 16 bits, and programs those from 0 to 1: the lightest is
        # paper.
        levels = image.convert("F")
        _, brightest = cast(tuple[float, float], levels.getextrema())
        scale = 255 / brightest if brightest > 0 else 1.0
        return levels.point(lambda value: value * scale).convert("L")
    grey = image.convert("L")
    if image.mode in ("1", "L"):
        return grey
    best = max(image.convert("RGB").split(), key=_contrast)
    return best if _contrast(best) > _COLOR_RATIO * _contrast(grey) else grey


def _contrast(grey: Image.Image) -> int:
    """The difference between the lightest and the darkest level."""
    darkest, lightest = cast(tuple[int, int], grey.getextrema())
    return lightest - darkest
