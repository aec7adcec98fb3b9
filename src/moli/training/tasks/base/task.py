"""A task as the rest of training sees it, in six roles: samples, model, step, evaluation,
predictions and checks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from moli.metrics.classification import ClassificationReport
from moli.models.weights.hashes import ModelHashes
from moli.models.weights.json_files import read_json, write_json
from moli.records.examples import Example
from moli.training.batching.samples import Sample
from moli.training.recipes.recipe import Recipe

# Not in config.json: transformers takes a folder with one for a whole model, not for an adapter.
_STATE_FILE = "task.json"


class TaskSamples(ABC):
    """The step from examples to samples.

    Attributes:
        example_types: classes of the examples that the task reads.
    """

    example_types: ClassVar[tuple[type[Example], ...]]

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of the base model; None for tasks without tokens."""
        return None

    @property
    def max_length(self) -> int:
        """Maximum number of tokens in a sequence; 0 if there is no limit."""
        return 0

    @property
    def length_limit(self) -> int:
        """Maximum number of tokens that the base can take; 0 if there is no limit."""
        return self.max_length

    @property
    def too_long_reason(self) -> str:
        """The reason why an example that is too long has no samples."""
        most = f"{self.max_length:,}"
        return f"the prompt alone is longer than max_length {most}, so no answer is left"

    def full_length(self, example: Example) -> int:  # noqa: ARG002
        """Tokens of an example's longest sequence, untruncated; 0 if length drops no example."""
        return 0

    @abstractmethod
    def prepare(self, examples: Sequence[Example]) -> None:
        """Derive from the training examples what building a model needs, such as the labels.

        Raises:
            InputError: nothing can be learned from them, as from examples of a single label.
        """

    @abstractmethod
    def samples(self, examples: Sequence[Example], *, training: bool) -> list[list[Sample]]:
        """The samples of each example: one, several if it is read in windows, or none.

        Args:
            training: whether they are made to train on, and not to evaluate or predict.
        """


@dataclass(frozen=True, slots=True)
class HeadRows:
    """Rows for a logistic regression.

    Attributes:
        vectors: [rows, features], dense or sparse.
        targets: id of the class of each row, [rows].
        groups: number of the group of rows that know of each other, [rows]; None if none do.
    """

    vectors: torch.Tensor
    targets: torch.Tensor
    groups: torch.Tensor | None = None


class TaskModel(ABC):
    """The model: built, saved and restored.

    Attributes:
        state_fields: names of the attributes that `prepare` sets and a trained model needs again;
            their values are JSON.
    """

    recipe: Recipe
    state_fields: ClassVar[tuple[str, ...]] = ()

    @property
    def from_scratch(self) -> bool:
        """Whether the recipe asks for a new model of a given shape in place of a base."""
        return self.recipe.base == "new"

    @property
    def hidden_size(self) -> int:
        """Width of the base's hidden states; 0 for a new model."""
        return 0

    def base_hashes(self) -> ModelHashes:
        """Hashes of the base's weights, tokenizer and template, each "" if the base has none."""
        return ModelHashes("", "", "", ())

    @abstractmethod
    def build(self, dtype: torch.dtype) -> torch.nn.Module:
        """The base model with the heads that the task needs."""

    def linear_head(self, model: torch.nn.Module) -> torch.nn.Linear | None:  # noqa: ARG002
        """The head of a built model, if it is one linear layer above vectors of the base's own.

        Such a head is fitted to the frozen base before the first step.
        """
        return None

    def head_inputs(self, model: torch.nn.Module, samples: Sequence[Sample]) -> torch.Tensor:
        """The vectors that `linear_head` reads, [vectors, features], dense or sparse, float32."""
        raise NotImplementedError

    def head_rows(self, inputs: torch.Tensor, samples: Sequence[Sample]) -> HeadRows:
        """Rows for a logistic regression that gives the head.

        Args:
            inputs: the vectors of all samples.
        """
        raise NotImplementedError

    @abstractmethod
    def restore(self, folder: Path, dtype: torch.dtype) -> torch.nn.Module:
        """The trained model that was saved in a folder; also loads the task's state from there."""

    def save_state(self, model: torch.nn.Module, folder: Path) -> None:  # noqa: ARG002
        """Write all files of a model but its weights, such as labels and a tokenizer."""
        if self.state_fields:
            write_json(
                folder / _STATE_FILE, {name: getattr(self, name) for name in self.state_fields}
            )

    def load_state(self, folder: Path) -> None:
        """Set the attributes in `state_fields` from what `save_state` wrote."""
        for name, value in (read_json(folder / _STATE_FILE) or {}).items():
            if name in self.state_fields:
                setattr(self, name, value)


