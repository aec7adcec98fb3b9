"""A run made ready: data read, decisions made, model built, packing verified, loop set up."""

from __future__ import annotations

import dataclasses
import random
import shutil
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch

from moli.models.hardware.probe import DTYPES, probe
from moli.models.weights.hashes import ModelHashes
from moli.records.errors import InputError
from moli.records.examples import Example
from moli.records.models import Manifest
from moli.records.training import Event
from moli.training import inference, methods
from moli.training.batching.samples import Batching, Sample, steps_in_epoch
from moli.training.data import TrainingData, examples_of, read_data
from moli.training.loop.loop import Loop, Schedule
from moli.training.loop.stepping import StepLoss
from moli.training.loop.world import Alone, World
from moli.training.optimization.optimizers import Optimizers, count_parameters
from moli.training.packing import PackingCheck, can_pack, check_packing
from moli.training.recipes.recipe import Recipe
from moli.training.recipes.run_folder import SETTLED, check_unchanged
from moli.training.setup import autotune, environment
from moli.training.setup.memory import peak_memory_mb, tokens_that_fit
from moli.training.setup.resolved import Settled, read, settle, write
from moli.training.tasks import make_task
from moli.training.tasks.base.task import Task
from moli.workspace import Workspace

_EVALUATION_TOKENS = 200_000
Judged = tuple[Example, list[Sample]]


@dataclass(slots=True)
class Session:
    """What a run works with, from its start or its last checkpoint to its end.

    Attributes:
        groups: the samples of each training example.
        judged: the held-out examples that evaluations take, each with its samples.
    """

    settled: Settled
    task: Task
    model: torch.nn.Module
    data: TrainingData
    loop: Loop
    facts: dict[str, Any]
    groups: list[list[Sample]]
    judged: list[Judged]

    @classmethod
    def open(
        cls,
        recipe: Recipe,
        folder: Path,
        hear: Callable[[Event], None],
        world: World | None = None,
    ) -> Session:
        world = world or Alone()
        settled = world.on_rank_zero(lambda: _settled(recipe, folder))
        if world.size == 1:  # several have the threads that they were started with
            torch.set_num_threads(settled.threads)
        recipe = settled.recipe
        torch.manual_seed(recipe.seed)
        task = make_task(recipe)
        data = read_data(recipe, task.example_types)
        world.on_rank_zero(lambda: check_unchanged(folder, _hashes(task, data)))
        train, held_out = examples_of(data.train), examples_of(data.held_out)
        task.prepare(train)
        groups = task.samples(train, training=True)
        samples = [each for group in groups for each in group]
        if not samples:
            raise InputError(
                "nothing in the examples can be learnt",
                where=str(recipe.data),
                fix="Raise max_length, if they are cut before their answers; or complete them.",
            )
        judged = _judged(task, held_out, task.samples(held_out, training=False))
        model = build(task, recipe)
        proof = world.on_rank_zero(lambda: _proof(task, model, samples))
        batching = _batching(settled, task, packed=proof.holds)
        loop = _loop(StepLoss(task, model), settled, samples, batching, folder, hear, world)
        settled = world.on_rank_zero(lambda: _tried(settled, loop))
        loop.batching = _batching(settled, task, packed=bool(settled.packed))
        if judged:
            evaluate = _evaluation(loop, judged)
            loop.evaluate = lambda: world.unsharded(loop.loss, evaluate)
        loop.resume()
        facts = _facts(model, data, samples, proof) | {"judged": len(judged)}
        return cls(settled, task, model, data, loop, facts, groups, judged)

    def outcome(self) -> dict[str, Any]:
        """Rates, memory and the best evaluation, at the end of a run."""
        progress = self.loop.progress
        seconds = max(progress.seconds, 1e-9)
        return {
            "step": progress.step,
            "best_step": progress.best_step,
            "seconds": round(progress.seconds, 3),
            "examples_per_second": round(progress.examples / seconds, 2),
            "tokens_per_second": round(progress.tokens / seconds, 1),
            "peak_memory_mb": peak_memory_mb(),
        } | self._against_estimate()

    def _against_estimate(self) -> dict[str, Any]:
        """What the run took, as a multiple of what was estimated for the steps it has taken."""
        estimate, progress = self.facts.get("estimate"), self.loop.progress
        if not estimate or not progress.step:
            return {}
        seconds = estimate["seconds"] * progress.step / self.loop.schedule.steps
        ratios = {
            "seconds": progress.seconds / max(seconds, 1e-9),
            "memory": peak_memory_mb() / max(estimate["memory_mb"], 1),
        }
        return {"against_estimate": {name: round(ratio, 3) for name, ratio in ratios.items()}}

    def store(self, workspace: Workspace) -> Any:
        """Store the trained weights in the workspace."""
        world = self.loop.world
        self.facts["metrics"] = self.loop.progress.metrics
        world.gather_model(self.model, DTYPES[str(self.settled.recipe.precision)])
        return world.on_rank_zero(lambda: self._keep(workspace))

    def _keep(self, workspace: Workspace) -> Any:
        folder = self.loop.folder / "model"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        methods.save_weights(self.model, self.settled.recipe, folder)
        self.task.save(self.model, folder)
        recipe = self.settled.recipe
        hashes = self.task.base_hashes()
        manifest = Manifest(
            task=recipe.task,
            method=str(recipe.method),
            base=recipe.base,
            base_hash=hashes.base,
            tokenizer_hash=hashes.tokenizer,
            template_hash=hashes.template,
            stop_tokens=hashes.stop_tokens,
            dataset_hash=self.data.digest,
            parent="",
            recipe=recipe.model_dump(mode="json"),
            metrics=self.loop.progress.metrics,
            created_at=time.time(),
        )
        stored = workspace.models.add(folder, manifest, alias=recipe.name)
        shutil.rmtree(folder)
        return stored


