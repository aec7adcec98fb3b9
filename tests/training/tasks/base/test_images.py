from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from moli.records.errors import InputError, ModelError
from moli.training.tasks.base.images import ImageCache, ImageProcessor, random_shift


def _photo(path: Path, width: int = 50, height: int = 37, mode: str = "RGB") -> Path:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(values).convert(mode).save(path)
    return path


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        (
            "vit.image_processing_pil_vit.ViTImageProcessorPil",
            {"size": {"height": 32, "width": 32}},
        ),
        (
            "convnext.image_processing_pil_convnext.ConvNextImageProcessorPil",
            {"size": {"shortest_edge": 28}, "crop_pct": 0.875},
        ),
        (
            "clip.image_processing_pil_clip.CLIPImageProcessorPil",
            {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}},
        ),
    ],
)
def test_a_model_sees_what_transformers_own_processor_shows_it(
    tmp_path: Path, name: str, settings: dict[str, object]
) -> None:
    import importlib

    module, _, kind = name.rpartition(".")
    theirs = getattr(importlib.import_module(f"transformers.models.{module}"), kind)(**settings)
    theirs.save_pretrained(tmp_path)
    kept = json.loads((tmp_path / "preprocessor_config.json").read_text(encoding="utf-8"))
    for number, (width, height) in enumerate([(50, 37), (37, 61)]):
        path = _photo(tmp_path / f"{number}.png", width, height)
        expected = theirs(Image.open(path), return_tensors="pt")["pixel_values"]
        actual = ImageCache(ImageProcessor.read(kept, {"num_channels": 3})).load([path])
        torch.testing.assert_close(actual, expected.float(), rtol=0, atol=1e-5)


def test_what_is_written_is_read_by_transformers(tmp_path: Path) -> None:
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    ours = ImageProcessor(24)
    ours.write(tmp_path / "preprocessor_config.json")
    path = _photo(tmp_path / "a.png")
    theirs = ViTImageProcessorPil.from_pretrained(tmp_path)
    expected = theirs(Image.open(path), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(ImageCache(ours).load([path]), expected.float(), rtol=0, atol=1e-5)


def test_grey_images_and_colours_are_made_of_each_other(tmp_path: Path) -> None:
    grey = Image.fromarray(np.full((4, 4), 51, np.uint8))
    grey.save(tmp_path / "grey.png")
    Image.merge("RGB", [grey] * 3).save(tmp_path / "colour.png")
    Image.fromarray(np.full((4, 4), 51 * 256 + 200, np.uint16)).save(tmp_path / "deep.png")
    paths = [tmp_path / name for name in ("grey.png", "colour.png", "deep.png")]
    for channels in (1, 3):
        actual = ImageCache(ImageProcessor(4, channels)).load(paths)
        assert actual.shape == (3, channels, 4, 4)
        torch.testing.assert_close(actual, torch.full_like(actual, 51 / 255 * 2 - 1))


def test_an_image_stands_as_its_camera_was_held(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the top of the scene is at the right of the picture
    values = np.zeros((2, 2), np.uint8)
    values[:, 1] = 255
    Image.fromarray(values).save(tmp_path / "a.png", exif=exif)
    actual = ImageProcessor(2, 1, (0.0,), (1.0,)).pixels(tmp_path / "a.png")
    assert actual.tolist() == [[[0, 0], [255, 255]]]


def test_images_are_moved_and_their_edges_drawn_out() -> None:
    image = torch.arange(2 * 5 * 6.0).reshape(1, 2, 5, 6).repeat(300, 1, 1, 1)
    torch.manual_seed(0)
    actual = random_shift(image, 2)
    padded = np.pad(image[0].numpy(), ((0, 0), (2, 2), (2, 2)), mode="edge")
    allowed = {padded[:, y : y + 5, x : x + 6].tobytes() for y in range(5) for x in range(5)}
    assert {each.contiguous().numpy().tobytes() for each in actual} == allowed  # all 25 ways occur
    torch.manual_seed(0)
    assert torch.equal(random_shift(image, 2), actual)


def test_what_is_held_has_a_limit(tmp_path: Path) -> None:
    first, second = _photo(tmp_path / "a.png"), _photo(tmp_path / "b.png", 20, 20)
    cache = ImageCache(ImageProcessor(8), max_bytes=3 * 64)
    before = cache.load([first, second])
    first.unlink()
    torch.testing.assert_close(cache.load([first]), before[:1])  # it was held
    second.unlink()
    with pytest.raises(InputError, match=r"b\.png: no such image"):
        cache.load([second])


@pytest.mark.parametrize("content", [b"not an image", b""])
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.png: not a readable image"):
        ImageProcessor(8).pixels(path)


def test_an_image_that_ends_too_soon_is_named(tmp_path: Path) -> None:
    path = _photo(tmp_path / "short.jpg", 200, 200)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match=r"short\.jpg: not a readable image"):
        ImageProcessor(8).pixels(path)


def test_a_model_of_other_shapes_than_squares_is_refused() -> None:
    with pytest.raises(ModelError, match="32 x 64"):
        ImageProcessor.read({"size": {"height": 32, "width": 64}}, {})