class TaskStep(ABC):
    """The computation of a training step.

    Attributes:
        supports_packing: whether sequences may be packed end to end if the model allows it.
        needs_reference: whether the loss compares the model with the reference, which is the model
            before its first step: what `reference_values` gives is kept with each sample.
    """

    supports_packing: ClassVar[bool] = True
    needs_reference: ClassVar[bool] = False

    @property
    def can_split_steps(self) -> bool:
        """Whether a step's loss is the sum of its micro-batches' losses.

        With in-batch negatives it is not: each sample's loss depends on all samples of the step.
        """
        return True

    @abstractmethod
    def forward(
        self, model: torch.nn.Module, samples: Sequence[Sample], *, packed: bool = False
    ) -> Any:
        """The model's outputs for samples, in a form of the task's own.

        Args:
            packed: whether to lay sequences end to end, which `check_packing` has to allow.
        """

    @abstractmethod
    def losses(self, outputs: Any, samples: Sequence[Sample]) -> torch.Tensor:
        """Loss of each sample, summed over its supervised items: [samples], in float32."""

    def training_losses(
        self, model: torch.nn.Module, samples: Sequence[Sample], *, packed: bool
    ) -> torch.Tensor:
        """Loss of each sample that training lowers: `losses`, unless a task trains on another."""
        return self.losses(self.forward(model, samples, packed=packed), samples)

    def reference_values(self, outputs: Any, samples: Sequence[Sample]) -> NDArray[np.float64]:
        """The values of the reference that the losses need, [samples, values].

        Args:
            outputs: what `forward` gave for the reference.
        """
        raise NotImplementedError

    def set_reference(self, sample: Sample, values: NDArray[np.float64]) -> None:
        """Keep the reference's values, [values], with a sample."""
        raise NotImplementedError

    def output_checksums(self, outputs: Any, samples: Sequence[Sample]) -> torch.Tensor:
        """A positive number for each sample that depends on its own outputs alone: [samples].

        The packing check compares the numbers of packed and of separate samples. By default they
        are the losses; a task whose losses depend on other samples returns other numbers.
        """
        return self.losses(outputs, samples)


