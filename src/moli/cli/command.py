"""Commands with help in the reader's language, and without a traceback when interrupted."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from moli.cli.output import INTERRUPTED, echo
from moli.cli.wrapping import cell_len, wrap
from moli.translations.catalogue import translate

EXAMPLE = "Example: "  # before the example in a command's docstring
_MAX_WIDTH = 80
_MAX_NAMES = 28  # columns for the names of options, whose texts begin after them

Function = Callable[..., Any]


class Command(TyperCommand):
    """A command of Moli."""

    def get_help(self, ctx: Any) -> str:
        return "\n".join(_help_lines(self, ctx, ()))

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            echo("Interrupted.", err=True)
            raise typer.Exit(INTERRUPTED) from None


class Group(TyperGroup):
    """A command that has commands below it."""

    def get_help(self, ctx: Any) -> str:
        commands = [
            (name, paragraphs(command.help or "")[0]) for name, command in self.commands.items()
        ]
        return "\n".join(_help_lines(self, ctx, commands))


class App(typer.Typer):
    """A group of commands, to which functions are added with the decorator `command`."""

    def __init__(self, help: str, **options: Any) -> None:  # noqa: A002 - typer's name for it
        super().__init__(cls=Group, help=help, rich_markup_mode=None, **options)

    def command(  # type: ignore[override]  # its options are passed on
        self, name: str | None = None, **options: Any
    ) -> Callable[[Function], Function]:
        options.setdefault("cls", Command)
        return super().command(name, **options)


def _help_lines(command: Any, ctx: Any, commands: Sequence[tuple[str, str]]) -> Iterator[str]:
    """The lines of a command's help: usage, text, arguments, options, commands and example."""
    width = min(typer.get_terminal_size((_MAX_WIDTH, 0)).columns, _MAX_WIDTH)
    yield from wrap(translate(f"Usage: {usage_of(command, ctx)}"), width)
    text, _, example = (command.help or "").partition(EXAMPLE)
    for paragraph in paragraphs(text):
        yield ""
        yield from (f"  {line}" for line in wrap(translate(paragraph), width - 2))
    arguments: list[tuple[str, str]] = []
    options: list[tuple[str, str]] = []
    for parameter in command.get_params(ctx):
        meaning = translate(parameter.help or "")
        if parameter.default not in (None, False, "", ()):
            meaning += "  " + translate(f"[default: {parameter.default}]")
        listed = arguments if is_argument(parameter) else options
        listed.append((names_of(parameter), meaning))
    sections = {
        "Arguments:": arguments,
        "Options:": options,
        "Commands:": [(name, translate(meaning)) for name, meaning in commands],
    }
    for title, entries in sections.items():
        if entries:
            yield ""
            yield translate(title)
            yield from _definitions(entries, width)
    if example:
        yield ""
        yield translate(f"Example: {example.strip()}")


def usage_of(command: Any, ctx: Any) -> str:
    """A command with its arguments in their order, as it is typed."""
    arguments = map(names_of, filter(is_argument, command.params))
    end = ("COMMAND", "[ARGS]...") if isinstance(command, Group) else ()
    return " ".join([ctx.command_path, *arguments, "[OPTIONS]", *end])


def is_argument(parameter: Any) -> bool:
    """Whether a parameter of a command is an argument rather than an option."""
    return bool(parameter.param_type_name == "argument")


def names_of(parameter: Any) -> str:
    """The names of an option and its value, or an argument: in brackets if it may be missing."""
    value = parameter.metavar or parameter.name.upper()
    if is_argument(parameter):
        value = f"{value}..." if parameter.nargs == -1 else value
        return value if parameter.required else f"[{value}]"
    names = ", ".join(sorted((*parameter.opts, *parameter.secondary_opts), key=len))
    return names if parameter.is_flag else f"{names} {value}"


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a docstring, each on one line; those of an example are left out."""
    paragraphs = inspect.cleandoc(text).partition(EXAMPLE)[0].split("\n\n")
    return [" ".join(each.split()) for each in paragraphs if each.strip()] or [""]


def _definitions(entries: Sequence[tuple[str, str]], width: int) -> Iterator[str]:
    """Names in one column and their meanings in another, under each other."""
    indent = min(max(cell_len(name) for name, _ in entries), _MAX_NAMES) + 4
    for name, meaning in entries:
        lines = wrap(meaning, width - indent) or [""]
        first = f"  {name}".ljust(indent)
        if cell_len(first) > indent:
            yield first.rstrip()
            first = " " * indent
        yield (first + lines[0]).rstrip()
        yield from (" " * indent + line for line in lines[1:])
