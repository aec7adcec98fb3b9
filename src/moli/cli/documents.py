"""`moli list` and `moli remove`."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Annotated

import typer

from moli.cli.output import (
    JsonOption,
    WorkspaceOption,
    echo,
    open_workspace,
    print_json,
    print_table,
)
from moli.records.documents import Document
from moli.records.errors import NotFoundError
from moli.records.file_names import file_name_text, path_of_text
from moli.retrieval.discover import absolute_path


def list_documents(as_json: JsonOption = False, workspace: WorkspaceOption = None) -> None:
    """List the documents.

    Example: moli list --json
    """
    with open_workspace(workspace) as opened:
        documents = opened.documents.list()
    if as_json:
        print_json({"documents": documents})
        return
    if not documents:
        echo("No documents yet. Next: moli add PATH")
        return
    columns = ("id", "title", "format", "pages", "characters", "groups", "source")
    rows = [
        (
            str(document.id),
            document.title,
            document.format,
            str(len(document.pages) or ""),
            f"{document.characters:,}",
            ", ".join(document.groups),
            _short_source(document),
        )
        for document in documents
    ]
    print_table(columns, rows, copied=("id", "format", "characters"))


def _short_source(document: Document) -> str:
    """A document's source, relative to the current folder if it is below."""
    path, here = Path(document.source), file_name_text(Path.cwd())
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


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
    from moli.models.encoders.load import load_workspace_encoder
    from moli.retrieval.indexes import Indexes

    if not targets and not missing:
        raise typer.BadParameter("name what to remove, or give --missing", param_hint="TARGETS")
    with open_workspace(workspace) as opened:
        selected = _select(opened.documents.list(), targets or [], missing=missing)
        receipt = opened.documents.remove([each.id for each in selected])
        indexes = Indexes(opened, load_workspace_encoder(opened))
        indexes.catch_up(timeout=60)
        if purge:
            indexes.rebuild()
            opened.database.scrub()
        indexes.save()
        left = indexes.status()
    if as_json:
        sources = [each.source for each in selected]
        print_json({"removed": receipt, "sources": sources, "indexes": left, "purged": purge})
        return
    echo(
        f"Removed: documents {receipt.documents}, passages {receipt.passages}, "
        f"vectors {receipt.vectors}; traces redacted: {receipt.traces}. "
        f"Passages left in the indexes: {left['lexical']['passages']} by words, "
        f"{left['dense']['passages']} by meaning."
    )


def _select(documents: list[Document], targets: list[str], *, missing: bool) -> list[Document]:
    """The documents that match a target, and with `missing` also those whose file is gone.

    Raises:
        NotFoundError: no document matches a target.
    """
    selected: dict[int, Document] = {}
    for target in targets:
        matches = [each for each in documents if _matches(each, target)]
        if not matches:
            raise NotFoundError(
                "no document matches", where=target, fix="'moli list' shows ids and sources."
            )
        selected.update((each.id, each) for each in matches)
    if missing:
        selected.update((each.id, each) for each in documents if is_file_gone(each))
    return list(selected.values())


def is_file_gone(document: Document) -> bool:
    """Whether the document came from a file that is no longer there."""
    path = path_of_text(document.source)
    return path.is_absolute() and not path.exists()


def _matches(document: Document, target: str) -> bool:
    """Whether a target is a document's id, source or folder, or a pattern that its source has."""
    path = file_name_text(absolute_path(target))
    return (
        file_name_text(target) in (str(document.id), document.source)
        or document.source == path
        or document.source.startswith(path.rstrip("/") + "/")
        or fnmatch.fnmatch(document.source, path)
    )
