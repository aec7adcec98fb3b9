"""The command `moli`: its subcommands, error messages and exit codes.

Exit codes: 0 done, 1 an error, 2 wrong usage, 3 some of several inputs failed,
130 interrupted; can be resumed.
"""

from __future__ import annotations

import sys

import typer

from moli.cli import (
    add,
    ask,
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
from moli.cli.output import print_error
from moli.models.hardware.memory import ensure_tight_heap
from moli.records.errors import MoliError

app = typer.Typer(
    name="moli",
    help="A local-first workbench that turns a base language model into your team's assistant.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
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
app.command("trace")(trace.trace)
app.add_typer(index.app, name="index")
app.add_typer(models.app, name="models")
app.command("tune")(tune.tune)
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
    """Run a command; a MoliError is printed in one line, without a traceback."""
    if sys.argv[1:2] == ["tune"]:
        ensure_tight_heap()
    try:
        app()
    except MoliError as error:
        print_error(error, as_json="--json" in sys.argv)
        raise SystemExit(1) from None
