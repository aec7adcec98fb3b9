"""Bodies of OpenAI's Responses API, and conversions between its items and messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

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

# Fields of a request that are not sampling options: stored elsewhere in an exchange, or not at all.
_NOT_OPTIONS = {
    "model", "input", "tools", "stream", "stream_options", "include", "previous_response_id",
}  # fmt: skip
# What a client may ask to be included; only the log probabilities exist here.
Includable = Literal[
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "web_search_call.action.sources",
    "web_search_call.results",
]


class ContentPart(Body):
    """A part of a message."""

    ignored = frozenset({"annotations", "logprobs"})
    model_config = ConfigDict(title="Part")

    type: Literal["input_text", "output_text"]
    text: StorableText
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


Content = StorableText | list[ContentPart | RefusalPart]


class MessageItem(Body):
    """A turn of a conversation."""

    ignored = frozenset({"id", "status", "phase"})
    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: Content
    id: StorableText | None = None
    status: StorableText | None = None
    phase: StorableText | None = None


class CallItem(Body):
    """A call that the assistant made."""

    ignored = frozenset({"id", "status"})
    type: Literal["function_call"]
    call_id: StorableText
    name: StorableText
    arguments: StorableText
    id: StorableText | None = None
    status: StorableText | None = None


class ResultItem(Body):
    """The result of a call."""

    ignored = frozenset({"id", "status"})
    type: Literal["function_call_output"]
    call_id: StorableText
    output: Content
    id: StorableText | None = None
    status: StorableText | None = None


class ReasoningItem(Body):
    """Thoughts of another model, which this one does not read."""

    ignored = frozenset({"id", "summary", "content", "encrypted_content", "status"})
    type: Literal["reasoning"]
    id: StorableText | None = None
    summary: list[Any] | None = None
    content: list[Any] | None = None
    encrypted_content: StorableText | None = None
    status: StorableText | None = None


class ItemReference(Body):
    """An item of an earlier response, by its id."""

    type: Literal["item_reference"] = "item_reference"
    id: ShortText


Item = MessageItem | CallItem | ResultItem | ReasoningItem


class ResponseTool(Function):
    """A tool that the model may call."""

    model_config = ConfigDict(title="FunctionTool")

    type: Literal["function"]


class ResponseToolChoice(Body):
    """The tool that has to be called."""

    model_config = ConfigDict(title="NamedTool")

    type: Literal["function"]
    name: StorableText

    def to_choice(self) -> ToolChoice:
        """The choice of one tool."""
        return ToolChoice("required", (self.name,), several=False)


class ResponseAllowedTools(Body):
    """A choice among some of the tools."""

    model_config = ConfigDict(title="AllowedToolsChoice")

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[ResponseToolChoice], Field(min_length=1, max_length=128)]

    def to_choice(self) -> ToolChoice:
        """The choice among the tools that it names."""
        return ToolChoice(self.mode, tuple(each.name for each in self.tools))


class TextFormat(Body):
    """Format of an answer."""

    ignored = frozenset({"name", "description"})
    model_config = ConfigDict(title="Format")

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: StorableText | None = None
    description: StorableText | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None

    def to_constraint(self) -> OutputConstraint | None:
        """The format as a constraint on generation; None for free text.

        Raises:
            InputError: the schema is missing.
        """
        strict = bool(self.strict)
        return make_constraint(self.type, self.schema_, "text.format.schema", strict=strict)


class Reasoning(Body):
    """Settings for thoughts, which models here do not keep apart."""

    effort: ShortText | None = None
    summary: ShortText | None = None
    generate_summary: ShortText | None = None


class TextOptions(Body):
    """Options for the text of an answer."""

    ignored = frozenset({"verbosity"})
    format: TextFormat = Field(default_factory=TextFormat)
    verbosity: ShortText | None = None  # without effect here


_LOGPROBS = "message.output_text.logprobs"


class ResponseRequest(HintedBody):
    """Something to respond to."""

    ignored = HintedBody.ignored - {"metadata", "store"} | {
        "stream_options",
        "reasoning",
        "max_tool_calls",
    }
    model: StorableText = ""
    input: (
        StorableText | Annotated[list[Item | ItemReference], Field(min_length=1, max_length=4096)]
    )
    instructions: StorableText | None = None
    previous_response_id: Annotated[StorableText, Field(max_length=64)] | None = None
    include: Annotated[list[Includable], Field(max_length=20)] | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    text: TextOptions = Field(default_factory=TextOptions)
    tools: Annotated[list[ResponseTool], Field(max_length=128)] = Field(default_factory=list)
    tool_choice: Literal["none", "auto", "required"] | ResponseToolChoice | ResponseAllowedTools = (
        "auto"
    )
    parallel_tool_calls: bool = True
    stream: bool = False
    background: Literal[False] | None = None
    truncation: Literal["disabled"] | None = None
    # Without effect here.
    stream_options: StreamOptions | None = None
    reasoning: Reasoning | None = None
    max_tool_calls: Annotated[int, Field(ge=1)] | None = None  # of tools that a server runs

    def to_generation_request(
        self, items: str | Sequence[Item], history: Sequence[Message], previous: str
    ) -> GenerationRequest:
        """The request to the language model.

        Args:
            items: the input, with no references in it.
            history: messages of the exchange that this request continues, with its answer.
            previous: id of that exchange; "" if there is none.

        Raises:
            InputError: the input has no message, the schema of an answer is missing, or a tool
                that is to be called.
        """
        tools = tuple(each.to_tool() for each in self.tools)
        choice = self.tool_choice
        chosen = ToolChoice(choice) if isinstance(choice, str) else choice.to_choice()
        offered, required = chosen.apply(tools)
        instructions = [Message("system", self.instructions)] if self.instructions else []
        messages = (*instructions, *history, *items_to_messages(items))
        if not messages:
            raise InputError("the input has no message", where="input", fix="Say something.")
        return GenerationRequest(
            model=self.model,
            sampling=Sampling(
                temperature=1.0 if self.temperature is None else self.temperature,
                top_p=1.0 if self.top_p is None else self.top_p,
                presence_penalty=self.presence_penalty or 0.0,
                frequency_penalty=self.frequency_penalty or 0.0,
                logprobs=(self.top_logprobs or 0) if _LOGPROBS in (self.include or ()) else None,
                constraint=None if required else self.text.format.to_constraint(),
            ),
            max_tokens=self.max_output_tokens,
            messages=messages,
            tools=offered,
            required_tools=required,
            parallel_tool_calls=self.parallel_tool_calls and chosen.several,
            prompt_field="input",
            options=self._options(),
            kind="response",
            previous=previous,
        )

    def _options(self) -> dict[str, Any]:
        """The sampling options that the request sets, by the names of its fields."""
        return self.model_dump(mode="json", by_alias=True, exclude=_NOT_OPTIONS, exclude_unset=True)


def items_to_messages(items: str | Sequence[Item]) -> list[Message]:
    """Messages of an input; successive calls, and the text before them, become one message."""
    if isinstance(items, str):
        return [Message("user", items)]
    messages: list[Message] = []
    for item in items:
        if isinstance(item, MessageItem):
            role = "system" if item.role == "developer" else item.role
            messages.append(Message(role, _join_parts(item.content)))
        elif isinstance(item, ResultItem):
            messages.append(Message("tool", _join_parts(item.output), call_id=item.call_id))
        elif isinstance(item, CallItem):
            call = ToolCall(item.call_id, item.name, item.arguments)
            last = messages.pop() if messages and messages[-1].role == "assistant" else None
            text, calls = (last.content, last.calls) if last else ("", ())
            messages.append(Message("assistant", text, (*calls, call)))
    return messages


def _join_parts(content: str | Sequence[ContentPart | RefusalPart]) -> str:
    """The whole text of a content, which is a text or a list of parts."""
    return content if isinstance(content, str) else "".join(each.text for each in content)
