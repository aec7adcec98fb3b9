"""The progress of a model that is being fetched, on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from moli.cli.output import echo, make_console
from moli.translations.catalogue import translate

if TYPE_CHECKING:
    from moli.models.downloads.get import FetchProgress


@contextmanager
def show_fetching(name: str, *, quiet: bool) -> Iterator[Callable[[FetchProgress], None]]:
    """Show the callback's progress: a bar with size and time left; off a terminal, a line each.

    Args:
        name: the model's.
        quiet: whether to show nothing.
    """
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = make_console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    lines: list[str] = []  # what was written off a terminal
    is_live = console.is_terminal and not quiet
    with Progress(*columns, console=console, disable=not is_live, transient=True) as bar:
        task = bar.add_task("", total=None)

        def on_progress(fetched: FetchProgress) -> None:
            text = translate(_describe(name, fetched))
            bar.update(task, description=text, completed=fetched.done, total=fetched.total or None)
            if not (is_live or quiet or text in lines):
                lines.append(text)
                echo(text, err=True)

        yield on_progress


def _describe(name: str, fetched: FetchProgress) -> str:
    """One line on what is being done."""
    match fetched.stage:
        case "waiting":
            return f"Waiting for {fetched.origin}, which fetches {name}"
        case "converting":
            return f"Converting {name}"
        case _:
            return f"Fetching {name} ({fetched.total / 1e6:,.0f} MB) from {fetched.origin}"
