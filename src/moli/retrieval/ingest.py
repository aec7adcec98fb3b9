"""Ingestion: files are parsed, chunked and embedded, then stored in small batches.

    for report in Ingester(workspace, encoder).add_files(discover(paths)[0]):
        ...

A report is returned only after its document is committed. A document is stored whole, instead of
its older version, or not at all; so the process may be killed at any moment and simply run again.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from moli.models.protocols.encoder import Encoder
from moli.models.speech.whisper import load_recognizer
from moli.parsing import SUFFIXES, Limits, Sandbox, detect
from moli.parsing.formats import AUDIO, is_recording
from moli.parsing.recordings import transcribe_file
from moli.records.documents import Chunk, ParsedDocument, text_with_context
from moli.records.errors import DocumentError
from moli.records.file_names import file_name_text
from moli.records.ingestion import FileReport
from moli.retrieval.chinese import to_simplified
from moli.retrieval.chunk import chunk_document
from moli.retrieval.titles import title_of
from moli.retrieval.tokens import language_of
from moli.workspace import Workspace
from moli.workspace.documents import NewDocument, StoredVersion

# A batch of documents is committed once it has this many passages, or after this many seconds.
_BATCH_PASSAGES = 128
_BATCH_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class SourceDocument:
    """A parsed document and its origin.

    Attributes:
        source: the path or name that identifies the document.
        format: name of the file's format, such as `pdf`.
        sha256, bytes: hash and size of the file.
    """

    source: str
    format: str
    sha256: str
    bytes: int
    parsed: ParsedDocument


@dataclass(frozen=True, slots=True)
class _RecordingFile:
    """A file that is still to be transcribed, with its hash and its size in bytes."""

    path: Path
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class DocumentLabels:
    """Access groups and attributes for every document of an ingestion.

    If `groups` is None, documents that are stored already keep theirs and new ones are open to
    everyone: adding a folder again never opens a restricted document.
    """

    groups: Sequence[str] | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _ChunkedDocument:
    """A document and its chunks, ready for the encoder."""

    source: SourceDocument
    chunks: list[Chunk]

    @property
    def texts(self) -> list[str]:
        """The text of each chunk for the encoder."""
        parsed = self.source.parsed
        return [
            to_simplified(
                text_with_context(parsed.title, chunk.heading, parsed.text[chunk.start : chunk.end])
            )
            for chunk in self.chunks
        ]


class Ingester:
    """Adds documents to a workspace.

    Raises:
        ModelError: the workspace's settings name a speech model that there is not.
    """

    def __init__(self, workspace: Workspace, encoder: Encoder) -> None:
        self._documents = workspace.documents
        self._encoder = encoder
        settings = workspace.settings
        self._limits = Limits.from_settings(settings)
        self._recognizer = load_recognizer(settings.speech) if settings.speech else None

    def add_files(
        self, paths: Sequence[Path], labels: DocumentLabels | None = None, *, force: bool = False
    ) -> Iterator[FileReport]:
        """Add files, and report each once it is stored, is found unchanged, or has failed.

        Args:
            force: add files again even if their content is unchanged.
        """
        labels = labels or DocumentLabels()
        stored = {} if force else self._documents.stored_versions()
        with _ParserPool(self._limits) as pool:
            pending: deque[tuple[Path, Future[SourceDocument | _RecordingFile | None]]] = deque()
            remaining = iter(paths)

            def outcomes() -> Iterator[SourceDocument | FileReport]:
                """Parsed documents and reports, in the order of the paths."""
                while True:
                    while len(pending) < 2 * pool.size and (path := next(remaining, None)):
                        pending.append((path, pool.submit(path, stored)))
                    if not pending:
                        return
                    path, future = pending.popleft()
                    yield self._outcome(path, future, labels)

            yield from self._store(outcomes(), labels)

    def add_documents(
        self, sources: Iterable[SourceDocument], labels: DocumentLabels | None = None
    ) -> Iterator[FileReport]:
        """Add documents that are already parsed, and report each once it is stored."""
        return self._store(sources, labels or DocumentLabels())

    def _outcome(
        self,
        path: Path,
        future: Future[SourceDocument | _RecordingFile | None],
        labels: DocumentLabels,
    ) -> SourceDocument | FileReport:
        """The document in a file, or a report if it failed or is unchanged.

        An unchanged document is given the labels without being parsed again. A recording is
        transcribed here and not by a parser, so that one at a time has all cores.
        """
        name = file_name_text(path)
        try:
            source = future.result()
            if isinstance(source, _RecordingFile):
                return self._transcribe(source)
        except DocumentError as error:
            return FileReport(name, "failed", reason=error.reason, message=str(error))
        if source is None:
            if labels.groups is not None or labels.attributes:
                self._documents.relabel(name, labels.groups, labels.attributes)
            return FileReport(name, "unchanged")
        return source

    def _transcribe(self, file: _RecordingFile) -> SourceDocument:
        """The transcript of a recording."""
        with Sandbox(self._limits) as sandbox:
            parsed = transcribe_file(file.path, sandbox, self._recognizer)
        name = file_name_text(file.path)
        parsed = replace(parsed, title=title_of(parsed, Path(name), AUDIO))
        return SourceDocument(name, AUDIO, file.sha256, file.bytes, parsed)

    def _store(
        self, outcomes: Iterable[SourceDocument | FileReport], labels: DocumentLabels
    ) -> Iterator[FileReport]:
        """Store documents in batches, and pass reports through."""
        batch: list[_ChunkedDocument] = []
        passages = 0
        started = time.monotonic()
        for outcome in outcomes:
            if isinstance(outcome, FileReport):
                yield outcome
            else:
                document = _ChunkedDocument(outcome, chunk_document(outcome.parsed))
                batch.append(document)
                passages += len(document.chunks)
            if passages >= _BATCH_PASSAGES or time.monotonic() - started > _BATCH_SECONDS:
                yield from self._commit(batch, labels)
                batch, passages, started = [], 0, time.monotonic()
        yield from self._commit(batch, labels)

    def _commit(self, batch: list[_ChunkedDocument], labels: DocumentLabels) -> list[FileReport]:
        """Embed and store a batch of documents in one transaction."""
        if not batch:
            return []
        texts = [text for document in batch for text in document.texts]
        vectors = self._encoder.encode(texts, "passage")
        ends = np.cumsum([len(document.chunks) for document in batch])
        replaced = self._documents.put(
            NewDocument(
                source=document.source.source,
                format=document.source.format,
                language=language_of(document.source.parsed.text[:20_000]),
                sha256=document.source.sha256,
                bytes=document.source.bytes,
                parsed=document.source.parsed,
                chunks=document.chunks,
                encoder=self._encoder.name,
                vectors=vectors[end - len(document.chunks) : end],
                groups=labels.groups,
                attributes=labels.attributes,
            )
            for document, end in zip(batch, ends, strict=True)
        )
        return [
            FileReport(
                source=document.source.source,
                outcome="updated" if document.source.source in replaced else "added",
                passages=len(document.chunks),
                characters=len(document.source.parsed.text),
                message=_notes(document.source),
            )
            for document in batch
        ]


def _notes(source: SourceDocument) -> str:
    """The warnings about a document after the name of its file; empty if there are none."""
    warnings = "; ".join(source.parsed.warnings)
    return f"{Path(source.source).name}: {warnings}." if warnings else ""


def encode_missing(workspace: Workspace, encoder: Encoder, batch: int = 256) -> int:
    """Embed and store every passage that has no vector of this encoder; returns their number."""
    encoded = 0
    while passages := workspace.passages.without_vectors(encoder.name, batch):
        texts = [to_simplified(passage.text_with_context) for passage in passages]
        vectors = encoder.encode(texts, "passage")
        workspace.passages.set_vectors(encoder.name, [each.id for each in passages], vectors)
        encoded += len(passages)
    return encoded


class _ParserPool:
    """Parses files ahead in a few child processes while the encoder works."""

    def __init__(self, limits: Limits) -> None:
        self.size = min(os.cpu_count() or 1, 4)
        self._limits = limits
        self._pool = ThreadPoolExecutor(self.size, thread_name_prefix="reader")
        self._local = threading.local()
        self._sandboxes: list[Sandbox] = []

    def __enter__(self) -> _ParserPool:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        for sandbox in self._sandboxes:
            sandbox.close()

    def submit(
        self, path: Path, stored: Mapping[str, StoredVersion]
    ) -> Future[SourceDocument | _RecordingFile | None]:
        """Parse a file; the result is None if it is stored with this content already."""
        return self._pool.submit(self._parse, path, stored)

    def _parse(
        self, path: Path, stored: Mapping[str, StoredVersion]
    ) -> SourceDocument | _RecordingFile | None:
        """Parse a file in the sandbox of this thread, unless its content is stored already."""
        name = file_name_text(path)
        try:
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size = path.stat().st_size
            is_sound = is_recording(path)
        except OSError as error:
            raise DocumentError(
                "missing", f"cannot be read ({error.strerror})", where=name
            ) from error
        version = stored.get(name)
        if version and version.sha256 == sha256:
            return None
        if is_sound:
            return _RecordingFile(path, sha256, size)
        if not hasattr(self._local, "sandbox"):
            self._local.sandbox = Sandbox(self._limits)
            self._sandboxes.append(self._local.sandbox)
        parsed = self._local.sandbox.parse(path)
        kind = SUFFIXES.get(path.suffix.lower()) or detect(path.read_bytes(), path.name)
        parsed = replace(parsed, title=title_of(parsed, Path(name), kind))
        return SourceDocument(name, kind, sha256, size, parsed)


def source_from_text(name: str, text: str, title: str = "") -> SourceDocument:
    """A plain text as a document whose source is `name`."""
    data = text.encode()
    digest = hashlib.sha256(data).hexdigest()
    return SourceDocument(name, "txt", digest, len(data), ParsedDocument(text, title=title))
