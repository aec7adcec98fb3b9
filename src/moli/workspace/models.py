"""Adapters and whole models that were made here, stored by their content and named by aliases.

A model's files are in `.moli/adapters/<sha256>/` as PEFT or transformers wrote them, so that other
programs load them from there, with Moli's `manifest.json`, which `content` writes.
"""

from __future__ import annotations

import difflib
import re
import shutil
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from moli.records.errors import InputError, NotFoundError, WorkspaceError
from moli.records.models import Manifest
from moli.workspace.aliases import (
    AliasTarget,
    alias_history,
    aliases_of,
    check_alias,
    current_aliases,
    current_targets,
    set_alias,
)
from moli.workspace.bases import (
    with_absolute_paths,
    with_base,
    with_found_base,
    with_relative_paths,
)
from moli.workspace.content import (
    SHORT_HASH,
    Difference,
    StoredModel,
    check_folder,
    differences_of,
    read_stored_model,
    rewrite_manifest,
    sync,
    write_draft,
)
from moli.workspace.database import Database
from moli.workspace.shipped import is_shipped, shipped

_HASH = re.compile(r"[0-9a-f]{64}")
_HASH_PREFIX = re.compile(r"[0-9a-f]{4,64}")
_ABANDONED = 24 * 3600.0  # seconds after which a draft counts as left by a crash
_HINT = "Give an alias, or 4 or more characters of a hash; 'moli models list' shows both."


