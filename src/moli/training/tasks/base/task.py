"""What a task supplies to the one loop: samples, loss and metrics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from moli.models.weights.hashes import ModelHashes
from moli.models.weights.json_files import read_json, write_json
from moli.records.examples import Example
from moli.training.batching.samples import Sample
from moli.training.recipes.recipe import Recipe

_LEARNT = "task.json"


class Task(ABC):
    """One kind of model: how examples become samples, their loss, how it is evaluated.

    A task is made from a recipe, prepared with the training examples (from which it learns its
    labels or its tokenizer), and then builds the model that it works with. `restore` loads a
    trained model.

    Attributes:
        example_types: the kinds of example it reads.
        metric: which of its metrics chooses the best weights: "loss", or one to maximise.
        minimum_evaluation_examples: examples without which there is no such metric.
        supervised_unit: what is supervised, in the plural.
        supports_packing: whether its sequences may be packed where the model allows it.
        can_split_steps: whether a step can be computed in parts whose losses add up: not with
            negatives from the same batch.
        state_fields: names of its attributes that `prepare` sets and a trained model needs again;
            their values are JSON.
        prediction_formats: formats it can answer, each with the columns a question may omit and
            their placeholder values.
        text_column: the column that a plain text fills; empty if an answer needs more than one.
    """

    example_types: ClassVar[tuple[type[Example], ...]]
    supervised_unit: ClassVar[str] = "examples"
    supports_packing: ClassVar[bool] = True
    state_fields: ClassVar[tuple[str, ...]] = ()
    text_column: ClassVar[str] = ""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    # Attributes or properties, as a task needs.
    @property
    def metric(self) -> str:
        return "loss"

    @property
    def minimum_evaluation_examples(self) -> int:
        return 1

    @property
    def can_split_steps(self) -> bool:
        return True

    @property
    def prediction_formats(self) -> Mapping[str, Mapping[str, Any]]:
        return {}

    @property
    def from_scratch(self) -> bool:
        """Whether the model is new, with the recipe's shape."""
        return self.recipe.base == "new"

    @property
    def hidden_size(self) -> int:
        """Of the base's hidden states; 0 for a new model."""
        return 0

    def base_hashes(self) -> ModelHashes:
        """What the base is, by its content."""
        return ModelHashes("", "", "", ())

    @property
    def tokenizer(self) -> Any:
        """Of the base; None where there are no tokens."""
        return None

    @property
    def max_length(self) -> int:
        """Tokens of a sequence at most; 0 where there is no limit."""
        return 0

    @abstractmethod
    def prepare(self, examples: Sequence[Example]) -> None:
        """Learn from the training examples what the task must know before it builds a model.

        Raises:
            InputError: nothing can be learnt from them, such as examples of a single label.
        """

    @abstractmethod
    def samples(self, examples: Sequence[Example], *, training: bool) -> list[list[Sample]]:
        """For each example its samples: one, or several where it is read in windows, or none."""

    @abstractmethod
    def build(self, dtype: torch.dtype) -> torch.nn.Module:
        """The base model with the heads that the task needs."""

    @abstractmethod
    def restore(self, folder: Path, dtype: torch.dtype) -> torch.nn.Module:
        """The model that `save` wrote; the task learns from it what `prepare` would teach."""

    @abstractmethod
    def forward(
        self, model: torch.nn.Module, samples: Sequence[Sample], *, packed: bool = False
    ) -> Any:
        """What the model makes of samples, in the task's own form.

        Args:
            packed: whether sequences lie end to end, which has to be proven first.
        """

    @abstractmethod
    def losses(self, outputs: Any, samples: Sequence[Sample]) -> torch.Tensor:
        """Each sample's loss, summed over its supervised items: [samples], in float32."""

    def output_checksums(self, outputs: Any, samples: Sequence[Sample]) -> torch.Tensor:
        """A number above 0 that depends on each sample's outputs alone: [samples].

        It is the loss, except where that depends on the other samples of a step.
        """
        return self.losses(outputs, samples)

    @abstractmethod
    def decode(self, outputs: Any, samples: Sequence[Sample]) -> list[Any]:
        """An answer for each sample."""

    def aggregate(self, answers: Sequence[Any], example: Example) -> Any:  # noqa: ARG002
        """One answer from those of an example's samples."""
        return answers[0]

    @abstractmethod
    def metrics(self, answers: Sequence[Any], examples: Sequence[Example]) -> dict[str, float]:
        """Metrics of one answer for each example; the caller adds the loss."""

    def supervised_tokens(self, sample: Sample) -> list[NDArray[np.bool_]] | None:  # noqa: ARG002
        """For each sequence of a sample which tokens are learnt; None where no tokens are."""
        return None

    def unusable_examples(self, examples: Sequence[Example]) -> list[int]:  # noqa: ARG002
        """The numbers of well-formed examples of which no sample can be made."""
        return []

    def template_problems(self, examples: Sequence[Example]) -> list[str] | None:  # noqa: ARG002
        """What would make the served model see another text than the trained one did; None where
        the task has no such text."""
        return None

    def to_row(self, answer: Any) -> dict[str, Any]:
        """An answer in a form for people and programs."""
        return {"answer": answer}

    @property
    def export_caveat(self) -> str:
        """How other programs would use the weights differently; "" if they would not."""
        return ""

    def example_scores(self, answers: Sequence[Any], examples: Sequence[Example]) -> list[float]:
        """Each example's score, of which `metric` is the mean; none where it is no mean."""
        pairs = zip(answers, examples, strict=True)
        return [self.metrics([answer], [each])[self.metric] for answer, each in pairs]

    def save(self, model: torch.nn.Module, folder: Path) -> None:  # noqa: ARG002
        """Write what belongs to a model beside its weights: what was learnt, a tokenizer.

        It is a file of our own, for transformers takes an adapter with a `config.json` for a whole
        model.
        """
        if self.state_fields:
            learnt = {name: getattr(self, name) for name in self.state_fields}
            write_json(folder / _LEARNT, learnt)

    def load_state(self, folder: Path) -> None:
        """Read again what was learnt."""
        for name, value in (read_json(folder / _LEARNT) or {}).items():
            if name in self.state_fields:
                setattr(self, name, value)


def model_without_head(model: torch.nn.Module) -> Any:
    """The transformer below a model's head, with whatever adapters are in it."""
    return unwrapped_model(model).base_model


def unwrapped_model(model: torch.nn.Module) -> Any:
    """The transformers model itself, without PEFT's wrapper around it."""
    inner: Any = model
    return inner.get_base_model() if hasattr(inner, "peft_config") else inner


def model_to_call(model: torch.nn.Module) -> torch.nn.Module:
    """The model to call on padded rows.

    PEFT's wrappers drop arguments on the way, as the types of tokens for question answering, and
    are needed only where they put a prompt before the row.
    """
    configs = getattr(model, "peft_config", {}).values()
    return model if any(each.is_prompt_learning for each in configs) else unwrapped_model(model)


@contextmanager
def evaluation_mode(model: torch.nn.Module) -> Iterator[None]:
    """Without dropout and without gradients."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)
