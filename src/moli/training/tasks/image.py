"""Image classification: residual networks (He et al. 2016) and vision transformers (Dosovitskiy et
al. 2021)."""

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
from moli.training.tasks.base.images import ImageCache, ImageProcessor, open_image, random_shift
from moli.training.tasks.base.labels import LabelTask, label_id
from moli.training.tasks.base.model_shape import read_shape
from moli.training.tasks.base.transformer import load_pretrained
from moli.training.tasks.base.wrapped_models import unwrapped_model

_AUTO_CLASS = "AutoModelForImageClassification"
_DEFAULT_SHAPE = {"hidden": 32, "layers": 2, "image": 32, "channels": 3}
_STAGES = 3  # of a new model; each halves the image's sides and doubles the width
_SHIFT = 2  # pixels by which training images are moved at most
_PATCH = 16  # pixels: side of a transformer's patch, by which an image's cost is counted
_BATCH_NORM = torch.nn.modules.batchnorm._BatchNorm


@dataclass(frozen=True, slots=True)
class ImageTarget:
    """An image's file and the id of its label."""

    path: Path
    label_id: int


class ImageClassification(LabelTask):
    """Classification of images; a sample is an image, and its target an `ImageTarget`.

    Attributes:
        has_batch_norm: whether layers normalize by all images of a step; known once the model is
            built.
        shape: the shape of a new model.
    """

    example_types = (LabelledImage,)
    supports_packing = False
    text_column = "image"
    has_batch_norm = True
    shape: dict[str, int]

    @property
    def prediction_formats(self) -> Mapping[str, Mapping[str, Any]]:
        """Rows to predict from may omit the label."""
        return {"image": {"label": self.labels[0]}}

    @property
    def can_split_steps(self) -> bool:
        """False with batch normalization, which reads all images of a step (Ioffe & Szegedy
        2015)."""
        return not self.has_batch_norm

    @cached_property
    def hidden_size(self) -> int:
        """Width of the base's last hidden states; 0 for a new model."""
        if self.from_scratch:
            return 0
        config = load_config(self.recipe.base)
        return int(getattr(config, "hidden_size", None) or config.hidden_sizes[-1])

    def base_hashes(self) -> ModelHashes:
        """Hashes of the base's weights; empty for a new model."""
        if self.from_scratch:
            return super().base_hashes()
        return hashes_of(folder_of(self.recipe.base))

    @cached_property
    def image_processor(self) -> ImageProcessor:
        """The base's image processor, or a plain one for a new model."""
        if self.from_scratch:
            return ImageProcessor(self.shape["image"], self.shape["channels"])
        return _image_processor_in(folder_of(self.recipe.base))

    @cached_property
    def image_cache(self) -> ImageCache:
        """The images that have been read, for the next epoch."""
        return ImageCache(self.image_processor)

    def prepare(self, examples: Sequence[Example]) -> None:
        """Collect the labels; for a new model also read its shape."""
        super().prepare(examples)
        if self.from_scratch:
            self.shape = read_shape(self.recipe, _DEFAULT_SHAPE)

    def samples(self, examples: Sequence[Example], *, training: bool) -> list[list[Sample]]:  # noqa: ARG002
        """A sample for each image, without its pixels, which are read when they are needed.

        Raises:
            InputError: a file is missing or not an image.
        """
        ids = self.label_ids
        patches = max(1, self.image_processor.size**2 // _PATCH**2)
        groups = []
        for example in [each for each in examples if isinstance(each, LabelledImage)]:
            with open_image(example.path):  # unreadable files are better known now than in hours
                pass
            groups.append(
                [
                    Sample(
                        (),
                        target=ImageTarget(example.path, label_id(example.label, ids)),
                        supervised=int(example.label in ids),
                        image_patches=patches,
                    )
                ]
            )
        return groups

    def build(self, dtype: torch.dtype) -> torch.nn.Module:
        """A new model of the recipe's shape, or the base with a head for the labels."""
        if self.from_scratch:
            return self._cast(self._new_model(), dtype)
        # The base's head may have another number of labels.
        options = {**self.label_config, "ignore_mismatched_sizes": True}
        return self._load(folder_of(self.recipe.base), dtype, options)

    def restore(self, folder: Path, dtype: torch.dtype) -> torch.nn.Module:
        """The trained model; also sets `image_processor` from its folder."""
        self.load_state(folder)
        if methods.is_adapter_folder(folder):
            return methods.load_adapter(self.build(dtype), folder)
        self.image_processor = _image_processor_in(str(folder))
        return self._load(str(folder), dtype, {})

    def _load(self, folder: str, dtype: torch.dtype, options: dict[str, Any]) -> torch.nn.Module:
        """The model in a folder, with attention and dropout as the recipe has them."""
        model = load_pretrained(_AUTO_CLASS, self.recipe, folder, torch.float32, options)
        return self._cast(model, dtype)

    def _cast(self, model: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
        """The model in `dtype`, except for batch normalization, which stays in float32."""
        self.has_batch_norm = any(isinstance(each, _BATCH_NORM) for each in model.modules())
        cast_parameters(model, dtype)
        return model

    def _new_model(self) -> Any:
        """A small residual network with weights from torch's generator."""
        from transformers import ResNetConfig, ResNetForImageClassification

        hidden = self.shape["hidden"]
        config = ResNetConfig(
            num_channels=self.shape["channels"],
            embedding_size=hidden,
            hidden_sizes=[hidden * 2**stage for stage in range(_STAGES)],
            depths=[self.shape["layers"]] * _STAGES,
            layer_type="basic",
            **self.label_config,
        )
        return ResNetForImageClassification(config)

    def forward(
        self,
        model: torch.nn.Module,
        samples: Sequence[Sample],
        *,
        packed: bool = False,  # noqa: ARG002
    ) -> torch.Tensor:
        """Logits before the softmax, [images, labels], in float32."""
        images = self.image_cache.load([sample.target.path for sample in samples])
        if model.training:
            images = random_shift(images, _SHIFT)
        _set_batch_norm_mode(model, len(samples))
        inner = unwrapped_model(model)
        logits: torch.Tensor = inner(pixel_values=images.to(inner.device, inner.dtype)).logits
        return logits.float()

    def target_id(self, sample: Sample) -> int:
        """Id of an image's label."""
        return int(sample.target.label_id)

    def save_state(self, model: torch.nn.Module, folder: Path) -> None:
        """Write the labels and the image processor's configuration."""
        super().save_state(model, folder)
        self.image_processor.write(folder / "preprocessor_config.json")


def _image_processor_in(folder: str) -> ImageProcessor:
    """The image processor of a model, by its folder or hub name."""
    return ImageProcessor.read(
        read_model_json(folder, "preprocessor_config.json"), read_model_json(folder, "config.json")
    )


def _set_batch_norm_mode(model: torch.nn.Module, images: int) -> None:
    """Let batch normalization use the batch's statistics if it is trained, else the stored ones.

    A frozen layer keeps its statistics, for they are saved with the base and not with an adapter.
    One image alone has none: at the end of a network its only pixel would always be 0.
    """
    for module in model.modules():
        if isinstance(module, _BATCH_NORM):
            is_trained = module.weight is not None and module.weight.requires_grad
            module.train(model.training and is_trained and images > 1)