def build(task: Task, recipe: Recipe) -> torch.nn.Module:
    """The model that a recipe trains, in training mode."""
    if methods.method_of(recipe).quantizes_base:
        methods.require_four_bit_support()
    # Full tuning begins from the weights as they are; a frozen base is read as it is computed with.
    full = not methods.method_of(recipe).is_adapter
    dtype = torch.float32 if full else DTYPES[str(recipe.precision)]
    model = methods.apply_method(task.build(dtype), recipe)
    return methods.prepare_for_device(model).train()


def _settled(recipe: Recipe, folder: Path) -> Settled:
    """The run's decisions: those of its first session, where there was one."""
    path = folder / SETTLED
    if path.exists():
        return read(path)
    machine = probe()
    settled = settle(recipe, machine, make_task(recipe).hidden_size)
    write(path, settled)
    environment.write(folder, settled.recipe, machine)
    return settled


def _hashes(task: Task, data: TrainingData) -> dict[str, str]:
    """What a run learns from, by its content; of a base that it makes itself, nothing yet."""
    base = ModelHashes("", "", "", ()) if task.from_scratch else task.base_hashes()
    return {
        "data": data.digest,
        "base": base.base,
        "tokenizer": base.tokenizer,
        "template": base.template,
    }


def _tried(settled: Settled, loop: Loop) -> Settled:
    """The run's decisions with how samples are put together: tried where that is worth its time."""
    if settled.packed is not None:
        return settled
    batching, tokens = loop.batching, sum(each.size for each in loop.samples)
    worth = tokens * settled.recipe.epochs > autotune.WORTH and not torch.cuda.is_available()
    if batching.max_tokens and loop.world.size == 1:
        fits = tokens_that_fit(loop.loss, loop.samples, packed=batching.packed)
        batching = dataclasses.replace(batching, max_tokens=min(batching.max_tokens, fits))
        if worth:
            batching = autotune.fastest(loop.loss, loop.samples, batching)
    max_tokens = batching.max_tokens or settled.max_tokens
    settled = dataclasses.replace(settled, max_tokens=max_tokens, packed=batching.packed)
    write(loop.folder / SETTLED, settled)
    return settled


