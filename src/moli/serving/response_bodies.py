"""Bodies of OpenAI's Responses API, and conversions between its items and messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from moli.records.generation import OutputConstraint, Sampling
from moli.records.messages import Message, Tool, ToolCall
from moli.serving.bodies import (
    Body,
    Function,
    StorableText,
    check_can_constrain,
    make_constraint,
    required_tools,
)
from moli.serving.generation import GenerationRequest

# Fields of a request that are not sampling options: stored elsewhere in an exchange, or not at all.
_NOT_OPTIONS = {"model", "input", "tools", "stream", "user", "previous_response_id"}


class ContentPart(Body):
    """A part of a message."""

    model_config = ConfigDict(title="Part")

    type: Literal["input_text", "output_text"]
    text: StorableText
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


class MessageItem(Body):
    """A turn of a conversation."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: StorableText | list[ContentPart]
    id: StorableText | None = None
    status: StorableText | None = None
    phase: StorableText | None = None


class CallItem(Body):
    """A call that the assistant made."""

    type: Literal["function_call"]
    call_id: StorableText
    name: StorableText
    arguments: StorableText
    id: StorableText | None = None
    status: StorableText | None = None


class ResultItem(Body):
    """The result of a call."""

    type: Literal["function_call_output"]
    call_id: StorableText
    output: StorableText | list[ContentPart]
    id: StorableText | None = None
    status: StorableText | None = None


Item = MessageItem | CallItem | ResultItem


class ResponseTool(Function):
    """A tool that the model may call."""

    model_config = ConfigDict(title="FunctionTool")

    type: Literal["function"]


class ResponseToolChoice(Body):
    """The tool that has to be called."""

    model_config = ConfigDict(title="NamedTool")

    type: Literal["function"]
    name: StorableText


class TextFormat(Body):
    """Format of an answer."""

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
        return make_constraint(self.type, self.schema_, "text.format.schema")


class TextOptions(Body):
    """Options for the text of an answer."""

    format: TextFormat = Field(default_factory=TextFormat)


class ResponseRequest(Body):
    """Something to respond to."""

    model: StorableText = ""
    input: StorableText | Annotated[list[Item], Field(min_length=1, max_length=4096)]
    instructions: StorableText | None = None
    previous_response_id: Annotated[StorableText, Field(max_length=64)] | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    text: TextOptions = Field(default_factory=TextOptions)
    tools: Annotated[list[ResponseTool], Field(max_length=128)] = Field(default_factory=list)
    tool_choice: Literal["none", "auto", "required"] | ResponseToolChoice = "auto"
    parallel_tool_calls: bool = True
    stream: bool = False
    store: bool = True
    metadata: dict[str, StorableText] | None = None
    user: StorableText | None = None
    background: Literal[False] | None = None
    truncation: Literal["disabled"] | None = None

    def to_generation_request(self, history: Sequence[Message], previous: str) -> GenerationRequest:
        """The request to the language model.

        Args:
            history: messages of the exchange that this request continues, with its answer.
            previous: id of that exchange; "" if there is none.

        Raises:
            InputError: the schema of an answer is missing, or a tool that is to be called.
        """
        tools = tuple(each.to_tool() for each in self.tools)
        choice = self.tool_choice
        name = choice.name if isinstance(choice, ResponseToolChoice) else choice
        required = required_tools(tools, name)
        constraint = None if required else self.text.format.to_constraint()
        check_can_constrain(constraint, tools, choice)
        instructions = [Message("system", self.instructions)] if self.instructions else []
        return GenerationRequest(
            model=self.model,
            sampling=Sampling(
                temperature=1.0 if self.temperature is None else self.temperature,
                top_p=1.0 if self.top_p is None else self.top_p,
                constraint=constraint,
            ),
            max_tokens=self.max_output_tokens,
            messages=(*instructions, *history, *items_to_messages(self.input)),
            tools=() if choice == "none" else tools,
            required_tools=required,
            parallel_tool_calls=self.parallel_tool_calls,
            options=self._options(),
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
        else:
            call = ToolCall(item.call_id, item.name, item.arguments)
            last = messages.pop() if messages and messages[-1].role == "assistant" else None
            text, calls = (last.content, last.calls) if last else ("", ())
            messages.append(Message("assistant", text, (*calls, call)))
    return messages


def _join_parts(content: str | Sequence[ContentPart]) -> str:
    """The whole text of a content, which is a text or a list of parts."""
    return content if isinstance(content, str) else "".join(each.text for each in content)


def messages_to_items(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as items of an input."""
    items: list[dict[str, Any]] = []
    for index, message in enumerate(messages):
        if message.role == "tool":
            result = {"call_id": message.call_id, "output": message.content}
            items.append({"type": "function_call_output", **result})
            continue
        kind = "output_text" if message.role == "assistant" else "input_text"
        if message.content or not message.calls:
            content = [{"type": kind, "text": message.content}]
            items.append({"type": "message", "role": message.role, "content": content})
        items += [
            {"type": "function_call", "call_id": c.id, "name": c.name, "arguments": c.arguments}
            for c in message.calls
        ]
        items[-1] |= {"id": f"item_{index}", "status": "completed"}
    return items


def tool_object(tool: Tool) -> dict[str, Any]:
    """A tool in the shape of a request's `tools`."""
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.parameters),
        "strict": None,
    }
