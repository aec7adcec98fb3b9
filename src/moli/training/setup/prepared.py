"""A run prepared from its recipe: data, model and loop, ready for the first or the next step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from moli.models.hardware.probe import DTYPES, probe
from moli.models.weights.hashes import ModelHashes
from moli.records.errors import InputError
from moli.records.training import Event
from moli.training import methods
from moli.training.batching.samples import Sample, steps_in_epoch
from moli.training.data import TrainingData, count_unknown_labels, examples_of, read_data
from moli.training.loop.loop import Loop, RunSchedule
from moli.training.loop.step_loss import StepLoss
from moli.training.loop.world import SingleProcess, World
from moli.training.optimization.averaging import WeightAverage
from moli.training.optimization.optimizers import MasterWeights, Optimizers, count_parameters
from moli.training.packing import PackingCheck, can_pack, check_packing
from moli.training.recipes.recipe import Recipe
from moli.training.recipes.run_folder import RESOLVED, check_unchanged
from moli.training.setup import autotune
from moli.training.setup.environment import write_environment
from moli.training.setup.evaluation import (
    EvaluationExample,
    HeldOutEvaluation,
    choose_evaluation_examples,
)
from moli.training.setup.head import fit_head
from moli.training.setup.label_defaults import needs_defaults, with_label_defaults
from moli.training.setup.lengths import (
    dropped_advice,
    dropped_lengths,
    unlearnable_reason,
)
from moli.training.setup.memory import tokens_that_fit
from moli.training.setup.rendered import RENDERED_ADVICE, describe_rendered, find_rendered
from moli.training.setup.resolved import (
    ResolvedRecipe,
    read_resolved,
    resolve_recipe,
    write_resolved,
)
from moli.training.tasks import make_task
from moli.training.tasks.base.task import Task
from moli.workspace.datasets.labels import describe_similar
from moli.workspace.paths import PLACES


@dataclass(frozen=True, slots=True)
class RunData:
    """A run's data as its task sees it.

    Attributes:
        task: the recipe's task, prepared with the training examples.
        examples: training and held-out examples with their locations.
        groups: the samples of each training example.
        samples: all training samples.
        evaluation_examples: the held-out examples that evaluations use.
        held_out_groups: the samples of each held-out example.
        too_long: lengths in tokens of the examples that have no samples because their prompts fill
            the maximum length, by their locations.
    """

    task: Task
    examples: TrainingData
    groups: list[list[Sample]]
    samples: list[Sample]
    evaluation_examples: list[EvaluationExample]
    held_out_groups: list[list[Sample]]
    too_long: dict[str, int]

    def row_counts(self) -> dict[str, int]:
        """Numbers of rows by what becomes of them; `total` is the number in the files."""
        data = self.examples
        trained, held_out = (sum(map(bool, each)) for each in (self.groups, self.held_out_groups))
        dropped = len(data.train) - trained + len(data.held_out) - held_out
        return {
            "total": data.rows,
            "learnt": trained,
            "held_out": held_out,
            "malformed": len(data.malformed),
            "dropped": dropped + len(data.removed),
            "unread": sum(part.lines for part in data.unread),
        }

    def row_notes(self) -> list[str]:
        """Advice on rows that are dropped or truncated, on control tokens and on labels."""
        truncated = [
            sample.length + sample.truncated_tokens
            for sample in self.samples
            if sample.truncated_tokens and sample.sequences
        ]
        notes = []
        if self.too_long:
            advice = dropped_advice(self.task, self.too_long.values())
            notes.append(f"{len(self.too_long):,} dropped: {self.task.too_long_reason}. {advice}")
        if truncated:
            advice = dropped_advice(self.task, truncated)
            notes.append(f"{len(truncated):,} truncated. {advice}")
        located = (*self.examples.train, *self.examples.held_out)
        if rendered := describe_rendered(find_rendered(self.task, located)):
            notes.append(f"{rendered}. {RENDERED_ADVICE}")
        labels = {label for each in self.examples.train for label in each.example.class_labels}
        if similar := describe_similar(sorted(labels)):
            notes.append(similar)
        return notes


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """All that a run needs before its first step, or before its next one if it is resumed.

    Attributes:
        resolved: the recipe as it is trained.
        model: the model that the loop trains.
        packing: the check that samples may be packed.
        loop: the training loop, with the checkpoint's weights and progress if there is one.
    """

    resolved: ResolvedRecipe
    data: RunData
    model: torch.nn.Module
    packing: PackingCheck
    loop: Loop

    @property
    def task(self) -> Task:
        return self.data.task

    def facts(self) -> dict[str, Any]:
        """Numbers of examples, samples, tokens and parameters, for reports."""
        data, samples = self.data.examples, self.data.samples
        trained = [each for each in self.model.parameters() if each.requires_grad]
        return {
            "examples": len(data.train),
            "held_out": len(data.held_out),
            "malformed": len(data.malformed),
            "overlap_removed": len(data.removed),
            "rows": self.data.row_counts(),
            "row_notes": self.data.row_notes(),
            "samples": len(samples),
            "cut": sum(each.truncated_tokens > 0 for each in samples),
            "tokens": sum(each.size for each in samples),
            "parameters": count_parameters(self.model.parameters()),
            "trained_parameters": count_parameters(trained),
            "packing": asdict(self.packing),
            "judged": len(self.data.evaluation_examples),
            "epochs": self.resolved.recipe.epochs,
        }


def ignore_event(event: Event) -> None:
    """Drop an event, as in a check, or in a process beside the first one, which reports it."""


def prepare(
    recipe: Recipe,
    folder: Path,
    on_event: Callable[[Event], None] = ignore_event,
    world: World | None = None,
) -> PreparedRun:
    """Prepare a new run in a folder, or one that has begun there and is to be resumed.

    Args:
        on_event: receives each step and evaluation.
        world: the processes that train together; by default this one alone.

    Raises:
        InputError: a value of the recipe or the data cannot be used, or the data has changed since
            the run began.
        ModelError: the base cannot be loaded.
    """
    world = world or SingleProcess()
    resolved = world.on_rank_zero(lambda: resolve_once(recipe, folder))
    if world.size == 1:  # several have the threads that they were started with
        torch.set_num_threads(resolved.threads)
    torch.manual_seed(resolved.recipe.seed)
    data = read_run_data(resolved.recipe, folder, world)
    model = build_model(data.task, resolved.recipe, data.samples)
    packing = world.on_rank_zero(lambda: check_packing_of(data, model))
    loss = StepLoss(data.task, model)
    weights = world.shard(loss, DTYPES[str(resolved.recipe.precision)])
    planned = world.on_rank_zero(
        lambda: plan_batches_once(resolved, loss, data.samples, folder, packing, world)
    )
    loop = make_loop(planned, data, loss, weights, folder, on_event, world)
    if data.task.linear_head(model) is not None:  # which was fitted: the start is good already
        loop.average = WeightAverage(weights)
    loop.resume()
    return PreparedRun(planned, data, model, packing, loop)


def resolve_once(recipe: Recipe, folder: Path) -> ResolvedRecipe:
    """The recipe as it was resolved when the run began, or resolved and written down now.

    Its paths are those of `recipe`, since a run's data and base may have been moved.
    """
    path = folder / RESOLVED
    if path.exists():
        resolved = read_resolved(path)
        paths = {key: value for key in PLACES if is_place(value := getattr(recipe, key))}
        return dataclasses.replace(resolved, recipe=resolved.recipe.model_copy(update=paths))
    if needs_defaults(recipe):
        data = read_data(recipe, make_task(recipe).example_types)
        recipe = with_label_defaults(recipe, examples_of(data.train))
    machine = probe()
    resolved = resolve_recipe(recipe, machine, make_task(recipe).hidden_size)
    write_resolved(path, resolved)
    write_environment(folder, resolved.recipe, machine)
    return resolved


def is_place(value: Any) -> bool:
    """Whether a value of a recipe is a path, or several."""
    is_folder = isinstance(value, str) and Path(value).is_absolute()
    return is_folder or isinstance(value, Path | tuple)


def read_run_data(recipe: Recipe, folder: Path, world: World) -> RunData:
    """Read the examples, prepare the task with them, and make its samples.

    Raises:
        InputError: the data cannot be used, or it has changed since the run began.
    """
    task = make_task(recipe)
    data = read_data(recipe, task.example_types)
    world.on_rank_zero(lambda: check_unchanged(folder, _hashes(task, data)))
    train, held_out = examples_of(data.train), examples_of(data.held_out)
    task.prepare(train)
    groups = task.samples(train, training=True)
    samples = [sample for group in groups for sample in group]
    held_out_groups = task.samples(held_out, training=False)
    located = (*data.train, *data.held_out)
    too_long = dropped_lengths(task, located, (*groups, *held_out_groups))
    if not samples:
        why, fix = (
            (task.too_long_reason, dropped_advice(task, too_long.values()))
            if too_long
            else unlearnable_reason(train[0])
        )
        raise InputError(f"nothing in the examples can be learnt: {why}", recipe.data_name, fix)
    count_unknown_labels(held_out, task.known_labels, str(recipe.held_out))
    chosen = choose_evaluation_examples(task, held_out, held_out_groups)
    return RunData(task, data, groups, samples, chosen, held_out_groups, too_long)


def _hashes(task: Task, data: TrainingData) -> dict[str, str]:
    """Hashes of data and base by name; the hashes of a base are "" if the run makes a new model."""
    base = ModelHashes("", "", "", ()) if task.from_scratch else task.base_hashes()
    return {
        "data": data.digest,
        "base": base.base,
        "tokenizer": base.tokenizer,
        "template": base.template,
    }


def build_model(task: Task, recipe: Recipe, samples: Sequence[Sample] = ()) -> torch.nn.Module:
    """Build the model that a recipe trains, in training mode.

    Args:
        samples: to which the head is fitted if it is a linear one; without them it is random.

    Raises:
        InputError: no steps are to be taken, and there is no head to fit.
    """
    method = methods.method_of(recipe)
    if method.quantizes_base:
        methods.require_four_bit_support()
    # Full training begins from the weights as they are; a frozen base has the compute precision.
    dtype = DTYPES[str(recipe.precision)] if method.is_adapter else torch.float32
    base = task.build(dtype)
    if torch.cuda.is_available() and not method.quantizes_base:
        base.cuda()
    has_fitted_head = bool(samples) and fit_head(task, base, samples, recipe.seed)
    if samples and not recipe.epochs and not has_fitted_head:
        raise InputError(
            "with epochs: 0 only a classifier's head is fitted, and there is none",
            where=recipe.base,
            fix="Give epochs, or classify with a sentence encoder such as builtin:minilm as base.",
        )
    model = methods.apply_method(base, recipe)
    return methods.prepare_for_device(model).train()


def check_packing_of(data: RunData, model: torch.nn.Module) -> PackingCheck:
    """Check that samples may be packed, if the task and the method allow it at all."""
    task = data.task
    if not can_pack(task):
        return PackingCheck(False)
    return check_packing(task, model, data.samples, DTYPES[str(task.recipe.precision)])


def plan_batches_once(
    resolved: ResolvedRecipe,
    loss: StepLoss,
    samples: list[Sample],
    folder: Path,
    packing: PackingCheck,
    world: World,
) -> ResolvedRecipe:
    """The recipe with packing and the size of micro-batches decided, by timing for a long run.

    A resumed run keeps what was decided when it began.
    """
    if resolved.packed is not None:
        return resolved
    batching = resolved.batching(packed=packing.holds, split=loss.can_split_steps)
    tokens = float(resolved.recipe.epochs or 0) * sum(sample.size for sample in samples)
    is_worth_trying = tokens > autotune.MIN_RUN_TOKENS and not torch.cuda.is_available()
    if batching.max_tokens and world.size == 1 and tokens:
        fitting = tokens_that_fit(loss, samples, packed=batching.packed)
        batching = dataclasses.replace(batching, max_tokens=min(batching.max_tokens, fitting))
        if is_worth_trying:
            batching = autotune.fastest_batching(loss, samples, batching)
    max_tokens = batching.max_tokens or resolved.max_tokens
    resolved = dataclasses.replace(resolved, max_tokens=max_tokens, packed=batching.packed)
    write_resolved(folder / RESOLVED, resolved)
    return resolved


def make_loop(
    resolved: ResolvedRecipe,
    data: RunData,
    loss: StepLoss,
    weights: MasterWeights,
    folder: Path,
    on_event: Callable[[Event], None],
    world: World,
) -> Loop:
    """The training loop at its first step."""
    recipe, packed = resolved.recipe, bool(resolved.packed)
    batching = resolved.batching(packed=packed, split=loss.can_split_steps)
    epoch_steps = steps_in_epoch(len(data.samples), batching.batch)
    epochs = float(recipe.epochs or 0)
    steps = max(1, round(epoch_steps * epochs)) if epochs else 0
    held_out = data.evaluation_examples
    return Loop(
        loss=loss,
        weights=weights,
        optimizers=Optimizers(
            weights,
            str(recipe.optimizer),
            float(recipe.learning_rate or 0),
            pretraining=recipe.task == "pretraining" and recipe.base == "new",
        ),
        samples=data.samples,
        batching=batching,
        schedule=RunSchedule(steps, max(1, min(epoch_steps, steps // 5)), recipe.patience or 0),
        seed=recipe.seed,
        folder=folder,
        on_event=on_event,
        evaluate=HeldOutEvaluation(loss, held_out, packed, world) if held_out else None,
        world=world,
    )
