"""The two search indexes of a workspace, updated from the database's change log.

The log is a numbered list of the passages that were added and removed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from moli.models.protocols.encoder import Encoder
from moli.records.documents import Change
from moli.records.errors import WorkspaceError
from moli.retrieval.dense import DenseIndex
from moli.retrieval.lexical import LexicalIndex
from moli.workspace import Workspace
from moli.workspace.disk_space import explain_full_disk

_CHANGES_PER_COMMIT = 10_000
_PASSAGES_PER_MERGE = 2000
_TIMEOUT = 2.0  # seconds that a search waits for another process that updates the index


class Indexes:
    """The lexical and the dense index. Many threads may search; one at a time applies changes."""

    def __init__(self, workspace: Workspace, encoder: Encoder) -> None:
        self._workspace = workspace
        self._passages = workspace.passages
        self._lock = threading.Lock()
        folder = workspace.cache / "index" / workspace.database.identity()
        self.lexical = LexicalIndex(folder / "lexical")
        self.dense = DenseIndex(folder / "dense", encoder)
        self._erase_if_ahead()

    def catch_up(self, timeout: float = _TIMEOUT) -> int:
        """Apply all changes that the indexes lack, and return the number of the log's last change.

        If another process is doing so for longer than `timeout` seconds, or the disk is full, the
        index stays outdated for now. That is safe: its results are checked against the store before
        they are used.
        """
        newest = self._passages.last_change()
        if min(self.lexical.applied, self.dense.applied) >= newest:
            return newest
        with self._lock:
            for changes in self._changes_after(self.dense.applied):
                self.dense.apply(changes, self._passages)
            self.lexical.reload()
            if self.lexical.applied < newest:
                try:
                    with self._workspace.lock("lexical", timeout), self._explain_full_disk():
                        self.lexical.reload()
                        for changes in self._changes_after(self.lexical.applied):
                            self.lexical.apply(changes, self._passages)
                except WorkspaceError:
                    pass
        return newest

    def _erase_if_ahead(self) -> None:
        """Erase indexes that are ahead of the log: the database was restored to an older state."""
        # The indexes are read first: the log may grow meanwhile, which does no harm.
        applied = max(self.lexical.applied, self.dense.applied)
        if applied > self._passages.last_change():
            self._erase()

    def _erase(self) -> None:
        """Erase both indexes."""
        with self._lock, self._workspace.lock("lexical"):
            self.lexical.clear()
            self.dense.clear()

    def _changes_after(self, applied: int) -> Iterator[list[Change]]:
        """The log's changes after number `applied`, in one list for each commit of an index."""
        while changes := self._passages.changes(applied, _CHANGES_PER_COMMIT):
            yield list(_merge_adjacent(changes))
            applied = changes[-1].seq

    def save(self) -> None:
        """Save the dense index for the next start.

        Raises:
            WorkspaceError: the disk is full.
        """
        with self._lock, self._workspace.lock("dense"), self._explain_full_disk():
            self.dense.save()

    def _explain_full_disk(self) -> AbstractContextManager[None]:
        """Turn errors of the indexes' libraries that the disk is full into one of our own."""
        return explain_full_disk(self._workspace.root)

    def rebuild(self) -> None:
        """Erase both indexes, including remains of removed texts, and build them again.

        Raises:
            WorkspaceError: the workspace is read-only.
        """
        self._workspace.check_writable()
        self._erase()
        self.catch_up(timeout=60)
        self.save()

    def status(self) -> dict[str, dict[str, int]]:
        """Number of passages in each index, and of changes that it lacks."""
        newest = self._passages.last_change()
        return {
            name: {"passages": len(index), "behind": newest - index.applied}
            for name, index in (("lexical", self.lexical), ("dense", self.dense))
        }


def _merge_adjacent(changes: Sequence[Change]) -> Iterator[Change]:
    """The changes with adjacent additions merged, so that one query reads all their passages."""
    merged = changes[0]
    for change in changes[1:]:
        is_adjacent = change.first_passage == merged.last_passage + 1
        is_short = _passage_count(merged) < _PASSAGES_PER_MERGE
        if merged.kind == change.kind == "add" and is_adjacent and is_short:
            merged = replace(change, first_passage=merged.first_passage)
        else:
            yield merged
            merged = change
    yield merged


def _passage_count(change: Change) -> int:
    """Number of passages in the range of a change."""
    return change.last_passage - change.first_passage + 1
