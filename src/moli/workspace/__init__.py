"""Everything that Moli keeps on disk: settings, database, models and derived files.

with Workspace.open() as workspace:
    workspace.settings, workspace.documents, workspace.traces
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from sqlalchemy import URL, make_url

from moli.records.errors import WorkspaceError
from moli.records.file_names import file_name_text
from moli.workspace.database import Database
from moli.workspace.disk_space import is_disk_full
from moli.workspace.documents import DocumentStore
from moli.workspace.exchanges import ExchangeStore
from moli.workspace.feedback import FeedbackStore
from moli.workspace.keys import KeyStore
from moli.workspace.locks import hold_lock
from moli.workspace.models import ModelStore
from moli.workspace.passages import PassageStore
from moli.workspace.read_only import may_write, read_only_error, read_only_url
from moli.workspace.settings import SETTINGS_FILE, Settings, find_root, load_settings
from moli.workspace.shadows import ShadowStore
from moli.workspace.traces import TraceStore
from moli.workspace.tunings import TuningStore

__all__ = ["Settings", "Workspace"]


class Workspace:
    """A folder with `moli.toml` and `.moli/`: settings, the database, models and derived files."""

    def __init__(self, root: Path, settings: Settings) -> None:
        self.root = root
        self.settings = settings
        self.folder = root / ".moli"
        self._temporary_folder: TemporaryDirectory[str] | None = None

    @classmethod
    def init(cls, root: Path) -> Workspace:
        """Create a workspace in `root`; an existing one is opened unchanged."""
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WorkspaceError(
                f"the folder cannot be created ({error.strerror})",
                where=str(root),
                fix="Choose another place.",
            ) from error
        toml = root / SETTINGS_FILE
        if not toml.exists():
            toml.write_text(Settings.template(), encoding="utf-8")
        workspace = cls.open(root)
        workspace.check_writable()
        workspace.folder.mkdir(exist_ok=True)
        (workspace.folder / ".gitignore").write_text("*\n", encoding="utf-8")
        workspace.database.migrate()
        return workspace

    @classmethod
    def open(cls, start: Path | None = None) -> Workspace:
        """The workspace at `start` or in the nearest folder above it."""
        root = find_root(start or Path.cwd())
        return cls(root, load_settings(root))

    @cached_property
    def database(self) -> Database:
        """The workspace's database, migrated to this version's schema on first use.

        If the workspace is read-only, so is a database in it.
        """
        if self.is_read_only and not self.settings.database:
            database = Database(
                read_only_url(self._database_file, lambda: self._scratch), read_only=self.root
            )
            database.migrate()
            return database
        if not self.is_read_only:
            self.folder.mkdir(exist_ok=True)
        embedded = URL.create("sqlite", database=str(self._database_file))
        database = Database(self.settings.database or embedded)
        with self.lock("migrate"):
            database.migrate()
        return database

    @property
    def database_address(self) -> str:
        """The file of the embedded database; the URL of another one, without its password."""
        if self.settings.database:
            return make_url(self.settings.database).render_as_string(hide_password=True)
        return file_name_text(self._database_file)

    @cached_property
    def documents(self) -> DocumentStore:
        """Stored documents with their passages."""
        return DocumentStore(self.database)

    @cached_property
    def passages(self) -> PassageStore:
        """Stored passages, their vectors, and the change log."""
        return PassageStore(self.database)

    @cached_property
    def traces(self) -> TraceStore:
        """Records of answers from documents."""
        return TraceStore(self.database)

    @cached_property
    def exchanges(self) -> ExchangeStore:
        """Records of requests to language models and their answers."""
        return ExchangeStore(self.database)

    @cached_property
    def feedback(self) -> FeedbackStore:
        """People's feedback on answers."""
        return FeedbackStore(self.database)

    @cached_property
    def keys(self) -> KeyStore:
        """API keys of the server."""
        return KeyStore(self.database)

    @cached_property
    def shadows(self) -> ShadowStore:
        """Models that answer the same requests as an alias, for comparison."""
        return ShadowStore(self.database)

    @cached_property
    def tunings(self) -> TuningStore:
        """The tuned fusion of search scores for each language."""
        return TuningStore(self.database)

    @cached_property
    def models(self) -> ModelStore:
        """Adapters and models that were made here."""
        return ModelStore(self.database, self.folder / "adapters")

    @cached_property
    def is_read_only(self) -> bool:
        """Whether nothing can be written to the workspace's folder, or to its database's file.

        A full disk is one reason.
        """
        folder = self.folder if self.folder.exists() else self.root
        return not may_write(folder, self._database_file) or is_disk_full(folder)

    def check_writable(self) -> None:
        """Check that the workspace can be written to.

        Raises:
            WorkspaceError: it is read-only.
        """
        if self.is_read_only:
            raise read_only_error(self.root)

    @property
    def _database_file(self) -> Path:
        """The file of the embedded database."""
        return self.folder / "moli.db"

    @cached_property
    def _scratch(self) -> Path:
        """A folder for what a read-only workspace has to write while it is open."""
        try:
            self._temporary_folder = TemporaryDirectory(prefix="moli-")
        except OSError as error:
            raise WorkspaceError(
                f"no temporary folder can be written to ({error.strerror})",
                where=str(self.root),
                fix="Free some space, or set TMPDIR to a folder on another disk.",
            ) from error
        return Path(self._temporary_folder.name)

    @property
    def cache(self) -> Path:
        """The folder of derived files: any of them may be deleted and is created again.

        A read-only workspace has a copy.
        """
        path = self.folder / "cache"
        if self.is_read_only:
            copy = self._scratch / "cache"
            if path.is_dir() and not copy.exists():
                shutil.copytree(path, copy)
            path = copy
        path.mkdir(parents=True, exist_ok=True)
        return path

    @contextmanager
    def lock(self, name: str, timeout: float = 60.0) -> Iterator[None]:
        """Hold a lock among all processes that use this workspace.

        Raises:
            WorkspaceError: another process held it for `timeout` seconds.
        """
        folder = self._scratch if self.is_read_only else self.folder
        path = folder / "locks" / f"{name}.lock"
        with hold_lock(path, "the workspace", where=str(self.root), timeout=timeout):
            yield

    def close(self) -> None:
        """Close the database, if it was used, and remove what is temporary."""
        if "database" in self.__dict__:
            self.database.close()
        if self._temporary_folder:
            self._temporary_folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