def _proof(task: Task, model: torch.nn.Module, samples: list[Sample]) -> PackingCheck:
    if not can_pack(task):
        return PackingCheck(False)
    return check_packing(task, model, samples, DTYPES[str(task.recipe.precision)])


def _judged(
    task: Task, examples: Sequence[Example], groups: Sequence[list[Sample]]
) -> list[Judged]:
    """As many held-out examples as an evaluation now and then may cost.

    Of more than that some are drawn, for files are often sorted by class.

    Raises:
        InputError: there are too few for the task's metric.
    """
    pairs = [pair for pair in zip(examples, groups, strict=True) if pair[1]]
    if len(pairs) == 1 < task.minimum_evaluation_examples:
        raise InputError(
            f"1 held-out example is too few for {task.metric}",
            where=str(task.recipe.held_out),
            fix="Hold out more, as held_out: 0.2, or none, as held_out: 0.",
        )
    left = _EVALUATION_TOKENS
    if sum(each.size for _, group in pairs for each in group) > left:
        random.Random(task.recipe.seed).shuffle(pairs)  # noqa: S311 - no secret
    kept: list[Judged] = []
    for example, group in pairs:
        sizes = list(accumulate(each.size for each in group))
        if task.metric == "loss":  # which is a mean: a part of an example tells as well
            group = group[: bisect_right(sizes, left)]
        elif sizes and sizes[-1] > left:
            break
        left -= sizes[len(group) - 1] if group else 0
        kept.append((example, group))
        if left <= 0:
            break
    return kept


def _loop(
    loss: StepLoss,
    settled: Settled,
    samples: list[Sample],
    batching: Batching,
    folder: Path,
    hear: Callable[[Event], None],
    world: World,
) -> Loop:
    recipe = settled.recipe
    weights = world.shard(loss, DTYPES[str(recipe.precision)])
    each_epoch = steps_in_epoch(len(samples), batching.batch)
    steps = max(1, round(each_epoch * recipe.epochs))
    return Loop(
        loss=loss,
        weights=weights,
        optimizers=Optimizers(
            weights,
            str(recipe.optimizer),
            float(recipe.learning_rate or 0),
            pretraining=recipe.task == "pretraining" and recipe.base == "new",
        ),
        samples=samples,
        batching=batching,
        schedule=Schedule(steps, max(1, min(each_epoch, steps // 5)), recipe.patience),
        seed=recipe.seed,
        folder=folder,
        hear=hear,
        world=world,
    )


def _batching(settled: Settled, task: Task, *, packed: bool) -> Batching:
    max_tokens = settled.max_tokens if task.can_split_steps else None
    return Batching(int(settled.recipe.batch or 1), max_tokens, packed)


def _evaluation(
    loop: Loop, judged: Sequence[Judged]
) -> Callable[[], tuple[dict[str, float], float]]:
    task, model = loop.loss.task, loop.loss.model
    examples, groups = zip(*judged, strict=True)

    def evaluate() -> tuple[dict[str, float], float]:
        packed = loop.batching.packed
        metrics = inference.evaluate(task, model, examples, groups, packed=packed)
        score = -metrics["loss"] if task.metric == "loss" else metrics[task.metric]
        return metrics, score

    return evaluate


def _facts(
    model: torch.nn.Module, data: TrainingData, samples: list[Sample], proof: PackingCheck
) -> dict[str, Any]:
    trained = [each for each in model.parameters() if each.requires_grad]
    return {
        "examples": len(data.train),
        "held_out": len(data.held_out),
        "malformed": len(data.malformed),
        "overlap_removed": len(data.removed),
        "samples": len(samples),
        "cut": sum(each.truncated_tokens > 0 for each in samples),
        "tokens": sum(each.size for each in samples),
        "parameters": count_parameters(model.parameters()),
        "trained_parameters": count_parameters(trained),
        "packing": asdict(proof),
    }
