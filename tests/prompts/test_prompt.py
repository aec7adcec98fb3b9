from __future__ import annotations

import hashlib
import json

from moli.prompts.prompt import Demonstration, Prompt
from moli.records.messages import Message


def test_the_parts_become_a_system_message_worked_turns_and_a_request() -> None:
    prompt = Prompt("Sort it.", "You sort.", "Rules.", "Do it now.", [Demonstration("3 1", "1 3")])
    assert prompt.messages() == (
        Message("system", "You sort.\n\nSort it."),
        Message("user", "3 1"),
        Message("assistant", "1 3"),
        Message("user", "Rules.\n\nDo it now."),
    )


def test_empty_parts_leave_no_blank_lines() -> None:
    assert Prompt("Sort it.", instruction="Now.").messages() == (
        Message("system", "Sort it."),
        Message("user", "Now."),
    )


def test_the_hash_is_that_of_what_the_model_sees() -> None:
    prompt = Prompt("任务", instruction="now")
    seen = json.dumps([["system", "任务"], ["user", "now"]], ensure_ascii=False)
    assert prompt.sha256 == hashlib.sha256(seen.encode()).hexdigest()


def test_any_change_to_what_the_model_sees_changes_the_hash() -> None:
    prompts = [
        Prompt("a"),
        Prompt("b"),
        Prompt("a", role="r"),
        Prompt("a", context="c"),
        Prompt("a", instruction="i"),
        Prompt("a", examples=[Demonstration("g", "a")]),
        Prompt("a", examples=[Demonstration("a", "g")]),
    ]
    assert len({prompt.sha256 for prompt in prompts}) == len(prompts)
