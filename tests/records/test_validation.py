"""pydantic's errors in plain words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from moli.records.validation import describe_value_errors


class Point(BaseModel):
    """A value with two fields."""

    x: int


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (str, 1, "must be a text"),
        (int, "many", "must be a whole number"),
        (int, 1.5, "must be a whole number"),
        (int, [], "must be a whole number"),
        (int, "9" * 5000, "must be a whole number"),
        (float, "many", "must be a number"),
        (float, {}, "must be a number"),
        (Annotated[float, Field(allow_inf_nan=False)], float("inf"), "must be a finite number"),
        (bool, "perhaps", "must be true or false"),
        (bool, [], "must be true or false"),
        (list[int], 1, "must be a list"),
        (tuple[str, ...], 1, "must be a list"),
        (dict[str, int], 1, "must be an object"),
        (Point, 1, "must be an object"),
        (Path, 1, "must be a path"),
        (Literal["a", "b"], 1, "must be one of 'a', 'b'"),
        (str | list[str], 1, "must be a text or a list"),
        (int | float, "x", "must be a whole number or a number"),
        (Annotated[int, Field(gt=0)], 0, "must be more than 0"),
        (Annotated[int, Field(ge=1)], 0, "must be at least 1"),
        (Annotated[int, Field(lt=2)], 2, "must be less than 2"),
        (Annotated[int, Field(le=2)], 3, "must be at most 2"),
        (Annotated[str, Field(min_length=1)], "", "must not be empty"),
        (Annotated[str, Field(max_length=2)], "abc", "may have at most 2 characters"),
        (Annotated[list[int], Field(min_length=2)], [1], "must have at least 2 entries"),
    ],
)
def test_a_value_that_cannot_be_used_is_told_in_plain_words(
    kind: Any, value: Any, words: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python(value)
    assert describe_value_errors(caught.value.errors()) == words
