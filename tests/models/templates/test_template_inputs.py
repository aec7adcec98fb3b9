"""Tools and calls in a prompt: as the template writes them, or in words where it cannot."""

from __future__ import annotations

from typing import Any

import pytest

from moli.models.templates.chat_template import (
    DEFAULT_CHAT_TEMPLATE,
    prompt_ids,
    render_for_training,
    render_prompt,
)
from moli.models.templates.tool_call_formats import (
    HERMES,
    LLAMA,
    MISTRAL,
    ToolCallFormat,
    detect_format,
)
from moli.models.templates.tool_call_formats import QWEN as ELEMENTS
from moli.models.templates.tool_call_parser import ToolCallParser, join_tool_calls
from moli.models.tokenizers import load_tokenizer
from moli.records.errors import InputError
from moli.records.messages import Message, Tool, ToolCall

# Much shorter than those of the models, and of their build.
QWEN = """\
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n' }}{% endif %}
    {{- 'Tools:' }}
    {%- for tool in tools %}{{- '\\n' }}{{- tool | tojson }}{% endfor %}
    {{- '\\nWrite <tool_call> and </tool_call> around a call.<|im_end|>\\n' }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'tool' %}
        {{- '<|im_start|>user\\n<tool_response>\\n' + message.content + '\\n</tool_response>' }}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role != 'system' %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content }}
        {%- for call in message.tool_calls or [] %}
            {%- if message.content or not loop.first %}{{- '\\n' }}{% endif %}
            {{- '<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
            {{- call.function.arguments | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{% endif %}
"""

# As Qwen's, with calls as elements: texts as they are, all else as JSON.
QWEN35 = (
    QWEN.replace(
        """{{- '<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}""",
        """{{- '<tool_call>\\n<function=' + call.function.name + '>\\n' }}""",
    )
    .replace(
        """{{- call.function.arguments | tojson }}""",
        """{%- for name, value in call.function.arguments | items %}
                {{- '<parameter=' + name + '>\\n' }}
                {{- (value if value is string else value | tojson) + '\\n</parameter>\\n' }}
            {%- endfor %}""",
    )
    .replace("""{{- '}\\n</tool_call>' }}""", """{{- '</function>\\n</tool_call>' }}""")
)

LLAMA3 = """\
{%- for message in messages %}
    {%- if message.tool_calls is defined %}
        {%- if message.tool_calls[1:] %}{{ raise_exception('one call a turn') }}{% endif %}
        {%- set call = message.tool_calls[0].function %}
        {{- '<|start|>assistant<|end|>{"name": "' + call.name + '", "parameters": ' }}
        {{- call.arguments | tojson }}
        {{- '}<|im_end|>' }}
    {%- else %}
        {{- '<|start|>' + ('ipython' if message.role == 'tool' else message.role) + '<|end|>' }}
        {%- if tools is not none and loop.first %}
            {%- for tool in tools %}{{- tool | tojson }}{{- '\\n' }}{% endfor %}
        {%- endif %}
        {{- message.content + '<|im_end|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start|>assistant<|end|>' }}{% endif %}
"""

MISTRAL3 = """\
{%- for message in messages %}
    {%- if message['role'] == 'user' %}
        {%- if tools is not none and loop.first %}
            {{- '[AVAILABLE_TOOLS] ' }}{{- tools | tojson }}{{- '[/AVAILABLE_TOOLS]' }}
        {%- endif %}
        {{- '[INST] ' + message['content'] + '[/INST]' }}
    {%- elif message['tool_calls'] is defined %}
        {{- '[TOOL_CALLS] [' }}
        {%- for call in message['tool_calls'] %}
            {%- if call.id | length != 9 %}{{ raise_exception('ids have 9 letters') }}{% endif %}
            {{- call.function | tojson }}
            {{- ', ' if not loop.last else ']' + eos_token }}
        {%- endfor %}
    {%- elif message['role'] == 'tool' %}
        {%- if message['tool_call_id'] | length != 9 %}{{ raise_exception('9 letters') }}{% endif %}
        {{- '[TOOL_RESULTS] ' + message['name'] + ': ' + message['content'] + '[/TOOL_RESULTS]' }}
    {%- else %}
        {{- ' ' + message['content'] + eos_token }}
    {%- endif %}
{%- endfor %}
"""