class TaskEvaluation(ABC):
    """The evaluation of a model.

    Attributes:
        is_calibrated: whether `calibrate` has something to do.
        calibration: what `calibrate` reports of the model, as JSON; empty for most tasks.
    """

    is_calibrated: ClassVar[bool] = False
    calibration: Mapping[str, Any] = MappingProxyType({})

    @property
    def metric(self) -> str:
        """Name of the main metric, which models are compared by: "loss", or one to maximize."""
        return "loss"

    @property
    def selection_metric(self) -> str:
        """Name of the metric that chooses the best weights; by default the main one."""
        return self.metric

    @property
    def known_labels(self) -> Sequence[str]:
        """The labels that the model can give, in the order of their ids; empty without classes."""
        return ()

    @property
    def minimum_evaluation_examples(self) -> int:
        """Number of examples below which the metric is not defined."""
        return 1

    @abstractmethod
    def decode(self, outputs: Any, samples: Sequence[Sample]) -> list[Any]:
        """An answer for each sample, from the outputs of `forward`."""

    def aggregate(self, answers: Sequence[Any], example: Example) -> Any:  # noqa: ARG002
        """The answer for an example, from the answers for its samples."""
        return answers[0]

    @abstractmethod
    def metrics(self, answers: Sequence[Any], examples: Sequence[Example]) -> dict[str, float]:
        """Metrics of one answer for each example; the caller adds the loss."""

    def outcome_notes(
        self,
        metrics: Mapping[str, float],  # noqa: ARG002
        base_metrics: Mapping[str, float],  # noqa: ARG002
    ) -> list[str]:
        """Remarks for people on a trained model's metrics, beside those of its base."""
        return []

    def example_scores(self, answers: Sequence[Any], examples: Sequence[Example]) -> list[float]:
        """Score of each example, of which `metric` is the mean; empty if it is not a mean."""
        pairs = zip(answers, examples, strict=True)
        return [self.metrics([answer], [example])[self.metric] for answer, example in pairs]

    def calibrate(self, answers: Sequence[Any], examples: Sequence[Example]) -> None:
        """Choose what turns answers into decisions, such as thresholds, by held-out examples.

        Called once, with the answers of the trained model, before it is stored, if the task
        `is_calibrated`.
        """
        raise NotImplementedError

    def class_report(
        self,
        answers: Sequence[Any],  # noqa: ARG002
        examples: Sequence[Example],  # noqa: ARG002
    ) -> ClassificationReport | None:
        """A report on each class, for a task whose answers name no single class; else None."""
        return None

    def predicted_class(self, answer: Any) -> str | None:  # noqa: ARG002
        """The one class that an answer names, for a confusion matrix; None if it names none."""
        return None


class TaskPredictions:
    """Input and output of `moli predict`.

    Attributes:
        text_column: the column that a line of plain text fills; "" if one column is not enough.
    """

    text_column: ClassVar[str] = ""

    @property
    def prediction_formats(self) -> Mapping[str, Mapping[str, Any]]:
        """Names of the data formats to predict from, with values for columns that rows may omit.

        For example {"labelled": {"label": "spam"}}: rows in the format `labelled`, in which a
        missing label is filled in as "spam", and ignored.
        """
        return {}

    def to_row(self, answer: Any) -> dict[str, Any]:
        """An answer as named values that can be printed and written as JSON."""
        return {"answer": answer}


class TaskChecks:
    """Facts about a task that are reported by checks before training and by exports after it.

    Attributes:
        supervised_unit: the kind of item that the loss is a mean of, such as "examples" or
            "tokens".
    """

    supervised_unit: ClassVar[str] = "examples"

    def supervised_tokens(self, sample: Sample) -> list[NDArray[np.bool_]] | None:  # noqa: ARG002
        """Masks of a sample's supervised tokens, one a sequence; None if labels are not tokens."""
        return None

    def unusable_examples(self, examples: Sequence[Example]) -> list[int]:  # noqa: ARG002
        """Indices of well-formed examples from which no sample can be made."""
        return []

    def count_broken_tokens(self, examples: Sequence[Example]) -> dict[str, int]:  # noqa: ARG002
        """Number of examples with each special token that texts hold and that is read as letters.

        Empty for tasks without a chat template.
        """
        return {}

    def control_tokens(self, example: Example) -> set[str]:  # noqa: ARG002
        """Control tokens of chat templates in an example's texts; none for tasks without turns."""
        return set()

    @property
    def turn_tokens(self) -> Sequence[str]:
        """Special tokens that the chat template writes around turns; empty without a template."""
        return ()

    def template_problems(self, examples: Sequence[Example]) -> list[str] | None:  # noqa: ARG002
        """Reasons why the served model would read a different text from the trained one.

        None for tasks without a chat template.
        """
        return None

    @property
    def export_caveat(self) -> str:
        """Why other programs would give different answers with the weights; "" if they would not.

        For example "it classifies from the mean of a text's states, which transformers has no
        class for".
        """
        return ""


class Task(TaskSamples, TaskModel, TaskStep, TaskEvaluation, TaskPredictions, TaskChecks):
    """One kind of model: how examples become samples, their loss, how it is evaluated.

    A task is made from a recipe, prepared with the training examples (which give it its labels or
    its tokenizer), and then builds its model; or it restores a trained model. A new task
    implements the abstract methods; everything else has a default.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
