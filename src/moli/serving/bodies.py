"""Bodies of requests: the types they share, and the bodies of OpenAI's completions.

The shapes follow the public API reference; fields that are not supported are refused, not ignored.
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
from moli.serving.generation import GenerationRequest


def _storable(text: str) -> str:
    """Refuse half of a surrogate pair and a null character: JSON has them, databases do not."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("contains a character that cannot be stored")
    return text


StorableText = Annotated[str, AfterValidator(_storable)]
ShortText = Annotated[StorableText, Field(max_length=1000)]
# Fewer than in a body, since the length of an address is limited.
QueryGroups = Annotated[list[ShortText] | None, Query(max_length=50)]


class Body(BaseModel):
    """A body that refuses unknown fields, as silently ignoring them would hide mistakes."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, values: Any) -> Any:
        """Drop fields that are null, which means the same as leaving them out."""
        if not isinstance(values, dict):
            return values
        return {name: value for name, value in values.items() if value is not None}


class TextPart(Body):
    """A part of a message."""

    type: Literal["text"]
    text: StorableText


class CalledFunction(Body):
    """The function that a call names, and its arguments."""

    name: StorableText
    arguments: StorableText


class Call(Body):
    """A call that the assistant made."""

    id: StorableText
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(Body):
    """A turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: StorableText | list[TextPart] | None = None
    name: StorableText | None = None
    refusal: StorableText | None = None
    tool_calls: Annotated[list[Call], Field(max_length=128)] | None = None
    tool_call_id: StorableText | None = None

    def to_message(self) -> Message:
        """The message with its text in one piece; a developer's role becomes the system's."""
        parts = self.content if isinstance(self.content, list) else []
        text = "".join(each.text for each in parts) if parts else str(self.content or "")
        calls = tuple(
            ToolCall(call.id, call.function.name, call.function.arguments)
            for call in self.tool_calls or []
        )
        role = "system" if self.role == "developer" else self.role
        return Message(role, text, calls, self.tool_call_id or "")


class Function(Body):
    """A tool that the model may call."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: StorableText = ""
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})
    strict: bool | None = None

    def to_tool(self) -> Tool:
        """The function as a tool for the chat template."""
        return Tool(self.name, self.description, self.parameters)


class ChatTool(Body):
    """A tool: a function."""

    model_config = ConfigDict(title="FunctionTool")

    type: Literal["function"]
    function: Function


class NamedFunction(Body):
    """A tool by its name."""

    name: StorableText


class ChatToolChoice(Body):
    """The tool that has to be called."""

    model_config = ConfigDict(title="NamedTool")

    type: Literal["function"]
    function: NamedFunction


class JsonSchema(Body):
    """A schema with a name."""

    name: StorableText = "answer"
    description: StorableText | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(Body):
    """Format of an answer."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    def to_constraint(self) -> OutputConstraint | None:
        """The format as a constraint on generation; None for free text.

        Raises:
            InputError: the schema is missing.
        """
        schema = self.json_schema.schema_ if self.json_schema else None
        return make_constraint(self.type, schema, "response_format.json_schema")


def make_constraint(
    kind: str, schema: dict[str, Any] | None, where: str
) -> OutputConstraint | None:
    """Constraint on an answer that is to be any JSON object or one of a schema; None for text.

    Args:
        kind: "text", "json_object" or "json_schema".
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
    return OutputConstraint(schema=json.dumps(schema))


class StreamOptions(Body):
    """Options of a stream."""

    include_usage: bool = False
    include_obfuscation: bool = False


# Fields of a request that are not sampling options: stored elsewhere in an exchange, or not at all.
_NOT_OPTIONS = {"model", "messages", "prompt", "tools", "stream", "stream_options", "user"}


class CompletionBody(Body):
    """Fields that chat completions and completions share."""

    model: StorableText = ""
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    n: Annotated[int, Field(ge=1, le=16)] = 1
    stop: StorableText | Annotated[list[StorableText], Field(max_length=8)] | None = None
    seed: Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    stream: bool = False
    stream_options: StreamOptions | None = None
    user: StorableText | None = None
    # Beyond OpenAI's, for `extra_body`.
    top_k: Annotated[int, Field(ge=0, le=1 << 20)] = 0
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] = 1.0
    regex: StorableText | None = None

    def to_sampling(
        self, logprobs: int | None, constraint: OutputConstraint | None = None
    ) -> Sampling:
        """Sampling by this request; `regex` counts unless there is another constraint."""
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
            constraint=constraint or (OutputConstraint(regex=self.regex) if self.regex else None),
        )

    def options(self) -> dict[str, Any]:
        """The sampling options that the request sets, by the names of its fields."""
        return self.model_dump(mode="json", by_alias=True, exclude=_NOT_OPTIONS, exclude_unset=True)

    @property
    def streams_usage(self) -> bool:
        """Whether a stream ends with the numbers of tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)


