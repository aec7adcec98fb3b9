"""Supervised tokens of conversations with tools: calls and words, after a server's own prompts."""

from __future__ import annotations

import json
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from models.templates.test_template_inputs import LLAMA3, MISTRAL3, QWEN, TURNS

from moli.models.templates.chat_template import (
    DEFAULT_CHAT_TEMPLATE,
    prompt_ids,
    render_for_training,
)
from moli.models.templates.tool_call_formats import detect_format
from moli.models.templates.tool_call_parser import ToolCallParser, join_tool_calls
from moli.records.errors import InputError
from moli.records.examples import Conversation
from moli.records.messages import Message, Tool, ToolCall
from moli.serving.completion_bodies import ChatRequest
from moli.training.checks.preflight import preflight
from moli.training.recipes.recipe import make_recipe
from moli.training.tasks import make_task
from moli.workspace.datasets import read_dataset

TEMPLATES = {
    "qwen2.5": QWEN,
    # Writes thoughts, empty ones here, in the last answer and in no earlier one.
    "qwen3": QWEN.replace(
        "message.role + '\\n' + message.content",
        "message.role + '\\n' + ('<think>\\n\\n</think>\\n\\n' if message.role == 'assistant' and "
        "loop.last else '') + message.content",
    ),
    # Ends what a tool gave with a line break only where more follows.
    "hermes": QWEN.replace(
        "'\\n</tool_response>' }}", "'\\n</tool_response>' + ('' if loop.last else '\\n') }}"
    ),
    "llama3.1": LLAMA3,
    "mistral": MISTRAL3,
    "plain": DEFAULT_CHAT_TEMPLATE,
}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
LOOK = {"name": "look", "description": "Look up the weather.", "parameters": CITY}
NOW = {"name": "now", "description": "Tell the time."}


def called(name: str, arguments: str, number: int) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    call = {"id": f"call_{number}", "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


ROW = {
    "messages": [
        {"role": "user", "content": "Rain?"},
        called("look", '{"city":"Århus"}', 0),
        {"role": "tool", "tool_call_id": "call_0", "content": '{"rain": "none"}'},
        {"role": "assistant", "content": "It is dry."},
        {"role": "user", "content": "What time is it?"},
        called("now", "{}", 1),
        {"role": "tool", "tool_call_id": "call_1", "content": "9:00"},
        {"role": "assistant", "content": "Nine."},
    ],
    "tools": [{"type": "function", "function": each} for each in (LOOK, NOW)],
}
ASSISTANTS = (1, 3, 5, 7)


def task_of(template: str) -> Any:
    made: Any = make_task(make_recipe({"task": "instruction", "data": "unused.jsonl"}))
    made.tokenizer.chat_template = template
    return made


def read(folder: Path, row: dict[str, Any]) -> Conversation:
    path = folder / "rows.jsonl"
    path.write_text(json.dumps(row), encoding="utf-8")
    (located,) = read_dataset(path).examples
    assert isinstance(located.example, Conversation)
    return located.example


@pytest.mark.parametrize("name", TEMPLATES)
def test_supervised_tokens_follow_the_servers_prompt_and_are_parsed_as_they_were_made(
    tmp_path: Path, name: str
) -> None:
    task = task_of(TEMPLATES[name])
    (group,) = task.samples([read(tmp_path, ROW)], training=True)
    supervised = 0
    for turn in ASSISTANTS:
        body = {"messages": ROW["messages"][:turn], "tools": ROW["tools"]}
        request = ChatRequest.model_validate(body).to_generation_request()
        prompt = prompt_ids(task.tokenizer, request.messages, request.tools)
        [sample] = [
            each
            for each in group
            if each.sequences[0][: len(prompt)].tolist() == prompt
            and each.target[len(prompt) :][:1].any()
        ]
        assert not sample.target[len(prompt) - 1]
        size = len(list(takewhile(bool, sample.target[len(prompt) :])))
        ids = sample.sequences[0][len(prompt) : len(prompt) + size]
        assert ids[-1] == task.tokenizer.eos_token_id
        text = task.tokenizer.decode(ids, skip_special_tokens=True)
        reader = ToolCallParser(detect_format(TEMPLATES[name]), request.tools)
        pieces = reader.feed(text) + reader.close()
        calls = join_tool_calls(pieces)
        made = ROW["messages"][turn].get("tool_calls", ())
        assert [(each.name, json.loads(each.arguments)) for each in calls] == [
            (each["function"]["name"], json.loads(each["function"]["arguments"])) for each in made
        ]
        words = "".join(each for each in pieces if isinstance(each, str))
        assert words.split("</think>")[-1].strip() == (ROW["messages"][turn]["content"] or "")
        supervised += len(ids)
    assert supervised == sum(each.supervised for each in group)  # and nothing else is


SCHEMA = Tool("look", "Look up the weather.", CITY)
CALL = ToolCall("call_0", "look", '{"city": "Oslo"}')
TALK = (
    Message("user", "Rain?"),
    Message("assistant", "", (CALL,)),
    Message("tool", "dry", call_id=CALL.id),
    Message("assistant", "No."),
)


SILENT = (  # leaves out what it does not know
    "{% for m in messages %}{% if m.role != 'tool' %}<{{ m.role }}>{{ m.content }}{{ eos_token }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        (TURNS, r"cannot hold tools and calls \(refuses the conversation \(no tools\)\)"),
        (QWEN.replace("{{- tool | tojson }}", ""), "does not say which tools there are"),
        (QWEN.replace('{"name": "', '{"function": "'),
         "does not write calls in a form that a server can parse"),
        (QWEN.replace("+ message.content + '\\n</tool", "+ '\\n</tool"),
         "does not write the results of tools"),
        (SILENT, "does not write the results of tools"),
        (QWEN.replace("call.function.arguments | tojson", "call.function.arguments + ''"),
         "refuses the conversation"),
    ],
)  # fmt: skip
def test_a_template_that_cannot_hold_tools_is_refused(template: str, problem: str) -> None:
    task = task_of(template)
    with pytest.raises(InputError, match=problem) as refused:
        task.prepare([Conversation(TALK, (SCHEMA,))])
    assert refused.value.fix.endswith(".")
    task.prepare([Conversation((TALK[0], TALK[3]))])  # without tools it may do


