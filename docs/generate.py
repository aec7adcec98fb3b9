"""Writes docs/cli.md from the command line itself.

Use: python docs/generate.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from moli.cli.main import app

TARGET = Path(__file__).with_name("cli.md")
_HEAD = """# Command line

Every command of `moli`, written by `python docs/generate.py` from the commands themselves.

Every command has `--help`. Exit codes: 0 done, 1 an error, 2 wrong usage, 3 some of several
inputs failed, 130 interrupted by Ctrl-C. With `--json`, results and errors are JSON on standard
output.
"""


def reference() -> str:
    """The text of docs/cli.md."""
    sections = [_section(name, command) for name, command in _commands(typer.main.get_command(app))]
    return "\n".join([_HEAD, *sections])


def _commands(group: Any, prefix: str = "moli") -> Iterator[tuple[str, Any]]:
    """The commands below `group` with their full names; groups themselves do nothing."""
    for name, command in group.commands.items():
        full = f"{prefix} {name}"
        if hasattr(command, "commands"):
            yield from _commands(command, full)
        else:
            yield full, command


def _section(name: str, command: Any) -> str:
    text, _, example = command.help.partition("Example: ")
    arguments = [each for each in command.params if _is_argument(each)]
    usage = " ".join([name, *map(_written, arguments), "[OPTIONS]"])
    lines = [f"## {name}", "", text.strip(), "", "```text", usage, "```", ""]
    if example:
        lines += ["```sh", example.strip(), "```", ""]
    lines += ["| Name | Default | Meaning |", "| --- | --- | --- |"]
    lines += [_row(each) for each in command.params]
    return "\n".join([*lines, ""])


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _written(argument: Any) -> str:
    name = argument.metavar or argument.name.upper().removeprefix("TRACE_")
    name = f"{name}..." if argument.nargs == -1 else name
    return name if argument.required else f"[{name}]"


def _row(parameter: Any) -> str:
    if _is_argument(parameter):
        names = f"`{_written(parameter)}`"
    else:
        names = ", ".join(f"`{each}`" for each in (*parameter.opts, *parameter.secondary_opts))
    no_default = parameter.default is None or parameter.default is False
    default = "" if no_default else f"`{parameter.default}`"
    return f"| {names} | {default} | {(parameter.help or '').replace('|', '/')} |"


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
