"""Parts of the bodies of requests: texts, tools, formats of answers, fields without effect.

The shapes follow the public API reference; fields that are not supported are refused, not ignored.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from fastapi import Query
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from moli.models.templates.json_schema import followable_schema
from moli.records.errors import InputError
from moli.records.generation import OutputConstraint
from moli.records.messages import Tool
from moli.serving.json_body import is_storable


def _storable(text: str) -> str:
    """Refuse half of a surrogate pair and a null character: JSON has them, databases do not."""
    if not is_storable(text):
        raise ValueError("contains a character that cannot be stored")
    return text


StorableText = Annotated[str, AfterValidator(_storable)]
ShortText = Annotated[StorableText, Field(max_length=1000)]
# Fewer than in a body, since the length of an address is limited.
QueryGroups = Annotated[list[ShortText] | None, Query(max_length=50)]


class Body(BaseModel):
    """A body that refuses unknown fields, as silently ignoring them would hide mistakes.

    A value of another type is refused as well, such as a number in quotes.

    Attributes:
        ignored: names of the fields that clients may send, and that change nothing here.
    """

    ignored: ClassVar[frozenset[str]] = frozenset()
    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _normalize(cls, values: Any) -> Any:
        """Drop fields that are null, which means the same as leaving them out, and read 5.0 as 5.

        JSON has one type of numbers, and some languages write all of them with a point.
        """
        if not isinstance(values, dict):
            return values
        return {
            name: int(value) if isinstance(value, float) and value.is_integer() else value
            for name, value in values.items()
            if value is not None
        }


class HintedBody(Body):
    """Fields that OpenAI's clients send, and that change nothing here."""

    ignored = frozenset(
        {
            "metadata",
            "store",
            "user",
            "safety_identifier",
            "service_tier",
            "prompt_cache_key",
            "prompt_cache_retention",
            "prompt_cache_options",
        }
    )
    metadata: Annotated[dict[ShortText, ShortText], Field(max_length=64)] | None = None
    store: bool | None = None
    user: StorableText | None = None
    safety_identifier: ShortText | None = None
    service_tier: ShortText | None = None
    prompt_cache_key: ShortText | None = None
    prompt_cache_retention: ShortText | None = None
    prompt_cache_options: dict[str, Any] | None = None


class RefusalPart(Body):
    """A part of an assistant's message, in which it refuses."""

    type: Literal["refusal"]
    refusal: StorableText

    @property
    def text(self) -> str:
        """The refusal, which the model reads as what it has said."""
        return self.refusal


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether tools are to be called, and which.

    Attributes:
        mode: "none", "auto" or "required".
        names: names of the tools that may be called; () for all.
        several: whether there may be several calls.
    """

    mode: str
    names: tuple[str, ...] = ()
    several: bool = True

    def apply(self, tools: Sequence[Tool]) -> tuple[tuple[Tool, ...], tuple[str, ...]]:
        """The tools that a model is offered, and the names of those of which one must be called.

        Raises:
            InputError: there is no tool of such a name, or none at all, or two have one name.
        """
        if self.mode == "none":
            return (), ()
        known = [each.name for each in tools]
        if repeated := [name for name, count in Counter(known).items() if count > 1]:
            raise InputError(
                f"two tools are called '{repeated[0]}'", where="tools", fix="Rename one of them."
            )
        if unknown := [each for each in self.names if each not in known]:
            raise InputError(
                f"there is no tool '{unknown[0]}'", where="tool_choice", fix="Add it to 'tools'."
            )
        if self.mode == "required" and not tools:
            raise InputError(
                "there is no tool to call", where="tool_choice", fix="Add it to 'tools'."
            )
        names = self.names or known
        offered = tools if self.mode == "required" else [t for t in tools if t.name in names]
        return tuple(offered), tuple(names) if self.mode == "required" else ()


class Function(Body):
    """A tool that the model may call."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: StorableText = ""
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})
    strict: bool | None = None

    @field_validator("parameters")
    @classmethod
    def _check_parameters(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        """Refuse a schema of anything but an object, since arguments have names."""
        if parameters.get("type", "object") != "object":
            raise ValueError("must be the schema of an object")
        return parameters

    def to_tool(self) -> Tool:
        """The function as a tool for the chat template."""
        return Tool(self.name, self.description, self.parameters, bool(self.strict))


def make_constraint(
    kind: str, schema: dict[str, Any] | None, where: str, *, strict: bool
) -> OutputConstraint | None:
    """Constraint on an answer that is to be any JSON object or one of a schema; None for text.

    Args:
        kind: "text", "json_object" or "json_schema".
        strict: whether objects have no other properties than the schema names.
        where: field of the request that should have the schema, for the error.

    Raises:
        InputError: the schema is missing.
    """
    if kind == "text":
        return None
    if kind == "json_object":
        return OutputConstraint(schema='{"type": "object"}')
    if schema is None:
        raise InputError("the schema is missing", where=where, fix="Give one, or json_object.")
    return OutputConstraint(
        schema=json.dumps(followable_schema(schema, strict=strict)), where=where
    )


class StreamOptions(Body):
    """Options of a stream."""

    ignored = frozenset({"include_obfuscation"})
    include_usage: bool = False
    include_obfuscation: bool = False