def test_a_template_need_not_take_answers_where_there_are_none() -> None:
    task = task_of(TURNS)
    task.prepare([Conversation(TALK[:2], (SCHEMA,))])
    (group,) = task.samples([Conversation(TALK[:2], (SCHEMA,))], training=True)
    supervised = task.tokenizer.decode(group[0].sequences[0][group[0].target])
    call = '<tool_call>\n{"name": "look", "arguments": {"city": "Oslo"}}\n</tool_call>'
    assert supervised == call + task.tokenizer.eos_token


def test_calls_that_a_server_would_misread_are_reported() -> None:
    other = "a server would parse different calls from an answer than it makes"
    plain = "it has no place for tools; they are described in plain text, as a server does"
    talk = Conversation(TALK, (SCHEMA,))
    assert (
        task_of(QWEN).template_problems([talk]) == task_of(LLAMA3).template_problems([talk]) == []
    )
    assert task_of(DEFAULT_CHAT_TEMPLATE).template_problems([talk]) == [plain]
    written = Message("assistant", '{"name": "look", "parameters": {"city": "Oslo"}}')
    as_text = Conversation((TALK[0], written), (SCHEMA,))
    assert task_of(QWEN).template_problems([as_text]) == []
    assert task_of(LLAMA3).template_problems([as_text]) == [other]
    with_words = Conversation((TALK[0], Message("assistant", "Let me see.", (CALL,))), (SCHEMA,))
    assert task_of(QWEN).template_problems([with_words]) == []
    assert task_of(LLAMA3).template_problems([with_words]) == ["it drops the text beside a call"]


MARKED = """\
{% for tool in tools or [] %}{{ tool.function.name }} {% endfor %}
{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}
{%- if m.role == 'assistant' %}{% generation %}{{ m.content }}
{%- for call in m.tool_calls or [] %}
    {{- '<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
    {{- call.function.arguments | tojson }}{{ '}\\n</tool_call>' }}
{%- endfor %}{{ '<|im_end|>' }}{% endgeneration %}
{%- else %}{{ m.content + '<|im_end|>' }}{% endif %}{{ '\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""


def test_the_mask_is_that_of_the_templates_own_marks_with_tools_too() -> None:
    talk = Conversation(TALK, (SCHEMA,))
    assert task_of(MARKED).template_problems([talk]) == []
    words_alone = MARKED.replace("{{ m.content }}\n", "{{ m.content }}{% endgeneration %}\n")
    words_alone = words_alone.replace("{{ '<|im_end|>' }}{% endgeneration %}", "{{ '<|im_end|>' }}")
    assert task_of(words_alone).template_problems([talk]) == [
        "the template marks different tokens as the assistant's"
    ]


def test_spaces_that_a_template_changes_later_are_those_of_the_prompt() -> None:
    task = task_of(TEMPLATES["hermes"])
    talk = (*TALK, Message("user", "And now?"), Message("assistant", "No."))
    texts = [each.text for each in render_for_training(task.tokenizer, talk, [SCHEMA])]
    assert "dry\n</tool_response><|im_end|>" in texts[1]
    assert "dry\n</tool_response>\n<|im_end|>" in texts[2]
    changed = TEMPLATES["hermes"].replace("else '\\n')", "else '!')")
    with pytest.raises(InputError, match="does not write an answer as the continuation"):
        render_for_training(task_of(changed).tokenizer, TALK, [SCHEMA])


def test_an_id_may_be_used_again_in_a_later_turn() -> None:
    talk = (*TALK, TALK[0], Message("assistant", "", (ToolCall(CALL.id, "now", "{}"),)),
            Message("tool", "9:00", call_id=CALL.id), Message("assistant", "Nine."))  # fmt: skip
    text = render_for_training(task_of(MISTRAL3).tokenizer, talk, [SCHEMA, Tool("now")])[-1].text
    assert "[TOOL_RESULTS] look: dry[" in text and "[TOOL_RESULTS] now: 9:00[" in text


@pytest.mark.slow
def test_rows_that_a_template_refuses_are_named(tmp_path: Path) -> None:
    """One call a turn is all that Llama's takes."""
    both = called("look", '{"city": "Oslo"}', 0)
    both["tool_calls"].append(called("now", "{}", 1)["tool_calls"][0])
    rows = [
        ROW,
        ROW | {"messages": [ROW["messages"][0], both]},
        ROW | {"messages": ROW["messages"][:4]},
    ]
    data, template = tmp_path / "rows.jsonl", tmp_path / "llama.jinja"
    data.write_text("".join(json.dumps(each) + "\n" for each in rows))
    template.write_text(LLAMA3)
    values = {"task": "instruction", "data": data, "template": template, "held_out": 0.0}
    actual = preflight(make_recipe(values))
    assert not actual.ok
    [error] = [each for each in actual.findings if each.severity == "error"]
    assert "one call a turn" in error.what
    assert error.locations == (f"{data}:2",)
