"""The command `llm`, with Moli as one of its OpenAI-compatible models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from cases import CITIES, MODEL, QUESTION, URL, report

FOLDER = Path(tempfile.mkdtemp())
(FOLDER / "extra-openai-models.yaml").write_text(
    f"- model_id: moli\n  model_name: {MODEL}\n  api_base: {URL}\n  api_key_name: moli\n"
    "  supports_schema: true\n  supports_tools: true\n"
)
(FOLDER / "keys.json").write_text('{"moli": "none"}')
TOOL = "def weather(city: str) -> str:\n    'Tell the weather.'\n    return 'sunny'\n"
SCHEMA = {"type": "object", "properties": {"city": {"enum": CITIES}}, "required": ["city"]}


def llm(*arguments: str) -> str:
    command = [str(Path(sys.executable).with_name("llm")), *arguments]
    environment = os.environ | {"LLM_USER_PATH": str(FOLDER)}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert not result.returncode, result.stderr
    return result.stdout.strip()


def ask(*arguments: str) -> str:
    return llm(QUESTION, "-m", "moli", "-o", "max_tokens", "60", *arguments)


def second_turn() -> None:
    assert ask()
    assert llm("-c", "And then?", "-o", "max_tokens", "60")


report(
    {
        "text": lambda: ask("--no-stream"),
        "stream": ask,
        "second turn": second_turn,
        "tool result": lambda: ask("--functions", TOOL),
        "structured": lambda: json.loads(ask("--schema", json.dumps(SCHEMA), "--no-stream")),
    }
)
