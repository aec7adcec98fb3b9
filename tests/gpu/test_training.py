"""Training on a GPU against training on the CPU."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import closing

import pytest
import torch
from training.processes import Runner, Story, assert_same

from moli.records.examples import Conversation
from moli.records.messages import Message
from moli.training.trained.generate import load_generator
from moli.training.trained.load import load_trained
from moli.workspace import Workspace


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    with Runner(tmp_path_factory.mktemp("gpu")) as runner:
        yield runner


@pytest.mark.slow
@pytest.mark.parametrize(
    "values",
    [
        {"method": "full"},
        {"method": "lora"},
        {"method": "prefix"},  # is padded
        {"task": "instruction", "method": "full"},
        {"task": "instruction", "method": "lora"},
        {"task": "instruction", "method": "dora"},
    ],
    ids=lambda values: "-".join(values.values()),
)
def test_a_gpu_learns_what_a_cpu_learns(train: Runner, values: Story) -> None:
    recipe = train.recipe(**values)
    assert_same(train(1, recipe), train(1, recipe, gpu=True), within=1e-3)


@pytest.mark.slow
def test_a_stopped_run_goes_on_as_if_it_had_not_been(train: Runner) -> None:
    recipe = train.recipe()
    whole = train(1, recipe, gpu=True)
    begun = train(1, recipe, stop_after=3, gpu=True)
    ended = train(1, run=begun["run"], gpu=True, anew=True)
    assert begun["losses"] + ended["losses"] == pytest.approx(whole["losses"], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["classification", "instruction"])
def test_a_gpu_computes_in_bfloat16_by_default_and_keeps_to_the_losses(
    train: Runner, task: str
) -> None:
    recipe = train.recipe(task, learning_rate=1e-3, method="lora")
    full, half = train(1, recipe), train(1, recipe | {"precision": None}, gpu=True)
    assert half["losses"] == pytest.approx(full["losses"], rel=2e-2)
    assert half["losses"] != pytest.approx(full["losses"], rel=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="needs bitsandbytes")
def test_a_base_in_four_bits_is_trained_and_answers(train: Runner) -> None:
    values = {"method": "qlora", "precision": None, "epochs": 6, "name": "four-bits"}
    run = train(1, train.recipe("instruction", **values), gpu=True)
    assert run["losses"][-1] < 0.8 * run["losses"][0]
    with Workspace.open(train.folder) as workspace:
        stored = workspace.models.get("four-bits")
    trained = load_trained(stored)
    assert torch.uint8 in {each.dtype for each in trained.model.parameters()}  # two weights a byte
    conversation = Conversation((Message("user", "w1 w2 w3 w4"),))
    with closing(load_generator(stored)) as generator:  # over the whole base
        (answer,) = generator.answer([conversation], max_tokens=5)
    assert answer["finish_reason"] in ("stop", "length")
