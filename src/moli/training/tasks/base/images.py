"""Image files as numbers: decoded when needed, at the size and scale that a model takes."""

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
_WARPED = 384  # ConvNeXt's processor crops only what is smaller
_BICUBIC, _BILINEAR = 3, 2  # Pillow's numbers
_KEPT = 1 << 29  # bytes of decoded images that are held for the next epoch


@dataclass(frozen=True, slots=True)
class ImageProcessor:
    """What is done to an image before a model sees it.

    Attributes:
        image: height and width that the model sees.
        channels: 3 for colours, 1 for grey.
        mean, std: by which each channel's values, from 0 to 1, are shifted and scaled.
        edge: what the shorter edge is brought to before the middle is cut out; 0 to bring the
            whole image to a square.
        resample: Pillow's number of the filter.
        source: the processor's own settings, as transformers keeps them.
    """

    image: int
    channels: int = 3
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    edge: int = 0
    resample: int = _BILINEAR
    source: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, settings: Mapping[str, Any] | None, config: Mapping[str, Any]) -> ImageProcessor:
        """From preprocessor_config.json, where there is one, and config.json.

        Raises:
            ModelError: the model sees another shape than a square.
        """
        channels = int(config.get("num_channels", 3))
        if settings is None:
            return cls(int(config.get("image_size", 224)), channels)
        size = _sides(settings.get("size", 224))
        edge, image = 0, size
        if settings.get("do_center_crop"):
            edge, image = size, _sides(settings.get("crop_size", size))
        elif "shortest_edge" in _mapping(settings.get("size")) and size < _WARPED:
            edge = int(size / settings.get("crop_pct", 224 / 256))
        scaled = settings.get("do_normalize", True)
        return cls(
            image,
            channels,
            tuple(settings.get("image_mean", (0.5,))) if scaled else (0.0,),
            tuple(settings.get("image_std", (0.5,))) if scaled else (1.0,),
            edge,
            int(settings.get("resample", _BICUBIC if edge else _BILINEAR)),
            dict(settings),
        )

    def write(self, path: Path) -> None:
        """As transformers' own image processors are kept."""
        settings = self.source or {
            "image_processor_type": "ViTImageProcessor",
            "do_resize": True,
            "size": {"height": self.image, "width": self.image},
            "resample": self.resample,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": list(self.mean) * (1 if len(self.mean) > 1 else self.channels),
            "image_std": list(self.std) * (1 if len(self.std) > 1 else self.channels),
        }
        write_json(path, dict(settings))

    def pixels(self, path: Path) -> Pixels:
        """A file's image in the model's size and colours.

        Raises:
            InputError: it is missing, damaged or not an image.
        """
        from PIL import ImageOps

        with opened(path) as file:
            upright = _coloured(ImageOps.exif_transpose(file), self.channels)
            width, height = upright.size
            if not self.edge:
                fitted = upright.resize((self.image, self.image), self.resample)
            else:
                shorter = min(width, height)
                wide, high = (int(self.edge * each / shorter) for each in (width, height))
                left, top = (wide - self.image) // 2, (high - self.image) // 2
                box = (left, top, left + self.image, top + self.image)
                fitted = upright.resize((wide, high), self.resample).crop(box)
        values = np.asarray(fitted, np.uint8)
        return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)

    def scaled(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels [N, C, H, W] as the numbers that the model was trained with, in float32."""
        mean, std = (torch.tensor(each)[:, None, None] for each in (self.mean, self.std))
        return (pixels.float() / 255 - mean) / std


class ImageCache:
    """Images by their files. What has been decoded is held as long as there is room for it."""

    def __init__(self, processor: ImageProcessor, kept: int = _KEPT) -> None:
        self._processor = processor
        self._held: dict[Path, Pixels] = {}
        self._room = kept

    def images(self, paths: Sequence[Path]) -> torch.Tensor:
        """What a model takes, [N, C, H, W], in float32.

        Raises:
            InputError: one of the files is missing, damaged or not an image.
        """
        pixels = np.stack([self._pixels(path) for path in paths])
        return self._processor.scaled(torch.from_numpy(pixels))

    def _pixels(self, path: Path) -> Pixels:
        if path in self._held:
            return self._held[path]
        pixels = self._processor.pixels(path)
        if pixels.nbytes <= self._room:
            self._room -= pixels.nbytes
            self._held[path] = pixels
        return pixels


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """An image file, of which no more than the head has been read.

    Raises:
        InputError: it is missing, damaged or not an image, also while it is read inside.
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


def shifted(images: torch.Tensor, most: int) -> torch.Tensor:
    """Each image [N, C, H, W] moved by up to `most` pixels each way, its edge drawn out behind it.

    The draw comes from torch's generator.
    """
    count, _, height, width = images.shape
    down, right = torch.randint(-most, most + 1, (2, count, 1))
    rows = (torch.arange(height) - down).clamp(0, height - 1)
    columns = (torch.arange(width) - right).clamp(0, width - 1)
    number = torch.arange(count)[:, None, None]
    # The channels, the only axis that is sliced, come last of what is picked.
    return images[number, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _coloured(image: Any, channels: int) -> Any:
    """In grey or in colours; of 16 bits the upper 8."""
    if image.mode.startswith("I"):
        from PIL import Image

        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).astype(np.uint8))
    return image.convert("L" if channels == 1 else "RGB")


def _mapping(size: Any) -> Mapping[str, int]:
    return size if isinstance(size, Mapping) else {}


def _sides(size: Any) -> int:
    """The side of a square, or the shorter edge, however a processor writes it."""
    if not isinstance(size, Mapping):
        return int(size)
    sides = {int(each) for name, each in size.items() if name in ("height", "width")}
    if len(sides) > 1:
        raise ModelError(
            f"the model takes images of {size['height']} x {size['width']}",
            fix="Choose a model for square images.",
        )
    return sides.pop() if sides else int(size["shortest_edge"])
