"""Both search indexes of a workspace, kept level with the change log of the store."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

from moli.models.protocols.encoder import Encoder
from moli.records.documents import Change
from moli.records.errors import WorkspaceError
from moli.retrieval.dense import DenseIndex
from moli.retrieval.lexical import LexicalIndex
from moli.workspace import Workspace

_CHANGES_PER_COMMIT = 10_000
_PASSAGES_PER_RUN = 2000
_PATIENCE = 2.0  # seconds a search waits while another process brings the index up to date


class Indexes:
    """The lexical and the dense index. Many threads may search; one at a time catches up."""

    def __init__(self, workspace: Workspace, encoder: Encoder) -> None:
        self._workspace = workspace
        self._passages = workspace.passages
        self._guard = threading.Lock()
        folder = workspace.cache / "index" / workspace.database.identity()
        self.lexical = LexicalIndex(folder / "lexical")
        self.dense = DenseIndex(folder / "dense", encoder)
        self._forget_the_future()

    def catch_up(self, patience: float = _PATIENCE) -> int:
        """Apply what the log has and the indexes have not; returns the log's last change.

        If another process is doing so for longer than `patience` seconds, the index stays behind
        for now. That is safe: what it returns is checked against the store before anyone sees it.
        """
        newest = self._passages.last_change()
        if min(self.lexical.applied, self.dense.applied) >= newest:
            return newest
        with self._guard:
            for changes in self._after(self.dense.applied):
                self.dense.apply(changes, self._passages)
            self.lexical.reload()
            if self.lexical.applied < newest:
                try:
                    with self._workspace.lock("lexical", patience):
                        self.lexical.reload()
                        for changes in self._after(self.lexical.applied):
                            self.lexical.apply(changes, self._passages)
                except WorkspaceError:
                    pass
        return newest

    def _forget_the_future(self) -> None:
        """Erase indexes ahead of the log: the database has been put back to an older state."""
        # The indexes first: the log may grow meanwhile, and then it is only further ahead.
        applied = max(self.lexical.applied, self.dense.applied)
        if applied > self._passages.last_change():
            self._erase()

    def _erase(self) -> None:
        with self._guard, self._workspace.lock("lexical"):
            self.lexical.clear()
            self.dense.clear()

    def _after(self, applied: int) -> Iterator[list[Change]]:
        while changes := self._passages.changes(applied, _CHANGES_PER_COMMIT):
            yield list(_joined(changes))
            applied = changes[-1].seq

    def save(self) -> None:
        """Keep the dense index for the next start."""
        with self._guard, self._workspace.lock("dense"):
            self.dense.save()

    def rebuild(self) -> None:
        """Erase both indexes, remains of removed text included, and derive them again."""
        self._erase()
        self.catch_up(patience=60)
        self.save()

    def status(self) -> dict[str, dict[str, int]]:
        """Passages in each index and how many changes it is behind the log."""
        newest = self._passages.last_change()
        return {
            name: {"passages": len(index), "behind": newest - index.applied}
            for name, index in (("lexical", self.lexical), ("dense", self.dense))
        }


def _joined(changes: Sequence[Change]) -> Iterator[Change]:
    """Changes, with runs of neighbouring additions merged so that one query reads a whole run."""
    run = changes[0]
    for change in changes[1:]:
        follows = change.first_passage == run.last_passage + 1
        if run.kind == change.kind == "add" and follows and _length(run) < _PASSAGES_PER_RUN:
            run = replace(change, first_passage=run.first_passage)
        else:
            yield run
            run = change
    yield run


def _length(change: Change) -> int:
    return change.last_passage - change.first_passage + 1
