"""Bodies of requests: what they are made of, and those of OpenAI's completions.

The shapes follow the public API reference; what is not done here is refused, never ignored.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from moli.records.errors import InputError
from moli.records.generation import OutputConstraint, Sampling
from moli.records.messages import Message, Tool, ToolCall
from moli.serving.asked import Wanted


def _storable(text: str) -> str:
    # JSON can write half of a surrogate pair and a null character; a database can store neither.
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("contains a character that cannot be stored")
    return text


Text = Annotated[str, AfterValidator(_storable)]
Name = Annotated[Text, Field(max_length=1000)]
# An address has room for fewer than a body.
QueryGroups = Annotated[list[Name] | None, Query(max_length=50)]


class Body(BaseModel):
    """A body that refuses unknown fields, as silently ignoring them would hide mistakes."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: Any) -> Any:
        """Null means the same as leaving a field out, as clients expect."""
        if not isinstance(given, dict):
            return given
        return {name: value for name, value in given.items() if value is not None}


class TextPart(Body):
    """A part of a message."""

    type: Literal["text"]
    text: Text


class CalledFunction(Body):
    """The function that a call names, and its arguments."""

    name: Text
    arguments: Text


class Call(Body):
    """A call that the assistant made."""

    id: Text
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(Body):
    """A turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | list[TextPart] | None = None
    name: Text | None = None
    refusal: Text | None = None
    tool_calls: Annotated[list[Call], Field(max_length=128)] | None = None
    tool_call_id: Text | None = None

    def record(self) -> Message:
        """As the rooms below have it."""
        parts = self.content if isinstance(self.content, list) else []
        text = "".join(each.text for each in parts) if parts else str(self.content or "")
        calls = [
            ToolCall(each.id, each.function.name, each.function.arguments)
            for each in self.tool_calls or []
        ]
        role = "system" if self.role == "developer" else self.role
        return Message(role, text, tuple(calls), self.tool_call_id or "")


class Function(Body):
    """A tool that the model may call."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: Text = ""
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})
    strict: bool | None = None

    def record(self) -> Tool:
        """As the rooms below have it."""
        return Tool(self.name, self.description, self.parameters)


class FunctionTool(Body):
    """A tool: a function."""

    type: Literal["function"]
    function: Function


class NamedFunction(Body):
    """A tool by its name."""

    name: Text


class NamedTool(Body):
    """The tool that has to be called."""

    type: Literal["function"]
    function: NamedFunction


class JsonSchema(Body):
    """A schema with a name."""

    name: Text = "answer"
    description: Text | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(Body):
    """What an answer must look like."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    def form(self) -> OutputConstraint | None:
        """As the engine has it.

        Raises:
            InputError: the schema is missing.
        """
        schema = self.json_schema.schema_ if self.json_schema else None
        return form_of(self.type, schema, "response_format.json_schema")


def form_of(kind: str, schema: dict[str, Any] | None, where: str) -> OutputConstraint | None:
    """The form of an answer that is to be text, any JSON object, or one of a schema.

    Raises:
        InputError: the schema is missing.
    """
    if kind == "text":
        return None
    if kind == "json_object":
        return OutputConstraint(schema='{"type": "object"}')
    if schema is None:
        raise InputError("the schema is missing", where=where, fix="Give one, or json_object.")
    return OutputConstraint(schema=json.dumps(schema))


class StreamOptions(Body):
    """What else a stream reports."""

    include_usage: bool = False
    include_obfuscation: bool = False


# Fields of a request that an exchange keeps in fields of its own, or nobody needs again.
_ELSEWHERE = {"model", "messages", "prompt", "tools", "stream", "stream_options", "user"}


class Generation(Body):
    """What both kinds of completions have."""

    model: Text = ""
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    n: Annotated[int, Field(ge=1, le=16)] = 1
    stop: Text | Annotated[list[Text], Field(max_length=8)] | None = None
    seed: Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    stream: bool = False
    stream_options: StreamOptions | None = None
    user: Text | None = None
    # Beyond OpenAI's, for `extra_body`.
    top_k: Annotated[int, Field(ge=0, le=1 << 20)] = 0
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] = 1.0
    regex: Text | None = None

    def sampling(self, logprobs: int | None, form: OutputConstraint | None = None) -> Sampling:
        """As the engine has it."""
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return Sampling(
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            stop=tuple(stops),
            seed=None if self.seed is None else self.seed % (1 << 63),
            logprobs=logprobs,
            constraint=form or (OutputConstraint(regex=self.regex) if self.regex else None),
        )

    def told(self) -> dict[str, Any]:
        """What the request says about how to answer."""
        return self.model_dump(mode="json", by_alias=True, exclude=_ELSEWHERE, exclude_unset=True)

    @property
    def usage_streamed(self) -> bool:
        """Whether a stream ends with what was used."""
        return bool(self.stream_options and self.stream_options.include_usage)


class ChatRequest(Generation):
    """A conversation to answer."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=4096)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool = "auto"
    parallel_tool_calls: bool = True
    # Without effect here.
    metadata: dict[str, Text] | None = None
    store: bool | None = None

    def wanted(self) -> Wanted:
        """What is asked of a model.

        Raises:
            InputError: the schema of an answer is missing, or a tool that is to be called.
        """
        tools = tuple(each.function.record() for each in self.tools or [])
        named = self.tool_choice.function.name if isinstance(self.tool_choice, NamedTool) else ""
        must = must_call(tools, named or str(self.tool_choice))
        logprobs = (self.top_logprobs or 0) if self.logprobs else None
        form = self.response_format.form() if self.response_format and not must else None
        check_together(form, tools, str(self.tool_choice))
        return Wanted(
            model=self.model,
            sampling=self.sampling(logprobs, form),
            most=self.max_completion_tokens or self.max_tokens,
            messages=tuple(each.record() for each in self.messages),
            count=self.n,
            tools=() if self.tool_choice == "none" else tools,
            must_call=must,
            several=self.parallel_tool_calls,
            told=self.told(),
        )


def check_together(form: OutputConstraint | None, tools: Sequence[Tool], choice: str) -> None:
    """Check that an answer with a form is not also free to call tools.

    Raises:
        InputError: it is; a form would bind every word, so that no tool could be called.
    """
    if form and tools and choice == "auto":
        raise InputError(
            "an answer with a set format cannot choose to call tools",
            where="tool_choice",
            fix="Use none or required, or leave the format out.",
        )


def must_call(tools: Sequence[Tool], choice: str) -> tuple[str, ...]:
    """The tools of which one has to be called, by a request's choice or a tool's name.

    Raises:
        InputError: there is no tool of that name, or none at all.
    """
    if choice in ("none", "auto"):
        return ()
    names = tuple(each.name for each in tools)
    chosen = names if choice == "required" else tuple(n for n in names if n == choice)
    if not chosen:
        what = (
            "there is no tool to call" if choice == "required" else f"there is no tool '{choice}'"
        )
        raise InputError(what, where="tool_choice", fix="Add it to 'tools'.")
    return chosen


class CompletionRequest(Generation):
    """A text to continue."""

    prompt: Text | Annotated[list[Text], Field(min_length=1, max_length=64)]
    max_tokens: Annotated[int, Field(ge=1)] = 16
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: Literal[False] = False
    best_of: Literal[1] | None = None

    def wanted(self) -> Wanted:
        """What is asked of a model."""
        return Wanted(
            model=self.model,
            sampling=self.sampling(self.logprobs),
            most=self.max_tokens,
            texts=(self.prompt,) if isinstance(self.prompt, str) else tuple(self.prompt),
            count=self.n,
            told=self.told(),
        )
