"""The parts of printing a run's result that all commands that train have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moli.cli.output import echo, make_console
from moli.metrics.main import main_first
from moli.translations.catalogue import translate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moli.training.run import RunResult

# On Ctrl-C before the first checkpoint or after it.
KEPT = "A run that has taken steps is kept up to its last checkpoint; see 'moli runs'."


def print_interrupted(result: RunResult, command: str) -> None:
    """Print how to resume a run that was interrupted.

    Args:
        command: resumes the run, such as "tune".
    """
    echo(f"Interrupted after step {result.facts['step']:,}; nothing is lost.")
    echo(f"Resume with: moli {command} --resume {result.run}")


def print_alias_kept(result: RunResult) -> None:
    """Print why an alias was not moved to the new model, and how to move it, if it was not."""
    if reason := result.facts.get("alias_kept"):
        alias, model = result.facts["alias"], result.model.rpartition("@")[2]
        make_console().print(translate(f"'{alias}' was not moved to it: {reason}."), style="bold")
        echo(f"Move it with: moli models alias {alias} {model}")


def format_metrics(metrics: Mapping[str, float]) -> str:
    """Metrics with their names in a line, the main one first."""
    from moli.training.listeners.formatting import format_value

    return ", ".join(f"{name} {format_value(value)}" for name, value in main_first(metrics).items())
