"""`moli index`: status, rebuild and tune."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moli.cli.command import App
from moli.cli.output import (
    JsonOption,
    WorkspaceOption,
    echo,
    on_interrupt,
    open_workspace,
    print_json,
    print_table,
)
from moli.translations.catalogue import translate

app = App(help="Manage the search indexes.", no_args_is_help=True)


@app.command()
def status(as_json: JsonOption = False, workspace: WorkspaceOption = None) -> None:
    """Show what is in each index and how far it is behind the database.

    Example: moli index status
    """
    from moli.models.encoders.load import load_workspace_encoder
    from moli.retrieval.indexes import Indexes

    with open_workspace(workspace) as opened:
        encoder = load_workspace_encoder(opened)
        report = Indexes(opened, encoder).status()
        fusions = {name: opened.tunings.current(encoder.name, name, name) for name in ("en", "zh")}
    if as_json:
        print_json({"indexes": report, "fusion": fusions})
        return
    for name, index in report.items():
        passages, behind = f"{index['passages']:,}", index["behind"]
        echo(f"{translate(name)}: {passages} passages, {behind} changes behind")
    for language, fusion in fusions.items():
        method = f"{fusion.method}, {fusion.weight:g} on words" if fusion else "default"
        echo(f"fusion {language}: {method}")


@app.command()
def rebuild(as_json: JsonOption = False, workspace: WorkspaceOption = None) -> None:
    """Erase and rebuild both indexes; passages without vectors are encoded.

    Example: moli index rebuild
    """
    from moli.models.encoders.load import load_workspace_encoder
    from moli.retrieval.indexes import Indexes
    from moli.retrieval.ingest import encode_missing

    with open_workspace(workspace) as opened:
        encoder = load_workspace_encoder(opened)
        indexes = Indexes(opened, encoder)
        with on_interrupt("No document is lost; the next search completes the indexes."):
            encoded = encode_missing(opened, encoder)
            indexes.rebuild()
        report = indexes.status()
    if as_json:
        print_json({"indexes": report, "encoded": encoded})
    else:
        echo(f"Rebuilt: {report['lexical']['passages']:,} passages, {encoded} newly encoded")


@app.command()
def tune(
    queries: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="JSONL of {query, source}; default: queries made from the passages.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=20, help="Queries to tune each language on.")] = 400,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Choose, by measurement, how words and meaning are fused in each language.

    Example: moli index tune --queries labelled.jsonl
    """
    from moli.models.encoders.load import load_workspace_encoder
    from moli.retrieval.search import Retriever
    from moli.retrieval.tune import labelled_queries, synthetic_queries, tune_fusion

    with open_workspace(workspace) as opened:
        retriever = Retriever(opened, load_workspace_encoder(opened))
        labelled = (
            labelled_queries(queries) if queries else synthetic_queries(opened.passages, limit)
        )
        with on_interrupt("The fusion is as it was."):
            tunings = tune_fusion(opened, retriever, labelled, limit)
    if as_json:
        print_json({"tunings": tunings})
        return
    rows = []
    for tuning in tunings:
        pair = dict.fromkeys((tuning.language, tuning.passage_language))
        languages = " → ".join(pair)  # of the queries, and of the passages if it is another
        for trial in tuning.trials:
            chosen = "✓" if trial.fusion == tuning.fusion else ""
            default = "✓" if trial.fusion == tuning.default else ""
            name, weight = trial.fusion.method, f"{trial.fusion.weight:g}"
            rows.append((languages, name, weight, f"{trial.score:.4f}", default, chosen))
    print_table(("language", "method", "on words", "MRR@10", "default", "chosen"), rows)
