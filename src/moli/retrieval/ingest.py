"""Ingestion: files are read, cut and embedded, then stored a small group at a time.

    for report in Ingest(workspace, encoder).files(discover(paths)):
        ...

A report is given only after its document is committed. A document is stored whole, and in place of
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
from moli.parsing import SUFFIXES, Limits, Sandbox, detect
from moli.records.documents import Chunk, ParsedDocument, text_with_context
from moli.records.errors import DocumentError
from moli.records.ingestion import FileReport
from moli.retrieval.chunk import chunk
from moli.retrieval.tokens import language_of
from moli.workspace import Workspace
from moli.workspace.documents import NewDocument, StoredVersion

# Documents are committed together once they hold this many passages, or after this many seconds.
_GROUP_PASSAGES = 128
_GROUP_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Source:
    """A document that has been read: where it came from and what it says."""

    source: str
    format: str
    sha256: str
    bytes: int
    parsed: ParsedDocument


@dataclass(frozen=True, slots=True)
class Labels:
    """What is noted with every document of an ingestion: who may see it, and attributes.

    Without `groups`, documents that are stored already keep theirs and new ones are open to
    everyone: adding a folder again never opens what was closed.
    """

    groups: Sequence[str] | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Cut:
    source: Source
    chunks: list[Chunk]

    @property
    def texts(self) -> list[str]:
        """What the encoder reads of each chunk."""
        parsed = self.source.parsed
        return [
            text_with_context(parsed.title, each.heading, parsed.text[each.start : each.end])
            for each in self.chunks
        ]


class Ingest:
    """Adds documents to a workspace."""

    def __init__(self, workspace: Workspace, encoder: Encoder) -> None:
        self._documents = workspace.documents
        self._encoder = encoder
        settings = workspace.settings
        self._limits = Limits(
            file_bytes=settings.max_file_mb << 20,
            seconds=settings.parse_seconds,
            memory_bytes=settings.parse_memory_mb << 20,
        )

    def files(
        self, paths: Sequence[Path], labels: Labels | None = None, *, force: bool = False
    ) -> Iterator[FileReport]:
        """Add files; each is reported once it is stored, found unchanged, or has failed.

        Args:
            force: read files again even if their content is unchanged.
        """
        labels = labels or Labels()
        stored = {} if force else self._documents.stored_versions()
        with _Readers(self._limits) as readers:
            waiting: deque[tuple[Path, Future[Source | None]]] = deque()
            todo = iter(paths)

            def outcomes() -> Iterator[Source | FileReport]:
                while True:
                    while len(waiting) < 2 * readers.count and (path := next(todo, None)):
                        waiting.append((path, readers.submit(path, stored)))
                    if not waiting:
                        return
                    path, future = waiting.popleft()
                    yield self._outcome(path, future, labels)

            yield from self._store(outcomes(), labels)

    def documents(
        self, sources: Iterable[Source], labels: Labels | None = None
    ) -> Iterator[FileReport]:
        """Add documents that are already read."""
        return self._store(sources, labels or Labels())

    def texts(self, texts: Mapping[str, str], labels: Labels | None = None) -> Iterator[FileReport]:
        """Add plain texts by their source name."""
        return self.documents((source_of_text(*item) for item in texts.items()), labels)

    def _outcome(
        self, path: Path, future: Future[Source | None], labels: Labels
    ) -> Source | FileReport:
        try:
            source = future.result()
        except DocumentError as error:
            return FileReport(str(path), "failed", reason=error.reason, message=str(error))
        if source is None:
            if labels.groups is not None or labels.attributes:
                self._documents.relabel(str(path), labels.groups, labels.attributes)
            return FileReport(str(path), "unchanged")
        return source

    def _store(
        self, outcomes: Iterable[Source | FileReport], labels: Labels
    ) -> Iterator[FileReport]:
        group: list[_Cut] = []
        held = 0
        opened = time.monotonic()
        for outcome in outcomes:
            if isinstance(outcome, FileReport):
                yield outcome
            else:
                cut = _Cut(outcome, chunk(outcome.parsed))
                group.append(cut)
                held += len(cut.chunks)
            if held >= _GROUP_PASSAGES or time.monotonic() - opened > _GROUP_SECONDS:
                yield from self._commit(group, labels)
                group, held, opened = [], 0, time.monotonic()
        yield from self._commit(group, labels)

    def _commit(self, group: list[_Cut], labels: Labels) -> list[FileReport]:
        if not group:
            return []
        texts = [text for cut in group for text in cut.texts]
        vectors = self._encoder.encode(texts)
        ends = np.cumsum([len(cut.chunks) for cut in group])
        replaced = self._documents.put(
            NewDocument(
                source=cut.source.source,
                format=cut.source.format,
                language=language_of(cut.source.parsed.text[:20_000]),
                sha256=cut.source.sha256,
                bytes=cut.source.bytes,
                parsed=cut.source.parsed,
                chunks=cut.chunks,
                encoder=self._encoder.name,
                vectors=vectors[end - len(cut.chunks) : end],
                groups=labels.groups,
                attributes=labels.attributes,
            )
            for cut, end in zip(group, ends, strict=True)
        )
        return [
            FileReport(
                source=cut.source.source,
                outcome="updated" if cut.source.source in replaced else "added",
                passages=len(cut.chunks),
                characters=len(cut.source.parsed.text),
                message=" ".join(cut.source.parsed.warnings),
            )
            for cut in group
        ]


def encode_missing(workspace: Workspace, encoder: Encoder, batch: int = 256) -> int:
    """Give every passage a vector of this encoder; returns how many had none."""
    encoded = 0
    while passages := workspace.passages.without_vectors(encoder.name, batch):
        vectors = encoder.encode([passage.text_with_context for passage in passages])
        workspace.passages.set_vectors(encoder.name, [each.id for each in passages], vectors)
        encoded += len(passages)
    return encoded


class _Readers:
    """Files are read ahead by a few child processes while the encoder works."""

    def __init__(self, limits: Limits) -> None:
        self.count = min(os.cpu_count() or 1, 4)
        self._limits = limits
        self._pool = ThreadPoolExecutor(self.count, thread_name_prefix="reader")
        self._local = threading.local()
        self._sandboxes: list[Sandbox] = []

    def __enter__(self) -> _Readers:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        for sandbox in self._sandboxes:
            sandbox.close()

    def submit(self, path: Path, stored: Mapping[str, StoredVersion]) -> Future[Source | None]:
        """Read a file; the result is None if it is stored with this content already."""
        return self._pool.submit(self._read, path, stored)

    def _read(self, path: Path, stored: Mapping[str, StoredVersion]) -> Source | None:
        try:
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size = path.stat().st_size
        except OSError as error:
            raise DocumentError(
                "missing", f"cannot be read ({error.strerror})", where=str(path)
            ) from error
        known = stored.get(str(path))
        if known and known.sha256 == sha256:
            return None
        if not hasattr(self._local, "sandbox"):
            self._local.sandbox = Sandbox(self._limits)
            self._sandboxes.append(self._local.sandbox)
        parsed = _titled(self._local.sandbox.parse(path), path)
        kind = SUFFIXES.get(path.suffix.lower()) or detect(path.read_bytes(), path.name)
        return Source(str(path), kind, sha256, size, parsed)


def _titled(parsed: ParsedDocument, path: Path) -> ParsedDocument:
    """The document with a title: its own, else its first heading, else the file's name."""
    heading = next((each.text for each in parsed.headings if each.level == 1), "")
    return replace(parsed, title=parsed.title or heading or path.stem.replace("_", " "))


