"""`moli list` and `moli remove`."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Annotated

import typer

from moli.cli.output import (
    JsonOption,
    WorkspaceOption,
    console,
    open_workspace,
    print_json,
)
from moli.records.documents import Document
from moli.records.errors import NotFoundError


def list_documents(as_json: JsonOption = False, workspace: WorkspaceOption = None) -> None:
    """List the documents.

    Example: moli list --json
    """
    with open_workspace(workspace) as opened:
        found = opened.documents.list()
    if as_json:
        print_json({"documents": found})
        return
    if not found:
        typer.echo("No documents yet. Next: moli add PATH")
        return
    from rich.table import Table

    table = Table("id", "title", "format", "pages", "characters", "groups", "source", box=None)
    for each in found:
        pages = str(len(each.pages) or "")
        groups = ", ".join(each.groups)
        row = (str(each.id), each.title, each.format, pages, f"{each.characters:,}", groups)
        table.add_row(*row, each.source)
    console().print(table)


def remove(
    targets: Annotated[
        list[str] | None,
        typer.Argument(help="Ids from 'moli list', paths, folders or patterns."),
    ] = None,
    missing: Annotated[
        bool, typer.Option("--missing", help="Remove documents whose file is gone.")
    ] = False,
    purge: Annotated[
        bool,
        typer.Option("--purge", help="Also rebuild the indexes, so that no word stays."),
    ] = False,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Remove documents and everything derived from them, and print a receipt.

    Example: moli remove old/ --purge
    """
    from moli.models.encoders.load import load_encoder
    from moli.retrieval.indexes import Indexes

    if not targets and not missing:
        raise typer.BadParameter("name what to remove, or give --missing", param_hint="TARGETS")
    with open_workspace(workspace) as opened:
        chosen = _chosen(opened.documents.list(), targets or [], missing=missing)
        receipt = opened.documents.remove([each.id for each in chosen])
        indexes = Indexes(opened, load_encoder(opened.settings.encoder))
        indexes.catch_up(patience=60)
        if purge:
            indexes.rebuild()
            opened.database.scrub()
        indexes.save()
        left = indexes.status()
    if as_json:
        sources = [each.source for each in chosen]
        print_json({"removed": receipt, "sources": sources, "indexes": left, "purged": purge})
        return
    typer.echo(
        f"Removed: documents {receipt.documents}, passages {receipt.passages}, "
        f"vectors {receipt.vectors}; traces redacted: {receipt.traces}. "
        f"Passages left in the indexes: {left['lexical']['passages']} by words, "
        f"{left['dense']['passages']} by meaning."
    )


def _chosen(documents: list[Document], targets: list[str], *, missing: bool) -> list[Document]:
    chosen: dict[int, Document] = {}
    for target in targets:
        matches = [each for each in documents if _matches(each, target)]
        if not matches:
            raise NotFoundError(
                "no document matches", where=target, fix="'moli list' shows ids and sources."
            )
        chosen.update((each.id, each) for each in matches)
    if missing:
        gone = (each for each in documents if file_is_gone(each))
        chosen.update((each.id, each) for each in gone)
    return list(chosen.values())


def file_is_gone(document: Document) -> bool:
    """Whether the document came from a file that is no longer there."""
    path = Path(document.source)
    return path.is_absolute() and not path.exists()


def _matches(document: Document, target: str) -> bool:
    path = str(Path(target).absolute())
    return (
        target in (str(document.id), document.source)
        or document.source == path
        or document.source.startswith(path.rstrip("/") + "/")
        or fnmatch.fnmatch(document.source, path)
    )
