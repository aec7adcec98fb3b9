"""`moli status`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from moli.cli.documents import is_file_gone
from moli.cli.output import (
    JsonOption,
    WorkspaceOption,
    echo,
    make_console,
    open_workspace,
    print_fields,
    print_json,
)
from moli.records.file_names import file_name_text
from moli.translations.catalogue import translate


def status(as_json: JsonOption = False, workspace: WorkspaceOption = None) -> None:
    """Show what the workspace holds and how it is set up.

    Example: moli status
    """
    from moli.models.encoders.load import encoder_of

    with open_workspace(workspace) as opened:
        documents = opened.documents.list()
        counts = opened.documents.counts()
        settings = opened.settings
        report = {
            "workspace": file_name_text(opened.root),
            "database": opened.database_address,
            "counts": counts,
            "characters": sum(each.characters for each in documents),
            "files_missing": sum(map(is_file_gone, documents)),
            "model": settings.model or "quotes",
            "encoder": encoder_of(opened),
            "last_change": opened.passages.last_change(),
        }
        report["bytes_on_disk"] = size = _size_on_disk(opened.folder)
    if as_json:
        print_json(report)
        return
    fields = {name: f"{count:,}" for name, count in counts.items()}
    fields["on disk"] = f"{size / 2**20:,.1f} MiB"
    fields["model"] = settings.model or translate("none: answers are quotes")
    fields |= {name: str(report[name]) for name in ("encoder", "database", "workspace")}
    print_fields(fields, make_console())
    if report["files_missing"]:
        echo(
            f"{report['files_missing']} files no longer exist; 'moli remove --missing' "
            "removes their documents."
        )


def _size_on_disk(folder: Path) -> int:
    """Bytes of all files in a folder; files that are deleted meanwhile are skipped."""
    size = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            size += path.stat().st_size if path.is_file() else 0
    return size
