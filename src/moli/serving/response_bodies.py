"""Bodies of OpenAI's Responses, and the conversations they mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from moli.records.generation import OutputConstraint, Sampling
from moli.records.messages import Message, Tool, ToolCall
from moli.serving.asked import Wanted
from moli.serving.bodies import Body, Function, Text, check_together, form_of, must_call

# Fields of a request that an exchange keeps in fields of its own.
_ELSEWHERE = {"model", "input", "tools", "stream", "user", "previous_response_id"}


class Part(Body):
    """A part of a message."""

    type: Literal["input_text", "output_text"]
    text: Text
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


class MessageItem(Body):
    """A turn of a conversation."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: Text | list[Part]
    id: Text | None = None
    status: Text | None = None
    phase: Text | None = None


class CallItem(Body):
    """A call that the assistant made."""

    type: Literal["function_call"]
    call_id: Text
    name: Text
    arguments: Text
    id: Text | None = None
    status: Text | None = None


class ResultItem(Body):
    """The result of a call."""

    type: Literal["function_call_output"]
    call_id: Text
    output: Text | list[Part]
    id: Text | None = None
    status: Text | None = None


Item = MessageItem | CallItem | ResultItem


class FunctionTool(Function):
    """A tool that the model may call."""

    type: Literal["function"]


class NamedTool(Body):
    """The tool that has to be called."""

    type: Literal["function"]
    name: Text


class Format(Body):
    """What an answer must look like."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: Text | None = None
    description: Text | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None

    def form(self) -> OutputConstraint | None:
        """As the engine has it.

        Raises:
            InputError: the schema is missing.
        """
        return form_of(self.type, self.schema_, "text.format.schema")


class TextOptions(Body):
    """Options for the text of an answer."""

    format: Format = Field(default_factory=Format)


class ResponseRequest(Body):
    """Something to respond to."""

    model: Text = ""
    input: Text | Annotated[list[Item], Field(min_length=1, max_length=4096)]
    instructions: Text | None = None
    previous_response_id: Annotated[Text, Field(max_length=64)] | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    text: TextOptions = Field(default_factory=TextOptions)
    tools: Annotated[list[FunctionTool], Field(max_length=128)] = Field(default_factory=list)
    tool_choice: Literal["none", "auto", "required"] | NamedTool = "auto"
    parallel_tool_calls: bool = True
    stream: bool = False
    store: bool = True
    metadata: dict[str, Text] | None = None
    user: Text | None = None
    background: Literal[False] | None = None
    truncation: Literal["disabled"] | None = None

    def wanted(self, before: Sequence[Message], previous: str) -> Wanted:
        """What is asked of a model.

        Args:
            before: turns of the exchange `previous`, which this one continues.

        Raises:
            InputError: the schema of an answer is missing, or a tool that is to be called.
        """
        tools = tuple(each.record() for each in self.tools)
        named = self.tool_choice.name if isinstance(self.tool_choice, NamedTool) else ""
        must = must_call(tools, named or str(self.tool_choice))
        form = None if must else self.text.format.form()
        check_together(form, tools, str(self.tool_choice))
        instructed = [Message("system", self.instructions)] if self.instructions else []
        return Wanted(
            model=self.model,
            sampling=Sampling(
                temperature=1.0 if self.temperature is None else self.temperature,
                top_p=1.0 if self.top_p is None else self.top_p,
                constraint=form,
            ),
            most=self.max_output_tokens,
            messages=(*instructed, *before, *messages_of(self.input)),
            tools=() if self.tool_choice == "none" else tools,
            must_call=must,
            several=self.parallel_tool_calls,
            told=self.told(),
            previous=previous,
        )

    def told(self) -> dict[str, Any]:
        """What the request says about how to respond."""
        return self.model_dump(mode="json", by_alias=True, exclude=_ELSEWHERE, exclude_unset=True)


def messages_of(given: str | Sequence[Item]) -> list[Message]:
    """The turns of an input; calls that follow each other belong to one turn."""
    if isinstance(given, str):
        return [Message("user", given)]
    turns: list[Message] = []
    for item in given:
        if isinstance(item, MessageItem):
            role = "system" if item.role == "developer" else item.role
            turns.append(Message(role, _text(item.content)))
        elif isinstance(item, ResultItem):
            turns.append(Message("tool", _text(item.output), call_id=item.call_id))
        else:
            call = ToolCall(item.call_id, item.name, item.arguments)
            last = turns.pop() if turns and turns[-1].role == "assistant" else None
            said, calls = (last.content, last.calls) if last else ("", ())
            turns.append(Message("assistant", said, (*calls, call)))
    return turns


def _text(content: str | Sequence[Part]) -> str:
    return content if isinstance(content, str) else "".join(each.text for each in content)


def items_of(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Turns as items of an input."""
    items: list[dict[str, Any]] = []
    for number, each in enumerate(messages):
        if each.role == "tool":
            items.append(
                {"type": "function_call_output", "call_id": each.call_id, "output": each.content}
            )
            continue
        kind = "output_text" if each.role == "assistant" else "input_text"
        if each.content or not each.calls:
            content = [{"type": kind, "text": each.content}]
            items.append({"type": "message", "role": each.role, "content": content})
        items += [
            {"type": "function_call", "call_id": c.id, "name": c.name, "arguments": c.arguments}
            for c in each.calls
        ]
        items[-1] |= {"id": f"item_{number}", "status": "completed"}
    return items


def tool_of(tool: Tool) -> dict[str, Any]:
    """A tool as a request gives it."""
    parameters = dict(tool.parameters)
    told = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", **told, "strict": None}
