"""Bodies of OpenAI's chat completions and completions.

The shapes follow the public API reference; fields that are not supported are refused, not ignored.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from moli.records.errors import InputError
from moli.records.generation import OutputConstraint, Sampling
from moli.records.messages import Message, ToolCall
from moli.serving.bodies import (
    Body,
    Function,
    HintedBody,
    RefusalPart,
    ShortText,
    StorableText,
    StreamOptions,
    ToolChoice,
    make_constraint,
)
from moli.serving.generation import GenerationRequest

TokenId = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
Bias = Annotated[float, Field(ge=-100, le=100)]


class TextPart(Body):
    """A part of a message."""

    type: Literal["text"]
    text: StorableText


class CalledFunction(Body):
    """The function that a call names, and its arguments."""

    name: StorableText
    arguments: StorableText
    parsed_arguments: Any = None  # which OpenAI's clients add


class Call(Body):
    """A call that the assistant made."""

    id: StorableText
    type: Literal["function"] = "function"
    function: CalledFunction
    index: int | None = None  # which clients keep from a stream


class ChatMessage(Body):
    """A turn of a conversation."""

    ignored = frozenset({"name", "annotations"})
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[
        StorableText | list[TextPart | RefusalPart] | None, Field(validate_default=True)
    ] = None
    name: StorableText | None = None
    refusal: StorableText | None = None
    annotations: list[Any] | None = None
    parsed: Any = None  # which OpenAI's clients add
    reasoning_content: StorableText | None = None  # which models here do not read
    tool_calls: Annotated[list[Call], Field(max_length=128)] | None = None
    tool_call_id: StorableText | None = None

    @field_validator("content")
    @classmethod
    def _check_content(cls, content: Any, info: ValidationInfo) -> Any:
        """Refuse a message without content, unless it may be all calls."""
        if content is None and info.data.get("role") not in (None, "assistant"):
            raise PydanticCustomError("missing", "is missing")
        return content

    @field_validator("tool_calls")
    @classmethod
    def _check_calls(cls, calls: list[Call] | None, info: ValidationInfo) -> list[Call] | None:
        """Refuse calls that the assistant did not make."""
        if calls and info.data.get("role") != "assistant":
            raise ValueError("are for messages of the assistant")
        return calls

    def to_message(self) -> Message:
        """The message with its text in one piece; a developer's role becomes the system's."""
        parts = self.content if isinstance(self.content, list) else []
        text = "".join(each.text for each in parts) if parts else str(self.content or "")
        text = text or self.refusal or ""
        calls = tuple(
            ToolCall(call.id, call.function.name, call.function.arguments)
            for call in self.tool_calls or []
        )
        role = "system" if self.role == "developer" else self.role
        return Message(role, text, calls, self.tool_call_id or "")


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

    def to_choice(self) -> ToolChoice:
        """The choice of one tool."""
        return ToolChoice("required", (self.function.name,), several=False)


class AllowedTools(Body):
    """Tools of which some or none may, or one must, be called."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[ChatToolChoice], Field(min_length=1, max_length=128)]


class ChatAllowedTools(Body):
    """A choice among some of the tools."""

    model_config = ConfigDict(title="AllowedToolsChoice")

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools

    def to_choice(self) -> ToolChoice:
        """The choice among the tools that it names."""
        names = tuple(each.function.name for each in self.allowed_tools.tools)
        return ToolChoice(self.allowed_tools.mode, names)


class JsonSchema(Body):
    """A schema with a name."""

    ignored = frozenset({"name", "description"})
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
        form = self.json_schema
        schema, strict = (form.schema_, bool(form.strict)) if form else (None, False)
        return make_constraint(
            self.type, schema, "response_format.json_schema.schema", strict=strict
        )


# Fields of a request that are not sampling options: stored elsewhere in an exchange, or not at all.
_NOT_OPTIONS = {"model", "messages", "prompt", "tools", "stream", "stream_options", "user"}


