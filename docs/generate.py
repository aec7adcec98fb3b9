"""Writes docs/cli.md and docs/cli.zh.md from the command line itself, the tables of fields in
docs/*/api.md from the bodies of requests, and those of options and recipes in
docs/*/alignment.md and docs/*/align.md.

Use: python docs/generate.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from moli.cli.command import EXAMPLE, is_argument, names_of, paragraphs
from moli.cli.main import app
from moli.translations.catalogue import Language, translate, use_language

FILES: dict[Language, Path] = {
    "en": Path(__file__).with_name("cli.md"),
    "zh": Path(__file__).with_name("cli.zh.md"),
}
_HEADS: dict[Language, str] = {
    "en": """# Command line

Every command of `moli`, written by `python docs/generate.py` from the commands themselves.

Every command has `--help`. Exit codes: 0 done, 1 an error, 2 wrong usage, 3 some of several
inputs failed, 130 interrupted by Ctrl-C. With `--json`, results and errors are JSON on standard
output.
""",
    "zh": """# 命令行

`moli` 的所有命令，由 `python docs/generate.py` 从命令本身生成。

每个命令都有 `--help`。退出码：0 完成，1 出错，2 用法不对，3 有一部分输入失败，130 被 Ctrl-C
中断。加上 `--json`，结果和错误都以 JSON 写到标准输出。
""",
}
_COLUMNS: dict[Language, str] = {"en": "Name | Default | Meaning", "zh": "名称 | 默认值 | 含义"}


def reference(language: Language = "en") -> str:
    """The text of the page in a language."""
    use_language(language)
    try:
        commands = _commands(typer.main.get_command(app))
        sections = [_section(name, command, language) for name, command in commands]
    finally:
        use_language("en")
    return "\n".join([_HEADS[language], *sections])


def _commands(group: Any, prefix: str = "moli") -> Iterator[tuple[str, Any]]:
    """The commands below `group` with their full names; groups themselves do nothing."""
    for name, command in group.commands.items():
        full = f"{prefix} {name}"
        if hasattr(command, "commands"):
            yield from _commands(command, full)
        else:
            yield full, command


def _section(name: str, command: Any, language: Language) -> str:
    """The section of a command."""
    example = command.help.partition(EXAMPLE)[2].strip()
    usage = " ".join([name, *map(names_of, filter(is_argument, command.params)), "[OPTIONS]"])
    lines = [f"## {name}", ""]
    for paragraph in paragraphs(command.help):
        lines += [translate(paragraph), ""]
    lines += ["```text", usage, "```", ""]
    if example:
        lines += ["```sh", example, "```", ""]
    lines += [f"| {_COLUMNS[language]} |", "| --- | --- | --- |"]
    lines += [_row(each) for each in command.params]
    return "\n".join([*lines, ""])


def _row(parameter: Any) -> str:
    """The row of a parameter."""
    no_default = parameter.default in (None, False, "", ())
    default = "" if no_default else f"`{parameter.default}`"
    meaning = translate(parameter.help or "").replace("|", "/")
    return f"| `{names_of(parameter)}` | {default} | {meaning} |"


if __name__ == "__main__":
    for language, path in FILES.items():
        path.write_text(reference(language), encoding="utf-8")
    import fields  # beside this file
    import options

    fields.write()
    options.write()
