"""Uploads: documents that admins add over HTTP, one file a request.

The files are kept in the workspace's folder `uploads`, from which `moli add` can read them again.
"""

from __future__ import annotations

import shutil
import unicodedata
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, BinaryIO

from fastapi import APIRouter, File, Request, UploadFile
from pydantic import Field

from moli.models.protocols.encoder import Encoder
from moli.records.errors import AccessError, InputError
from moli.records.file_names import file_name_text, path_of_text
from moli.records.ingestion import FileReport
from moli.retrieval.ingest import DocumentLabels, Ingester
from moli.serving.bodies import ShortText
from moli.serving.concurrency import WorkQueue
from moli.serving.dependencies import CallerDependency, LibraryDependency
from moli.serving.form_body import FormBody, FormRoute
from moli.serving.middleware import MAX_BODY
from moli.workspace import Settings, Workspace

router = APIRouter(route_class=FormRoute)
_PATH = "/v1/documents"
_FOLDER = "uploads"
_MAX_NAME = 200  # bytes; file systems allow 255, and a temporary name is longer


def larger_bodies(settings: Settings) -> dict[str, int]:
    """Maximum bytes of a request by path, with room for the largest file that is read."""
    return {_PATH: (settings.max_file_mb << 20) + MAX_BODY}


class UploadRequest(FormBody):
    """A file, and who may see it."""

    file: Annotated[UploadFile, Field(description="A document of any supported format")]
    groups: Annotated[
        list[Annotated[ShortText, Field(min_length=1)]],
        Field(max_length=1000, description="Groups that may see it; a new one: everyone"),
    ] = Field(default_factory=list)


@router.post(_PATH, status_code=201)
async def add_document(
    body: Annotated[UploadRequest, File()],
    library: LibraryDependency,
    caller: CallerDependency,
    request: Request,
) -> FileReport:
    """Add a document, or a new version of the one whose file has the same name."""
    if not caller.admin:
        raise AccessError("only an admin may add documents", fix="Use an admin key.")
    labels = DocumentLabels(tuple(body.groups) or None)
    uploads = Uploads(request.app.state.workspace, library.encoder)
    queue: WorkQueue = request.app.state.upload_queue
    work = partial(uploads.add, body.file.filename or "", body.file.file, labels)
    return await queue.run(request, work)


class Uploads:
    """The folder of uploaded files, all of which are documents of the library."""

    def __init__(self, workspace: Workspace, encoder: Encoder) -> None:
        self._workspace, self._encoder = workspace, encoder
        self._folder = workspace.root / _FOLDER

    def add(self, name: str, content: BinaryIO, labels: DocumentLabels) -> FileReport:
        """Keep a file and add it to the library; a file that cannot be read is not kept.

        Raises:
            InputError: its name cannot be used, or it cannot be read as a document.
        """
        path = self._folder / path_of_text(_checked_name(name))
        self._folder.mkdir(exist_ok=True)
        with TemporaryDirectory(prefix=".", dir=self._folder) as temporary:
            incoming, previous = Path(temporary, "incoming"), Path(temporary, "previous")
            with incoming.open("wb") as file:
                shutil.copyfileobj(content, file)
            if path.exists():
                path.rename(previous)
            incoming.rename(path)
            is_added = False
            try:
                [report] = Ingester(self._workspace, self._encoder).add_files([path], labels)
                is_added = report.outcome != "failed"
            finally:
                if not is_added:
                    path.unlink()
                    if previous.exists():
                        previous.rename(path)
        if not is_added:
            # The folder is this server's own business.
            raise InputError(report.message.replace(f"{file_name_text(self._folder)}/", ""))
        return report


def _checked_name(name: str) -> str:
    """The name of a file without its folder.

    Raises:
        InputError: it is empty, hidden, too long, or has characters that are not printed.
    """
    name = unicodedata.normalize("NFC", name.replace("\\", "/").rpartition("/")[2].strip())
    if not name or name.startswith(".") or not name.isprintable():
        raise InputError("the file has no usable name", where="file", fix="Rename it.")
    if len(name.encode()) > _MAX_NAME:
        raise InputError("the file's name is too long", where="file", fix="Shorten it.")
    return name
