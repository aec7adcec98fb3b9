"""Images and their classes: residual networks (He et al. 2016) and vision transformers (Dosovitskiy
et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from moli.models.weights.hashes import ModelHashes, hashes_of
from moli.models.weights.json_files import read_model_json
from moli.models.weights.loading import folder_of, load_config
from moli.records.examples import Example, LabelledImage
from moli.training import methods
from moli.training.batching.samples import Sample
from moli.training.optimization.optimizers import cast_parameters
from moli.training.tasks.base.classes import ClassTask, number_of
from moli.training.tasks.base.images import ImageCache, ImageProcessor, opened, shifted
from moli.training.tasks.base.shape import read_shape
from moli.training.tasks.base.transformer import load
from moli.training.tasks.base.wrapped_models import unwrapped_model

_KIND = "AutoModelForImageClassification"
_SHAPE = {"hidden": 32, "layers": 2, "image": 32, "channels": 3}
_STAGES = 3
_SHIFT = 2  # pixels
_BATCH_NORM = torch.nn.modules.batchnorm._BatchNorm


@dataclass(frozen=True, slots=True)
class Picture:
    """An image's file and the number of its class."""

    path: Path
    label: int


class ImageClassification(ClassTask):
    """A class for each image."""

    example_types = (LabelledImage,)
    supports_packing = False
    text_column = "image"
    normalised = True  # by the images of a step; known when the model is built

    @property
    def prediction_formats(self) -> Mapping[str, Mapping[str, Any]]:
        return {"image": {"label": self.labels[0]}}

    @property
    def can_split_steps(self) -> bool:
        """Batch normalisation looks at all images of a step (Ioffe & Szegedy 2015)."""
        return not self.normalised

    @cached_property
    def hidden_size(self) -> int:
        if self.from_scratch:
            return 0
        config = load_config(self.recipe.base)
        return int(getattr(config, "hidden_size", None) or config.hidden_sizes[-1])

    def base_hashes(self) -> ModelHashes:
        return (
            super().base_hashes() if self.from_scratch else hashes_of(folder_of(self.recipe.base))
        )

    @cached_property
    def processor(self) -> ImageProcessor:
        """How an image becomes numbers: as the base was trained to see it."""
        if self.from_scratch:
            return ImageProcessor(self.shape["image"], self.shape["channels"])
        folder = folder_of(self.recipe.base)
        return ImageProcessor.read(
            read_model_json(folder, "preprocessor_config.json"),
            read_model_json(folder, "config.json"),
        )

    @cached_property
    def cache(self) -> ImageCache:
        return ImageCache(self.processor)

    def prepare(self, examples: Sequence[Example]) -> None:
        super().prepare(examples)
        if self.from_scratch:
            self.shape = read_shape(self.recipe, _SHAPE)

    def samples(self, examples: Sequence[Example], *, training: bool) -> list[list[Sample]]:  # noqa: ARG002
        """Without their pixels, which are read when they are needed.

        Raises:
            InputError: a file is missing or no image.
        """
        numbers = self.numbers
        size = max(1, self.processor.image**2 // 256)  # as many as a transformer has patches
        groups = []
        for each in [each for each in examples if isinstance(each, LabelledImage)]:
            with opened(each.path):  # that it can be is better known now than hours later
                pass
            picture = Picture(each.path, number_of(each.label, numbers))
            groups.append([Sample((), picture, int(each.label in numbers), image_patches=size)])
        return groups

    def build(self, dtype: torch.dtype) -> torch.nn.Module:
        if self.from_scratch:
            return self._ready(self._made(), dtype)
        options = {**self.names, "ignore_mismatched_sizes": True}  # another head than the base's
        folder = folder_of(self.recipe.base)
        return self._ready(load(_KIND, self.recipe, folder, torch.float32, options), dtype)

    def restore(self, folder: Path, dtype: torch.dtype) -> torch.nn.Module:
        self.load_state(folder)
        if methods.is_adapter_folder(folder):
            return methods.load_adapter(self.build(dtype), folder)
        self.processor = ImageProcessor.read(
            read_model_json(str(folder), "preprocessor_config.json"),
            read_model_json(str(folder), "config.json"),
        )
        return self._ready(load(_KIND, self.recipe, str(folder), torch.float32, {}), dtype)

    def _ready(self, model: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
        """In `dtype`, but for what batch normalisation keeps, as in training."""
        self.normalised = any(isinstance(each, _BATCH_NORM) for each in model.modules())
        cast_parameters(model, dtype)
        return model

    def _made(self) -> Any:
        """A small residual network with weights from torch's generator."""
        from transformers import ResNetConfig, ResNetForImageClassification

        hidden = self.shape["hidden"]
        config = ResNetConfig(
            num_channels=self.shape["channels"],
            embedding_size=hidden,
            hidden_sizes=[hidden * 2**stage for stage in range(_STAGES)],
            depths=[self.shape["layers"]] * _STAGES,
            layer_type="basic",
            **self.names,
        )
        return ResNetForImageClassification(config)

    def forward(
        self,
        model: torch.nn.Module,
        samples: Sequence[Sample],
        *,
        packed: bool = False,  # noqa: ARG002
    ) -> torch.Tensor:
        """Scores before the softmax, [images, classes], in float32."""
        images = self.cache.images([each.target.path for each in samples])
        if model.training:
            images = shifted(images, _SHIFT)
        _normalise_by(model, len(samples))
        inner = unwrapped_model(model)
        scores: torch.Tensor = inner(pixel_values=images.to(inner.device, inner.dtype)).logits
        return scores.float()

    def target_of(self, sample: Sample) -> int:
        return int(sample.target.label)

    def save(self, model: torch.nn.Module, folder: Path) -> None:
        """How images are prepared and what the classes are, for an adapter as well."""
        super().save(model, folder)
        self.processor.write(folder / "preprocessor_config.json")


def _normalise_by(model: torch.nn.Module, images: int) -> None:
    """Normalise by the batch where statistics are learnt, else by those that are known.

    A frozen layer keeps its statistics, for they are saved with the base and not with an adapter.
    One image alone has none: at the end of a network its only pixel would always be 0.
    """
    for each in model.modules():
        if isinstance(each, _BATCH_NORM):
            learns = each.weight is not None and each.weight.requires_grad
            each.train(model.training and learns and images > 1)
