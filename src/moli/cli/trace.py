"""`moli trace`."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from moli.cli.output import (
    JsonOption,
    WorkspaceOption,
    console,
    open_workspace,
    print_json,
)


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
        found = opened.traces.get(trace_id)
    if as_json:
        print_json(found)
        return
    out = console()
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found.created_at))
    outcome = "answered" if found.answered else "no answer"
    out.print(found.question, style="bold")
    out.print(f"{when}, {outcome}, confidence {found.confidence:.2f}, as {', '.join(found.groups)}")
    weight = found.fusion.weight
    out.print(f"model {found.model}, prompt {found.prompt_sha256[:12] or 'none'}")
    out.print(f"encoder {found.encoder}, fusion {found.fusion.method}, {weight:g} on words")
    out.print("  ".join(f"{name} {ms:.0f} ms" for name, ms in found.timings_ms.items()))
    for rank, hit in enumerate(found.passages, 1):
        sides = f"words {hit.lexical or 0:.2f}, meaning {hit.dense or 0:.2f}"
        where = f"{hit.source or '(removed)'}:{hit.start}-{hit.end}"
        out.print(f"{rank:>3}. {hit.score:.3f} ({sides})  {where}")
    for sentence in found.sentences:
        mark = "✓" if sentence.supported else "✗"
        out.print(f"{mark} {sentence.text or '(removed)'}")