class CompletionBody(HintedBody):
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
    logit_bias: Annotated[dict[TokenId, Bias], Field(max_length=1024)] | None = None
    # Beyond OpenAI's, for `extra_body`.
    top_k: Annotated[int, Field(ge=0, le=1 << 20)] = 0
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] = 1.0
    regex: StorableText | None = None

    def to_sampling(
        self,
        logprobs: int | None,
        constraint: OutputConstraint | None = None,
        *,
        prompt_logprobs: bool = False,
    ) -> Sampling:
        """Sampling by this request, with `regex` or another constraint."""
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
            logit_bias=tuple((int(token), bias) for token, bias in (self.logit_bias or {}).items()),
            logprobs=logprobs,
            prompt_logprobs=prompt_logprobs,
            constraint=constraint or self._regex_constraint(),
        )

    def _regex_constraint(self) -> OutputConstraint | None:
        """The constraint of the field `regex`; None without one."""
        return OutputConstraint(regex=self.regex, where="regex") if self.regex else None

    def options(self) -> dict[str, Any]:
        """The sampling options that the request sets, by the names of its fields."""
        return self.model_dump(mode="json", by_alias=True, exclude=_NOT_OPTIONS, exclude_unset=True)

    @property
    def streams_usage(self) -> bool:
        """Whether a stream ends with the numbers of tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)


class ChatRequest(CompletionBody):
    """A conversation to answer."""

    ignored = HintedBody.ignored | {"reasoning_effort", "verbosity", "prediction", "modalities"}
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=4096)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[ChatTool], Field(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | ChatToolChoice | ChatAllowedTools = "auto"
    parallel_tool_calls: bool = True
    # Without effect here.
    reasoning_effort: ShortText | None = None
    verbosity: ShortText | None = None
    prediction: dict[str, Any] | None = None
    modalities: list[Literal["text"]] | None = None

    def to_generation_request(self) -> GenerationRequest:
        """The request to the language model.

        Raises:
            InputError: the schema of an answer is missing, or a tool that is to be called, or
                fields contradict each other.
        """
        if self.top_logprobs and not self.logprobs:
            raise InputError(
                "has no effect without logprobs", where="top_logprobs", fix="Set logprobs to true."
            )
        tools = tuple(each.function.to_tool() for each in self.tools or [])
        choice = self.tool_choice
        chosen = ToolChoice(choice) if isinstance(choice, str) else choice.to_choice()
        offered, required = chosen.apply(tools)
        constraint = None
        if self.response_format and not required:
            constraint = self.response_format.to_constraint()
        if self.regex and (constraint or required):
            raise InputError(
                "the answer has to follow another format already",
                where="regex",
                fix="Leave out one of them.",
            )
        logprobs = (self.top_logprobs or 0) if self.logprobs else None
        return GenerationRequest(
            model=self.model,
            sampling=self.to_sampling(logprobs, constraint),
            max_tokens=self.max_completion_tokens or self.max_tokens,
            messages=tuple(each.to_message() for each in self.messages),
            n=self.n,
            tools=offered,
            required_tools=required,
            parallel_tool_calls=self.parallel_tool_calls and chosen.several,
            options=self.options(),
        )


Texts = Annotated[list[StorableText], Field(min_length=1, max_length=64)]
TokenIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
TokenIdLists = Annotated[list[TokenIds], Field(min_length=1, max_length=64)]


class CompletionRequest(CompletionBody):
    """A text to continue."""

    prompt: StorableText | Texts | TokenIds | TokenIdLists
    max_tokens: Annotated[int, Field(ge=0)] = 16
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool = False
    best_of: Literal[1] | None = None

    def to_generation_request(self) -> GenerationRequest:
        """The request to the language model."""
        prompt = self.prompt
        is_single = isinstance(prompt, str) or isinstance(prompt[0], int)
        texts: list[Any] = [prompt] if is_single else list(prompt)
        prompt_logprobs = self.echo and self.logprobs is not None
        return GenerationRequest(
            model=self.model,
            sampling=self.to_sampling(self.logprobs, prompt_logprobs=prompt_logprobs),
            max_tokens=self.max_tokens,
            texts=tuple(each if isinstance(each, str) else tuple(each) for each in texts),
            n=self.n,
            prompt_field="prompt",
            options=self.options(),
            kind="text",
            echo=self.echo,
        )
