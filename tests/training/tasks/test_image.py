from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from training.round_trips import (
    held_out_examples,
    predicted_rows,
    recipe_of,
    run_to_end,
    save_and_restore,
    write_rows,
)

from moli.records.errors import InputError
from moli.records.examples import LabelledImage
from moli.records.training import Event, StepTaken
from moli.training.optimization.optimizers import MasterWeights
from moli.training.recipes.recipe import Recipe
from moli.training.setup.prepared import prepare
from moli.training.tasks.image import ImageClassification

_SHAPE = {"hidden": 8, "layers": 1, "image": 16, "channels": 1}


def _write_images(folder: Path, count: int) -> Path:
    """A bar that stands or lies, somewhere in noise."""
    draw = np.random.default_rng(0)
    rows = []
    (folder / "images").mkdir()
    for number in range(count):
        pixels = draw.integers(0, 90, (16, 16), np.uint8)
        place = draw.integers(3, 13)
        if number % 2:
            pixels[:, place] = 255
        else:
            pixels[place] = 255
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        rows.append({"image": f"images/{number}.png", "label": ["lies", "stands"][number % 2]})
    random.Random(0).shuffle(rows)
    return write_rows(folder / "rows.jsonl", rows)


def _new(data: Path, **values: object) -> Recipe:
    return recipe_of(task="image", base="new", shape=_SHAPE, data=data, **values)


def _made(folder: Path, kind: str) -> str:
    """A random network with the settings that its images are prepared by."""
    import transformers

    torch.manual_seed(0)
    if kind == "vit":
        config = transformers.ViTConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            image_size=16,
            patch_size=4,
            num_channels=1,
            num_labels=7,
        )
        model = transformers.ViTForImageClassification(config)
    else:
        config = transformers.ResNetConfig(
            num_channels=1,
            embedding_size=8,
            hidden_sizes=[8, 16],
            depths=[1, 1],
            layer_type="basic",
            num_labels=7,
        )
        model = transformers.ResNetForImageClassification(config)
    model.save_pretrained(folder)
    from moli.training.tasks.base.images import ImageProcessor

    ImageProcessor(16, 1).write(folder / "preprocessor_config.json")
    return str(folder)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return _write_images(tmp_path, 120)


@pytest.mark.slow
def test_a_new_network_learns_and_comes_back_from_its_files(data: Path, tmp_path: Path) -> None:
    recipe = _new(data, epochs=6, batch=16, learning_rate=5e-3)
    prepared, losses = run_to_end(recipe, tmp_path / "run")
    assert losses[-1] < losses[0] / 2
    assert prepared.loop.progress.best is not None and prepared.loop.progress.best > 0.9
    task, model = save_and_restore(prepared, tmp_path / "model")
    examples = held_out_examples(prepared)
    before, after = (
        predicted_rows(*each, examples) for each in ((prepared.task, prepared.model), (task, model))
    )
    for one, other in zip(before, after, strict=True):
        assert one["label"] == other["label"]
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-5)


@pytest.mark.slow
def test_other_programs_load_a_new_network(data: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForImageClassification

    prepared, _ = run_to_end(_new(data, batch=16), tmp_path / "run")
    save_and_restore(prepared, tmp_path / "model")
    theirs = AutoModelForImageClassification.from_pretrained(tmp_path / "model").eval()
    assert theirs.config.id2label == {0: "lies", 1: "stands"}
    task = prepared.task
    assert isinstance(task, ImageClassification)
    [sample] = task.samples(held_out_examples(prepared)[:1], training=False)[0]
    with torch.inference_mode():
        expected = theirs(task.image_cache.load([sample.target.path])).logits
        actual = task.forward(prepared.model.eval(), [sample])
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_an_adapter_learns_and_comes_back_from_its_files(
    data: Path, tmp_path: Path, kind: str
) -> None:
    recipe = recipe_of(
        task="image",
        base=_made(tmp_path / "base", kind),
        data=data,
        method="lora",
        rank=4,
        epochs=2,
        batch=16,
        learning_rate=5e-3,
    )
    prepared, _ = run_to_end(recipe, tmp_path / "run")
    targets = {name.split(".")[-1] for name, _ in prepared.model.named_modules()}
    assert "lora_A" in targets
    task, model = save_and_restore(prepared, tmp_path / "model")
    examples = held_out_examples(prepared)
    before, after = (
        predicted_rows(*each, examples) for each in ((prepared.task, prepared.model), (task, model))
    )
    for one, other in zip(before, after, strict=True):
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-5)


