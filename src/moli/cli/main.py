"""The command `moli`: its subcommands, error messages and exit codes.

Exit codes: 0 done, 1 an error, 2 wrong usage, 3 some of several inputs failed,
130 interrupted; can be resumed.
"""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

import typer

from moli.cli import (
    add,
    align,
    ask,
    check,
    documents,
    evaluate,
    index,
    init,
    key,
    models,
    predict,
    runs,
    search,
    serve,
    status,
    trace,
    tune,
)
from moli.cli.command import App, usage_of
from moli.cli.output import can_print, echo, prepare_output, print_error, warn
from moli.models.hardware.memory import ensure_tight_heap
from moli.records.errors import MoliError
from moli.translations.catalogue import use_language
from moli.translations.preference import preferred_language

app = App(
    name="moli",
    help="A local-first workbench that turns a base language model into your team's assistant.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("init")(init.init)
app.command("add")(add.add)
app.command("list")(documents.list_documents)
app.command("remove")(documents.remove)
app.command("status")(status.status)
app.command("search")(search.search)
app.command("ask")(ask.ask)
app.command("check")(check.check)
app.command("trace")(trace.trace)
app.add_typer(index.app, name="index")
app.add_typer(models.app, name="models")
app.command("tune")(tune.tune)
app.command("align")(align.align)
app.add_typer(runs.app, name="runs")
app.command("predict")(predict.predict)
app.command("evaluate")(evaluate.evaluate)
app.command("serve")(serve.serve)
app.add_typer(key.app, name="key")


@app.callback(invoke_without_command=True)
def root(
    version: bool = typer.Option(False, "--version", help="Show the version and exit."),
) -> None:
    """A local-first workbench that turns a base language model into your team's assistant."""
    if version:
        from moli import __version__

        typer.echo(f"moli {__version__}")
        raise typer.Exit


def main() -> None:
    """Run a command; an error is printed in one line, without a traceback."""
    prepare_output()
    try:
        Path.cwd()
    except FileNotFoundError:
        warn("the current folder no longer exists. Change to another one.")
        raise SystemExit(1) from None
    language = preferred_language(_workspace_folder(sys.argv[1:]))
    use_language(language if can_print("中") else "en")
    if sys.argv[1:2] in (["tune"], ["align"]):
        ensure_tight_heap()
    try:
        code = app(prog_name="moli", standalone_mode=False)
        sys.stdout.flush()
    except MoliError as error:
        print_error(error, as_json="--json" in sys.argv)
        code = 1
    except typer.TyperException as error:
        _print_usage_error(error)
        code = error.exit_code
    except BrokenPipeError:  # the reader has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    raise SystemExit(code)


def _workspace_folder(arguments: list[str]) -> Path:
    """The folder of the option --workspace; the current one without it."""
    for option, value in itertools.pairwise(arguments):
        if option in ("-w", "--workspace"):
            return Path(value)
    return Path()


def _print_usage_error(error: typer.TyperException) -> None:
    """Print a wrong usage with the usage that is right, or the help that was not asked for."""
    context = getattr(error, "ctx", None)
    message = error.format_message()
    if context is None or message == context.get_help():
        typer.echo(message, err=True)
        return
    warn(message)
    echo(f"Usage: {usage_of(context.command, context)}", err=True)
    echo(f"Try '{context.command_path} --help' for help.", err=True)
