"""Options of single tasks, which recipes set as `options`: one frozen model for each such task."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from moli.records.errors import InputError
from moli.records.validation import describe_value_errors


class TaskOptions(BaseModel):
    """The options of a task; a task without any has this class itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DpoOptions(TaskOptions):
    """Options of direct preference optimization (Rafailov et al. 2023)."""

    beta: float = Field(
        0.1, gt=0, description="Strength of the pull to the reference: larger stays closer"
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="Assumed share of pairs whose sides are swapped"
    )
    length_normalized: bool = Field(
        False, description="Whether log probabilities are means over an answer's tokens"
    )


class RewardOptions(TaskOptions):
    """Options of reward models (Touvron et al. 2023, section 3.2.2)."""

    margin: float = Field(
        1.0, ge=0, description="Margin of the pair with the largest one in the data; 0: no margins"
    )
    centring: float = Field(
        0.01, ge=0, description="Weight of the squared sum of a pair's scores, which centres them"
    )
    safety: float = Field(
        1.0, ge=0, description="Weight of telling safe answers from unsafe ones, for tagged pairs"
    )


class IpoOptions(TaskOptions):
    """Options of identity preference optimization (Azar et al. 2024)."""

    beta: float = Field(
        0.1,
        gt=0,
        description="The margin of pairs is drawn to 1 / (2 beta) nats a token",
    )


class SimpoOptions(TaskOptions):
    """Options of simple preference optimization (Meng et al. 2024)."""

    beta: float = Field(2.0, gt=0, description="Factor of the mean log probabilities")
    gamma: float = Field(
        1.0, ge=0, description="Margin by which the chosen answer's reward is to be larger"
    )


class OrpoOptions(TaskOptions):
    """Options of odds ratio preference optimization (Hong et al. 2024)."""

    beta: float = Field(0.1, gt=0, description="Weight of the odds ratio beside the cross-entropy")


class KtoOptions(TaskOptions):
    """Options of Kahneman-Tversky optimization (Ethayarajh et al. 2024)."""

    beta: float = Field(
        0.1, gt=0, description="Strength of the pull to the reference: larger stays closer"
    )
    desirable_weight: float = Field(1.0, gt=0, description="Weight of good answers in the loss")
    undesirable_weight: float = Field(1.0, gt=0, description="Weight of bad answers in the loss")


def check_options(
    model: type[TaskOptions], values: Mapping[str, Any], where: str, *, key: str = "options"
) -> TaskOptions:
    """A task's options from the values in a recipe.

    Args:
        where: the recipe or option that errors name.
        key: the recipe's key of the values.

    Raises:
        InputError: an option is unknown (the nearest is named) or its value cannot be used.
    """
    fields = model.model_fields
    for name in values:
        if name in fields:
            continue
        if not fields:
            raise InputError(
                f"'options' has '{name}', but the task has no options",
                where=where,
                fix="Leave it out.",
            )
        near = difflib.get_close_matches(str(name), fields, n=1, cutoff=0.5)
        raise InputError(
            f"unknown option '{name}'",
            where=where,
            fix=f"Did you mean '{near[0]}'?" if near else f"Options: {', '.join(fields)}.",
        )
    try:
        return model(**values)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        same = [each for each in error.errors() if each["loc"][0] == name]
        raise InputError(
            f"'{key}.{name}' is {values[name]!r}: {describe_value_errors(same)}",
            where=where,
            fix=f"{name}: {fields[name].description}.",
        ) from error