def test_statistics_stay_in_float32_and_are_those_of_the_batches(
    data: Path, tmp_path: Path
) -> None:
    task = ImageClassification(_new(data))
    examples = [
        LabelledImage(data.parent / f"images/{each}.png", "ab"[each % 2]) for each in range(8)
    ]
    task.prepare(examples)
    samples = [each for group in task.samples(examples, training=True) for each in group]
    model = task.build(torch.float32).train()
    MasterWeights(model, torch.bfloat16)
    first = model.resnet.embedder.embedder
    seen: list[torch.Tensor] = []
    first.convolution.register_forward_hook(lambda *each: seen.append(each[2].detach().float()))
    assert first.convolution.weight.dtype == torch.bfloat16
    task.losses(task.forward(model, samples), samples).sum().backward()
    assert first.normalization.running_mean.dtype == torch.float32
    assert first.normalization.weight.dtype == torch.float32
    # The running mean begins at 0 and moves by a tenth (torch's momentum) towards the batch's.
    expected = 0.1 * seen[0].mean((0, 2, 3))
    torch.testing.assert_close(first.normalization.running_mean, expected, rtol=0.01, atol=1e-4)


def test_frozen_statistics_and_those_of_one_image_do_not_move(data: Path, tmp_path: Path) -> None:
    task = ImageClassification(_new(data))
    examples = [
        LabelledImage(data.parent / f"images/{each}.png", "ab"[each % 2]) for each in range(2)
    ]
    task.prepare(examples)
    samples = [each for group in task.samples(examples, training=True) for each in group]
    model = task.build(torch.float32).train()
    norm = model.resnet.embedder.embedder.normalization
    before = norm.running_mean.clone()
    task.forward(model, samples[:1])
    assert torch.equal(norm.running_mean, before)
    norm.weight.requires_grad_(False)
    task.forward(model, samples)
    assert torch.equal(norm.running_mean, before)
    norm.weight.requires_grad_(True)
    task.forward(model, samples)
    assert not torch.equal(norm.running_mean, before)


@pytest.mark.slow
def test_a_run_that_goes_on_ends_in_the_same_weights(data: Path, tmp_path: Path) -> None:
    """Statistics, the order of images and their random moves are those of a run in one go."""
    recipe = _new(data, epochs=2, batch=16)
    prepared, _ = run_to_end(recipe, tmp_path / "whole")
    whole = {name: each.clone() for name, each in prepared.model.state_dict().items()}

    (tmp_path / "parts").mkdir()

    def stop(event: Event) -> None:
        if isinstance(event, StepTaken) and event.step == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    first = prepare(recipe, tmp_path / "parts", stop)
    assert first.loop.run() == "interrupted"
    second = prepare(recipe, tmp_path / "parts", lambda event: None)
    assert second.loop.progress.step == 5
    assert second.loop.run() == "finished"
    for name, each in second.model.state_dict().items():
        assert torch.equal(each, whole[name]), name


@pytest.mark.slow
def test_an_unreadable_image_is_reported_before_training(data: Path, tmp_path: Path) -> None:
    (tmp_path / "images" / "7.png").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"images/7\.png: not a readable image"):
        run_to_end(_new(data), tmp_path / "run")


def test_one_label_is_refused(data: Path) -> None:
    task = ImageClassification(_new(data))
    with pytest.raises(InputError, match="every example has the label 'a'"):
        task.prepare([LabelledImage(Path("images/0.png"), "a")])


def test_a_new_model_is_not_adapted_and_has_no_unknown_part(data: Path) -> None:
    examples = _pictures(data, 2)
    with pytest.raises(InputError, match="nothing that 'lora' could adapt"):
        ImageClassification(_new(data, method="lora")).prepare(examples)
    recipe = recipe_of(task="image", base="new", data=data, shape={"hiden": 8})
    with pytest.raises(InputError, match=r"no 'hiden'.*Did you mean 'hidden'"):
        ImageClassification(recipe).prepare(examples)


def _pictures(data: Path, count: int) -> list[LabelledImage]:
    folder = data.parent / "images"
    return [LabelledImage(folder / f"{each}.png", "ab"[each % 2]) for each in range(count)]
