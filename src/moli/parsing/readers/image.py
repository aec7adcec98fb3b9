"""Images of text: each frame of a TIFF is a page."""

import io
import warnings
from collections.abc import Iterator

from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from moli.parsing.archive import REPAIR
from moli.parsing.blocks import Blocks
from moli.parsing.limits import Limits
from moli.parsing.ocr.recognizer import PageRecognizer
from moli.parsing.pages.document import add_pages
from moli.records.errors import DocumentError

_MAX_PIXELS = 150_000_000
_MAX_SIDE = 10_000


def read(data: bytes, blocks: Blocks, limits: Limits) -> None:
    """Add the text in the image file `data` to `blocks`."""
    recognizer = PageRecognizer(blocks, limits)
    add_pages([recognizer.recognize(image) for image in _frames(data, blocks)], blocks)


def _frames(data: bytes, blocks: Blocks) -> Iterator[Image.Image]:
    """The pages of an image file, ready to recognize; of an animation only the first frame."""
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
    """The image upright by its EXIF data, on white, in grey, and not too large."""
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