class ModelStore:
    """Models on disk, and their aliases in the workspace's database.

    A model is stored whole or not at all: its files are written to a draft folder, synced to disk
    and moved to their place by one rename. The database serializes additions, removals and changes
    of aliases, in whatever process they are.

    Args:
        folder: `.moli/adapters` in the workspace's folder.
    """

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._folder = folder
        self._root = folder.parent.parent

    # Writing

    def add(self, folder: Path, manifest: Manifest, alias: str = "") -> StoredModel:
        """Copy a model into the store, and point `alias` at it if one is given.

        A model that is stored already keeps its manifest; a damaged copy is replaced.

        Raises:
            InputError: the folder contains no model, or the alias is not valid.
            WorkspaceError: the files cannot be read or written.
        """
        if alias:
            check_alias(alias)
        check_folder(folder)
        self._remove_leftovers()
        draft = self._folder / f".new-{uuid.uuid4().hex}"
        try:
            content_hash = write_draft(folder, draft, with_relative_paths(manifest, self._root))
            self._install(draft, content_hash, alias)
        except OSError as error:
            raise WorkspaceError(
                f"the model cannot be stored ({error})",
                where=str(folder),
                fix="Check the disk space and the permissions.",
            ) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return self._stored_model(content_hash, alias, self._current_aliases())

    def point(self, alias: str, reference: str) -> StoredModel:
        """Point an alias at a stored model; the previous target stays in its history.

        Raises:
            InputError: the alias is not valid, or the reference is ambiguous.
            NotFoundError: no model matches the reference.
        """
        check_alias(alias)
        content_hash, _ = self._resolve(reference)
        with self._database.write() as connection:
            self._folder_of(content_hash)  # it may have been removed meanwhile
            set_alias(connection, alias, content_hash)
        return self._stored_model(content_hash, alias, self._current_aliases())

    def rebase(self, reference: str, folder: Path) -> StoredModel:
        """Record the folder that an adapter's base is in now.

        Raises:
            InputError: the model has no base, or the folder has other weights than its base.
            NotFoundError: no model matches the reference.
            WorkspaceError: the manifest cannot be written.
        """
        stored = self.get(reference)
        manifest = with_base(stored, folder)
        rewrite_manifest(stored.folder, with_relative_paths(manifest, self._root))
        return replace(stored, manifest=manifest)

    def retire(self, alias: str) -> None:
        """Make an alias point at nothing; its history stays.

        Raises:
            NotFoundError: there is no such alias.
        """
        with self._database.write() as connection:
            current = current_aliases(connection)
            if alias not in current:
                raise _unknown_model(alias, current)
            set_alias(connection, alias, "")

    def remove(self, reference: str) -> str:
        """Remove a model from the disk and return its hash.

        Raises:
            InputError: an alias points at the model, or the reference is ambiguous.
            NotFoundError: no model matches the reference.
        """
        content_hash, _ = self._resolve(reference)
        with self._database.write() as connection:
            aliases = aliases_of(content_hash, current_aliases(connection))
            if aliases:
                raise InputError(
                    f"{content_hash[:SHORT_HASH]} is in use as {' and '.join(aliases)}",
                    fix=f"Point the alias elsewhere first: moli models alias {aliases[0]} HASH "
                    "(or --retire).",
                )
            self._folder_of(content_hash).rename(self._folder / f".gone-{uuid.uuid4().hex}")
        self._remove_leftovers()
        return content_hash

    # Reading

    def get(self, reference: str) -> StoredModel:
        """The model that a reference names.

        Args:
            reference: an alias; a hash, or its first 4 or more characters; `alias@hash`, for a
                model that the alias has ever pointed at; or `builtin:NAME`, for a model that ships
                with Moli. An alias takes precedence over the beginning of a hash, but not over a
                whole hash.

        Raises:
            InputError: the reference is ambiguous.
            NotFoundError: no model matches it; similar names are suggested.
            WorkspaceError: the model's manifest cannot be read.
        """
        if is_shipped(reference):
            return shipped(reference)
        content_hash, alias = self._resolve(reference)
        stored = self._stored_model(content_hash, alias, self._current_aliases())
        return with_found_base(stored, self._root)

    def find(self, alias: str) -> StoredModel | None:
        """The model that an alias points at; None if it points at none that is on this disk."""
        current = self._current_aliases()
        content_hash = current.get(alias, "")
        if content_hash not in self._stored_hashes():
            return None
        return self._stored_model(content_hash, alias, current)

    def list(self) -> list[StoredModel]:
        """All models in the store, the newest first; models that ship are not among them."""
        current = self._current_aliases()
        models = [
            self._stored_model(content_hash, "", current) for content_hash in self._stored_hashes()
        ]
        return sorted(models, key=lambda model: (-model.manifest.created_at, model.hash))

    def history(self, alias: str) -> tuple[AliasTarget, ...]:
        """Every target that an alias has had, the newest first.

        Raises:
            NotFoundError: the alias never existed.
        """
        with self._database.read() as connection:
            rows = alias_history(connection)
        targets = tuple(reversed([row for row in rows if row.alias == alias]))
        if not targets:
            raise _unknown_model(alias, [row.alias for row in rows])
        return targets

    def verify(self, stored: StoredModel) -> tuple[Difference, ...]:
        """Hash a model's files again and return those that differ from when it was stored."""
        return differences_of(stored.folder, stored.hash)

    # Internals

    def _install(self, draft: Path, content_hash: str, alias: str) -> None:
        """Move a draft to its place, unless the same content is stored there already."""
        target = self._folder / content_hash
        damaged = target.exists() and bool(differences_of(target, content_hash))
        with self._database.write() as connection:
            if damaged and target.exists():
                target.rename(self._folder / f".gone-{uuid.uuid4().hex}")
            if not target.exists():
                draft.rename(target)
                sync(self._folder)
            if alias:
                set_alias(connection, alias, content_hash)

    def _resolve(self, reference: str) -> tuple[str, str]:
        """The hash of the model that a reference names, and the alias in the reference.

        The alias is "" if the reference is a hash. References and errors are those of `get`.
        """
        with self._database.read() as connection:
            rows = alias_history(connection)
        current = current_targets(rows)
        hashes = self._stored_hashes()
        if reference in hashes:
            return reference, ""
        if reference in current:
            self._folder_of(current[reference])
            return current[reference], reference
        alias, _, prefix = reference.rpartition("@")
        earlier = {row.hash for row in rows if row.alias == alias}
        matches = [
            content_hash
            for content_hash in hashes
            if content_hash.startswith(prefix) and (content_hash in earlier or not alias)
        ]
        if not _HASH_PREFIX.fullmatch(prefix) or not matches:
            names = (f"{row.alias}@{row.hash[:SHORT_HASH]}" for row in rows if row.hash)
            raise _unknown_model(reference, [*current, *names])
        if len(matches) > 1:
            raise InputError(
                f"'{reference}' is ambiguous: {' or '.join(each[:16] for each in matches)}",
                fix="Give more characters of the hash.",
            )
        return matches[0], alias

    def _stored_hashes(self) -> tuple[str, ...]:
        """The hashes of all models on disk, in order."""
        if not self._folder.is_dir():
            return ()
        names = (each.name for each in self._folder.iterdir() if each.is_dir())
        return tuple(sorted(name for name in names if _HASH.fullmatch(name)))

    def _folder_of(self, content_hash: str) -> Path:
        """The folder of a model, which must exist."""
        target = self._folder / content_hash
        if not target.is_dir():
            raise NotFoundError(
                f"the model {content_hash[:SHORT_HASH]} is not on this disk",
                where=str(self._folder),
                fix="Train or copy it again, or take another; 'moli models list' shows them.",
            )
        return target

    def _current_aliases(self) -> dict[str, str]:
        """Aliases to the hashes they point at now."""
        with self._database.read() as connection:
            return current_aliases(connection)

    def _stored_model(
        self, content_hash: str, alias: str, current: Mapping[str, str]
    ) -> StoredModel:
        """The model with this hash, named after `alias` or else its first alias."""
        target = self._folder_of(content_hash)
        aliases = aliases_of(content_hash, current)
        alias = alias or next(iter(aliases), "")
        name = f"{alias}@{content_hash[:SHORT_HASH]}" if alias else content_hash[:SHORT_HASH]
        stored = read_stored_model(target, name, content_hash, aliases)
        return replace(stored, manifest=with_absolute_paths(stored.manifest, self._root))

    def _remove_leftovers(self) -> None:
        """Make the store if needed, and delete what removals and crashes have left in it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        old = time.time() - _ABANDONED
        drafts = self._folder.glob(".new-*")
        abandoned = [draft for draft in drafts if _modified_at(draft) < old]
        for leftover in (*self._folder.glob(".gone-*"), *abandoned):
            shutil.rmtree(leftover, ignore_errors=True)


def _unknown_model(reference: str, names: Iterable[str]) -> NotFoundError:
    """The error for a reference that matches nothing, with similar names."""
    near = difflib.get_close_matches(reference, list(dict.fromkeys(names)), n=3, cutoff=0.5)
    question = f"Did you mean {' or '.join(near)}? " if near else ""
    return NotFoundError(f"no model is called '{reference}'", fix=question + _HINT)


def _modified_at(path: Path) -> float:
    """Time of a file's last change; now, if it was just removed."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()