# Takes turns of the user and the assistant, and nothing else.
TURNS = (
    "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
    "<{{ m.role }}>{{ m.content }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)

LOOK = Tool(
    "look",
    "Look up the weather.",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
SCHEMA = '{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}'
LISTED = (
    '{"type": "function", "function": {"name": "look", "description": "Look up the weather.", '
    f'"parameters": {SCHEMA}}}}}'
)
CALL = ToolCall("call_0123456789abcdef01234567", "look", '{"city": "Århus"}')
TALK = (
    Message("user", "Rain?"),
    Message("assistant", "", (CALL,)),
    Message("tool", "dry", call_id=CALL.id),
)
TOLD = f"""You may call these tools:

- look: Look up the weather.
  Arguments, as a JSON schema: {SCHEMA}

To call one, write its name and its arguments as JSON, so:
<tool_call>
{{"name": ..., "arguments": {{...}}}}
</tool_call>
You are then told what it gave."""


def tokenizer(template: str) -> Any:
    made = load_tokenizer("builtin:starter")
    made.chat_template = template
    assert made.eos_token == "<|im_end|>"
    return made


def test_a_template_of_qwens_build() -> None:
    wanted = (
        "<|im_start|>system\nBe brief.\nTools:\n"
        f"{LISTED}\nWrite <tool_call> and </tool_call> around a call.<|im_end|>\n"
        "<|im_start|>user\nRain?<|im_end|>\n"
        '<|im_start|>assistant\n<tool_call>\n{"name": "look", "arguments": {"city": "Århus"}}\n'
        "</tool_call><|im_end|>\n"
        "<|im_start|>user\n<tool_response>\ndry\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert render_prompt(tokenizer(QWEN), [Message("system", "Be brief."), *TALK], [LOOK]) == wanted


def test_a_template_of_llamas_build() -> None:
    wanted = (
        f"<|start|>user<|end|>{LISTED}\nRain?<|im_end|>"
        '<|start|>assistant<|end|>{"name": "look", "parameters": {"city": "Århus"}}<|im_end|>'
        "<|start|>ipython<|end|>dry<|im_end|><|start|>assistant<|end|>"
    )
    assert render_prompt(tokenizer(LLAMA3), TALK, [LOOK]) == wanted
    twice = (TALK[0], Message("assistant", "", (CALL, CALL)))
    with pytest.raises(InputError, match="one call a turn"):
        render_prompt(tokenizer(LLAMA3), twice, [LOOK])


def test_a_template_of_mistrals_build() -> None:
    wanted = (
        f"[AVAILABLE_TOOLS] [{LISTED}][/AVAILABLE_TOOLS][INST] Rain?[/INST]"
        '[TOOL_CALLS] [{"name": "look", "arguments": {"city": "Århus"}}]<|im_end|>'
        "[TOOL_RESULTS] look: dry[/TOOL_RESULTS]"
    )
    assert render_prompt(tokenizer(MISTRAL3), TALK, [LOOK]) == wanted


def test_ids_that_mistrals_templates_take_are_kept() -> None:
    shown = MISTRAL3.replace("call.function | tojson", "call.id")
    made = tokenizer(shown.replace("message['name']", "message['tool_call_id']"))
    known = (Message("assistant", "", (ToolCall("Abc123xyz", "look", "{}"),)),)
    assert "[TOOL_CALLS] [Abc123xyz]" in render_prompt(made, TALK[:1] + known)
    called, answered = render_prompt(made, TALK).split("<|im_end|>[TOOL_RESULTS] ")
    assert called[-10:-1] == answered.split(":")[0]


def test_a_template_that_knows_no_tools_is_told_in_words() -> None:
    call = '<tool_call>\n{"name": "look", "arguments": {"city": "Århus"}}\n</tool_call>'
    after = (
        f"<user>Rain?<|im_end|><assistant>{call}<|im_end|>"
        "<user>Dry.<|im_end|><assistant>Wait.\n"
        f"{call}\n{call}<|im_end|><assistant>"
    )
    talk = (*TALK[:2], Message("user", "Dry."), Message("assistant", "Wait.", (CALL, CALL)))
    made = tokenizer(TURNS)
    assert render_prompt(made, talk) == after
    assert render_prompt(made, talk, [LOOK]) == f"<system>{TOLD}<|im_end|>{after}"
    system = Message("system", "Be brief.")
    assert (
        render_prompt(made, [system, *talk], [LOOK])
        == f"<system>Be brief.\n\n{TOLD}<|im_end|>{after}"
    )
    bare = Message("assistant", "", (ToolCall("1", "now", ""),))
    assert '{"name": "now", "arguments": {}}' in render_prompt(made, [TALK[0], bare])
    assert "\n- now\n  Arguments" in render_prompt(made, TALK[:1], [Tool("now")])
    with pytest.raises(InputError, match="refuses the conversation"):
        render_prompt(made, TALK, [LOOK])
    asked = render_prompt(tokenizer(DEFAULT_CHAT_TEMPLATE), TALK, [LOOK])
    assert asked == (
        f"System: {TOLD}\nUser: Rain?\nAssistant: {call}<|im_end|>\nTool: dry\nAssistant:"
    )


@pytest.mark.parametrize("template", [QWEN, DEFAULT_CHAT_TEMPLATE])
@pytest.mark.parametrize("arguments", ["[]", "Oslo", '{"城市": "', '{"a": ' * 100_000])
def test_arguments_that_are_none_stay_as_the_model_wrote_them(
    template: str, arguments: str
) -> None:
    wrong = Message("assistant", "So.", (ToolCall("1", "look", arguments),))
    told = Message("tool", "These are no arguments.", call_id="1")
    prompt = render_prompt(tokenizer(template), [TALK[0], wrong, told])
    written = f'So.\n<tool_call>\n{{"name": "look", "arguments": {arguments}}}\n</tool_call>'
    assert written in prompt and told.content in prompt


@pytest.mark.parametrize(
    ("template", "call_format"),
    [
        (QWEN, HERMES),
        (QWEN35, ELEMENTS),
        (LLAMA3, LLAMA),
        (MISTRAL3, MISTRAL),
        (TURNS, HERMES),
        (DEFAULT_CHAT_TEMPLATE, HERMES),
    ],
)
def test_what_is_learnt_is_what_is_asked_for_and_read(
    template: str, call_format: ToolCallFormat
) -> None:
    made = tokenizer(template)
    [rendered] = render_for_training(made, TALK[:2], [LOOK])
    [(start, end)] = rendered.answer_spans
    asked = render_prompt(made, TALK[:1], [LOOK])
    assert rendered.text[:start] == asked and rendered.ends_with_eos
    assert made.decode(prompt_ids(made, TALK[:1], [LOOK])) == asked
    assert detect_format(template) is call_format
    answer = rendered.text[start:end].removesuffix(made.eos_token)
    calls = ToolCallParser(call_format, [LOOK])
    [call] = join_tool_calls(calls.feed(answer) + calls.close())
    assert (call.name, call.arguments) == (CALL.name, CALL.arguments)


def test_turns_after_a_call_are_learnt_too() -> None:
    made = tokenizer(QWEN)
    [rendered] = render_for_training(made, [*TALK, Message("assistant", "No.")], [LOOK])
    called, said = (rendered.text[start:end] for start, end in rendered.answer_spans)
    assert called.startswith("<tool_call>\n") and said == "No.<|im_end|>"
    assert rendered.text[: rendered.answer_spans[1][0]] == render_prompt(made, TALK, [LOOK])
