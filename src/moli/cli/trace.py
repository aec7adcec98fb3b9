"""`moli trace`."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from moli.cli.output import (
    JsonOption,
    WorkspaceOption,
    echo,
    make_console,
    open_workspace,
    print_json,
)
from moli.translations.catalogue import translate

_OUTCOMES = {"answered": "answered", "unsure": "not sure", "absent": "no answer"}


def trace(
    trace_id: Annotated[
        str, typer.Argument(help="The trace's id, or the beginning of it.", metavar="ID")
    ],
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Show how an answer was produced: passages, scores, model, prompt and times.

    Example: moli trace 3f9c
    """
    with open_workspace(workspace) as opened:
        trace = opened.traces.get(trace_id)
    if as_json:
        print_json(trace)
        return
    out = make_console()
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(trace.created_at))
    outcome = _OUTCOMES[trace.tier]
    out.print(trace.question, style="bold")
    echo(f"{when}, {outcome}, confidence {trace.confidence:.2f}, as {', '.join(trace.groups)}")
    weight = trace.fusion.weight
    echo(f"model {trace.model}, prompt {trace.prompt_sha256[:12] or 'none'}")
    echo(f"encoder {trace.encoder}, fusion {trace.fusion.method}, {weight:g} on words")
    out.print("  ".join(f"{translate(name)} {ms:.0f} ms" for name, ms in trace.timings_ms.items()))
    for rank, hit in enumerate(trace.passages, 1):
        scores = translate(f"words {hit.lexical or 0:.2f}, meaning {hit.dense or 0:.2f}")
        where = f"{hit.source or translate('(removed)')}:{hit.start}-{hit.end}"
        out.print(f"{rank:>3}. {hit.score:.3f} ({scores})  {where}")
    for sentence in trace.sentences:
        mark = "✓" if sentence.supported else "✗"
        out.print(f"{mark} {sentence.text or translate('(removed)')}")
    if trace.conflict:
        echo("The documents differ on this.")
    if trace.closest:
        echo(f"closest: {trace.closest.text or translate('(removed)')}")
    if trace.missing:
        echo(f"The closest sentence does not mention: {', '.join(trace.missing)}")