def discover(paths: Sequence[str]) -> tuple[list[Path], list[FileReport]]:
    """Files below `paths` (files, folders, glob patterns), and a report on each path left out.

    Folders give the files of known suffix, hidden ones left out; the others are reported as
    skipped. A file named outright is taken whatever its name.
    """
    found: dict[Path, None] = {}
    others: list[FileReport] = []
    for text in paths:
        try:
            path = _absolute(text)
            named = [path] if path.exists() else _glob(path)
        except (OSError, RuntimeError, ValueError):  # too long, no such user, or a NUL
            named = []
        if not named:
            others.append(_unusable(text, "missing", "no such file or folder. Check the path"))
        for path in named:
            inside = path.is_dir()
            for each in _below(path) if inside else [path]:
                if inside and each.suffix.lower() not in SUFFIXES:
                    others.append(FileReport(_printable(each), "skipped", reason="unsupported"))
                elif not (inside or each.is_file()):
                    others.append(_unusable(each, "unsupported", "neither a file nor a folder"))
                elif _printable(each) != str(each):
                    others.append(
                        _unusable(each, "unsupported", "its name is not UTF-8. Rename it")
                    )
                else:
                    found[each] = None
    return list(found), others


def _absolute(text: str) -> Path:
    """One spelling for each file: the path from the root, without `~` and `..`."""
    path = Path(text).expanduser().absolute()
    return path.resolve() if ".." in path.parts else path


def _unusable(path: Path | str, reason: str, what: str) -> FileReport:
    name = _printable(path)
    return FileReport(name, "failed", reason=reason, message=f"{name}: {what}.")


def _printable(path: Path | str) -> str:
    """The path with bytes that are not UTF-8 replaced, which no output or database would take."""
    return os.fsencode(path).decode("utf-8", "replace")


def _glob(pattern: Path) -> list[Path]:
    """What a pattern names; the part before its first wildcard is where to look."""
    parts = pattern.parts
    fixed = next((i for i, part in enumerate(parts) if set(part) & set("*?[")), len(parts))
    if fixed == len(parts):
        return []
    return sorted(Path(*parts[:fixed]).glob(str(Path(*parts[fixed:]))))


def _below(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(root, name)
            if not name.startswith(".") and path.is_file():
                yield path


def source_of_text(name: str, text: str, title: str = "") -> Source:
    """A plain text as a source, known by `name`."""
    data = text.encode()
    digest = hashlib.sha256(data).hexdigest()
    return Source(name, "txt", digest, len(data), ParsedDocument(text, title=title))