class ChatRequest(CompletionBody):
    """A conversation to answer."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=4096)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[ChatTool], Field(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | ChatToolChoice = "auto"
    parallel_tool_calls: bool = True
    # Without effect here.
    metadata: dict[str, StorableText] | None = None
    store: bool | None = None

    def to_generation_request(self) -> GenerationRequest:
        """The request to the language model.

        Raises:
            InputError: the schema of an answer is missing, or a tool that is to be called.
        """
        tools = tuple(each.function.to_tool() for each in self.tools or [])
        choice = self.tool_choice
        name = choice.function.name if isinstance(choice, ChatToolChoice) else choice
        required = required_tools(tools, name)
        constraint = None
        if self.response_format and not required:
            constraint = self.response_format.to_constraint()
        check_can_constrain(constraint, tools, choice)
        logprobs = (self.top_logprobs or 0) if self.logprobs else None
        return GenerationRequest(
            model=self.model,
            sampling=self.to_sampling(logprobs, constraint),
            max_tokens=self.max_completion_tokens or self.max_tokens,
            messages=tuple(each.to_message() for each in self.messages),
            n=self.n,
            tools=() if choice == "none" else tools,
            required_tools=required,
            parallel_tool_calls=self.parallel_tool_calls,
            options=self.options(),
        )


def check_can_constrain(
    constraint: OutputConstraint | None, tools: Sequence[Tool], choice: object
) -> None:
    """Check that an answer with a constraint is not also free to call tools.

    Raises:
        InputError: it has both; the constraint holds for every token, so no tool could be called.
    """
    if constraint and tools and choice == "auto":
        raise InputError(
            "an answer with a set format cannot choose to call tools",
            where="tool_choice",
            fix="Use none or required, or leave the format out.",
        )


def required_tools(tools: Sequence[Tool], choice: str) -> tuple[str, ...]:
    """Names of the tools of which one must be called; () if the model decides.

    Args:
        choice: "none", "auto", "required", or the name of a tool.

    Raises:
        InputError: there is no tool of that name, or none at all.
    """
    if choice in ("none", "auto"):
        return ()
    names = tuple(each.name for each in tools)
    required = names if choice == "required" else tuple(n for n in names if n == choice)
    if not required:
        problem = (
            "there is no tool to call" if choice == "required" else f"there is no tool '{choice}'"
        )
        raise InputError(problem, where="tool_choice", fix="Add it to 'tools'.")
    return required


class CompletionRequest(CompletionBody):
    """A text to continue."""

    prompt: StorableText | Annotated[list[StorableText], Field(min_length=1, max_length=64)]
    max_tokens: Annotated[int, Field(ge=1)] = 16
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: Literal[False] = False
    best_of: Literal[1] | None = None

    def to_generation_request(self) -> GenerationRequest:
        """The request to the language model."""
        return GenerationRequest(
            model=self.model,
            sampling=self.to_sampling(self.logprobs),
            max_tokens=self.max_tokens,
            texts=(self.prompt,) if isinstance(self.prompt, str) else tuple(self.prompt),
            n=self.n,
            options=self.options(),
        )
