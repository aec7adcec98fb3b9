"""`moli search`."""

from __future__ import annotations

from typing import Annotated

import typer

from moli.cli.output import (
    GroupOption,
    JsonOption,
    WhereOption,
    WorkspaceOption,
    echo,
    format_place,
    make_console,
    make_filter,
    open_workspace,
    print_json,
    recover_text,
    warn_of_missing_vectors,
)
from moli.translations.catalogue import translate


def search(
    query: Annotated[str, typer.Argument(help="What to look for.")],
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, max=300, help="Passages to show.")
    ] = 5,
    group: GroupOption = None,
    where: WhereOption = None,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Show the best passages, with their scores by words and by meaning.

    Example: moli search "how is fusion chosen" -n 3
    """
    from moli.models.encoders.load import load_workspace_encoder
    from moli.retrieval.absence import explain_absence, find_absence
    from moli.retrieval.search import Retriever

    with open_workspace(workspace) as opened:
        visible = make_filter(opened, group, where)
        retriever = Retriever(opened, load_workspace_encoder(opened))
        hits = retriever.search(recover_text(query), limit, visible)
        warn_of_missing_vectors(retriever)
        absence = "" if hits else find_absence(opened.passages, visible)
    if as_json:
        print_json({"query": query, "hits": hits, "reason": absence})
        return
    if not hits:
        echo(explain_absence(absence, visible, "en") if absence else "Nothing found.")
        return
    out = make_console()
    for rank, hit in enumerate(hits, 1):
        place = format_place(hit)
        scores = [
            f"{translate(name)} {value:.3f}"
            for name, value in (("words", hit.lexical), ("meaning", hit.dense))
            if value is not None
        ]
        out.print(f"{rank}. {hit.title or hit.source}{place}", style="bold")
        details = f"   {hit.score:.3f} ({', '.join(scores)})   {hit.heading}"
        out.print(details.rstrip(), style="dim")
        excerpt = " ".join(hit.text.split())
        out.print("   " + (excerpt[:300] + "…" if len(excerpt) > 300 else excerpt))
