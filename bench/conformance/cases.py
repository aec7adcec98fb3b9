"""The cases that every client goes through, and how a client's script reports them.

A script in `clients` maps names of CASES to functions, which raise an error where the client does
not get what it should, and passes them to `report`.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import traceback
from collections.abc import Callable, Mapping
from typing import Any

CASES = {
    "text": "a conversation is answered",
    "stream": "the answer comes in parts",
    "second turn": "the client sends back what it got, and asks on",
    "tool call": "a tool that must be called is called, with arguments by its schema",
    "tool stream": "a call comes in parts that add up",
    "tool result": "the client sends a call with its result, and gets an answer",
    "structured": "an answer follows a schema",
}
URL = os.environ.get("MOLI_URL", "http://127.0.0.1:7860/v1")
MODEL = os.environ.get("MOLI_MODEL", "builtin:starter")
QUESTION = "Tell me of the sea."
CITIES = ("Torino", "上海")


def by_name(*functions: Callable[[], Any]) -> dict[str, Callable[[], Any]]:
    """Cases by their names in CASES, which are those of the functions."""
    return {each.__name__.replace("_", " "): each for each in functions}


def report(cases: Mapping[str, Callable[[], Any]]) -> None:
    """Run the cases, and print a line of JSON about each: its name, and what was wrong or ""."""
    for name, case in cases.items():
        try:
            outcome = case()
            if inspect.iscoroutine(outcome):
                asyncio.run(outcome)
            problem = ""
        except Exception as error:  # noqa: BLE001 - it is reported
            problem = "".join(traceback.format_exception_only(error)).strip()
        print(json.dumps({"case": name, "problem": problem}), flush=True)
