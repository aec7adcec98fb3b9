"""Image files as tensors: decoded when needed, at the size and scale that a model takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from moli.models.weights.json_files import write_json
from moli.records.errors import InputError, ModelError

Pixels = NDArray[np.uint8]  # [channels, height, width]
_UNCROPPED = 384  # ConvNeXt's processor crops only what is smaller
_BICUBIC, _BILINEAR = 3, 2  # Pillow's numbers
_CACHE_BYTES = 1 << 29  # decoded images that are kept for the next epoch


@dataclass(frozen=True, slots=True)
class ImageProcessor:
    """Conversion of images to the numbers that a model takes.

    Attributes:
        size: height and width that the model sees.
        channels: 3 for colors, 1 for grayscale.
        mean, std: numbers by which a channel's values, from 0 to 1, are shifted and scaled.
        shortest_edge: length that the shorter edge is resized to before the middle is cropped; 0
            to resize the whole image to a square.
        resample: Pillow's number of the filter.
        source: the settings in the model's own configuration file; empty without one.
    """

    size: int
    channels: int = 3
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    shortest_edge: int = 0
    resample: int = _BILINEAR
    source: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, settings: Mapping[str, Any] | None, config: Mapping[str, Any]) -> ImageProcessor:
        """The image processor that a model's configuration files describe.

        Args:
            settings: content of preprocessor_config.json; None without one.
            config: content of config.json.

        Raises:
            ModelError: the model sees another shape than a square.
        """
        channels = int(config.get("num_channels", 3))
        if settings is None:
            return cls(int(config.get("image_size", 224)), channels)
        size = _edge_length(settings.get("size", 224))
        shortest_edge, cropped = 0, size
        if settings.get("do_center_crop"):
            shortest_edge, cropped = size, _edge_length(settings.get("crop_size", size))
        elif "shortest_edge" in _mapping(settings.get("size")) and size < _UNCROPPED:
            shortest_edge = int(size / settings.get("crop_pct", 224 / 256))
        normalizes = settings.get("do_normalize", True)
        return cls(
            cropped,
            channels,
            tuple(settings.get("image_mean", (0.5,))) if normalizes else (0.0,),
            tuple(settings.get("image_std", (0.5,))) if normalizes else (1.0,),
            shortest_edge,
            int(settings.get("resample", _BICUBIC if shortest_edge else _BILINEAR)),
            dict(settings),
        )

    def write(self, path: Path) -> None:
        """Write the settings in the format of transformers' image processors."""
        settings = self.source or {
            "image_processor_type": "ViTImageProcessor",
            "do_resize": True,
            "size": {"height": self.size, "width": self.size},
            "resample": self.resample,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": list(self.mean) * (1 if len(self.mean) > 1 else self.channels),
            "image_std": list(self.std) * (1 if len(self.std) > 1 else self.channels),
        }
        write_json(path, dict(settings))

    def pixels(self, path: Path) -> Pixels:
        """A file's image in the model's size and colors.

        Raises:
            InputError: it is missing, damaged or not an image.
        """
        from PIL import ImageOps

        with open_image(path) as file:
            image = _convert_colors(ImageOps.exif_transpose(file), self.channels)
            width, height = image.size
            if not self.shortest_edge:
                resized = image.resize((self.size, self.size), self.resample)
            else:
                shorter = min(width, height)
                wide, high = (int(self.shortest_edge * each / shorter) for each in (width, height))
                left, top = (wide - self.size) // 2, (high - self.size) // 2
                box = (left, top, left + self.size, top + self.size)
                resized = image.resize((wide, high), self.resample).crop(box)
        values = np.asarray(resized, np.uint8)
        return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)

    def normalize(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels [N, C, H, W] as the numbers that the model was trained with, in float32."""
        mean, std = (torch.tensor(each)[:, None, None] for each in (self.mean, self.std))
        return (pixels.float() / 255 - mean) / std


class ImageCache:
    """Images by their files; decoded ones are kept as long as there is room for them."""

    def __init__(self, processor: ImageProcessor, max_bytes: int = _CACHE_BYTES) -> None:
        self._processor = processor
        self._decoded: dict[Path, Pixels] = {}
        self._free_bytes = max_bytes

    def load(self, paths: Sequence[Path]) -> torch.Tensor:
        """The images as a model takes them, [N, C, H, W], in float32.

        Raises:
            InputError: one of the files is missing, damaged or not an image.
        """
        pixels = np.stack([self._pixels(path) for path in paths])
        return self._processor.normalize(torch.from_numpy(pixels))

    def _pixels(self, path: Path) -> Pixels:
        """A file's decoded image, from the cache if it is there."""
        if path in self._decoded:
            return self._decoded[path]
        pixels = self._processor.pixels(path)
        if pixels.nbytes <= self._free_bytes:
            self._free_bytes -= pixels.nbytes
            self._decoded[path] = pixels
        return pixels


@contextmanager
def open_image(path: Path) -> Iterator[Any]:
    """An image file, of which only the head has been read so far.

    Raises:
        InputError: it is missing, damaged or not an image, which may only show while it is read.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError as error:
        raise InputError(
            "no such image", where=str(path), fix="Paths are relative to the data's folder."
        ) from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(
            f"not a readable image ({error})",
            where=str(path),
            fix="Replace the file, or remove its row.",
        ) from error


def random_shift(images: torch.Tensor, most: int) -> torch.Tensor:
    """Images [N, C, H, W], each moved by up to `most` pixels in both directions.

    The edge pixels of an image are repeated in the strip that its shift uncovers. The draw comes
    from torch's generator.
    """
    count, _, height, width = images.shape
    down, right = torch.randint(-most, most + 1, (2, count, 1))
    rows = (torch.arange(height) - down).clamp(0, height - 1)
    columns = (torch.arange(width) - right).clamp(0, width - 1)
    indices = torch.arange(count)[:, None, None]
    # Indexing puts the channels, the only axis that is sliced, last.
    return images[indices, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _convert_colors(image: Any, channels: int) -> Any:
    """The image in grayscale or in colors; of 16 bits the upper 8."""
    if image.mode.startswith("I"):
        from PIL import Image

        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).astype(np.uint8))
    return image.convert("L" if channels == 1 else "RGB")


def _mapping(size: Any) -> Mapping[str, int]:
    """A size in a processor's settings; empty if it is a number."""
    return size if isinstance(size, Mapping) else {}


def _edge_length(size: Any) -> int:
    """Edge of a square, or the shorter edge, from any of the forms in image processors' settings.

    Raises:
        ModelError: height and width differ.
    """
    if not isinstance(size, Mapping):
        return int(size)
    edges = {int(each) for name, each in size.items() if name in ("height", "width")}
    if len(edges) > 1:
        raise ModelError(
            f"the model takes images of {size['height']} x {size['width']}",
            fix="Choose a model for square images.",
        )
    return edges.pop() if edges else int(size["shortest_edge"])
