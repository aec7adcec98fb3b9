"""Adapters and whole models that were made here, kept by their content and found by alias.

A model's files lie in `.moli/adapters/<sha256>/` as PEFT or transformers wrote them, so that other
programs load them from there, with Moli's `manifest.json` beside them; see `content`.
"""

from __future__ import annotations

import difflib
import re
import shutil
import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path

from moli.records.errors import InputError, NotFoundError, WorkspaceError
from moli.records.models import Manifest
from moli.workspace.aliases import (
    Pointing,
    aliases_of,
    check_alias,
    current_aliases,
    in_force,
    point,
    pointings,
)
from moli.workspace.content import (
    SHOWN,
    Difference,
    StoredModel,
    check_folder,
    differences_of,
    stored_in,
    sync,
    write_draft,
)
from moli.workspace.database import Database
from moli.workspace.shipped import is_shipped, shipped

_CONTENT = re.compile(r"[0-9a-f]{64}")
_PREFIX = re.compile(r"[0-9a-f]{4,64}")
_ABANDONED = 24 * 3600.0  # seconds after which a draft counts as left by a crash
_HINT = "Give an alias, or 4 or more characters of a hash; 'moli models list' shows both."


class ModelStore:
    """Models on disk, and their aliases in the store of record.

    A model is there whole or not at all: its files are written next to their place, synced to disk
    and moved in by one rename. Where that meets aliases and removals, the database's queue of
    writers decides the order, in whatever process they are.
    """

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._folder = folder

    # Writing

    def add(self, folder: Path, manifest: Manifest, alias: str = "") -> StoredModel:
        """Copy a model into the store, and point `alias` at it where one is given.

        If its content is stored already it keeps the manifest it has; if that copy was damaged,
        this one takes its place.

        Raises:
            InputError: the folder holds no model, or the alias is not one.
            WorkspaceError: the files cannot be read or written.
        """
        if alias:
            check_alias(alias)
        check_folder(folder)
        self._sweep()
        draft = self._folder / f".new-{uuid.uuid4().hex}"
        try:
            content = write_draft(folder, draft, manifest)
            self._keep(draft, content, alias)
        except OSError as error:
            raise WorkspaceError(
                f"the model cannot be stored ({error})",
                where=str(folder),
                fix="Check the disk space and the permissions.",
            ) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return self._stored(content, alias, self._current())

    def point(self, alias: str, reference: str) -> StoredModel:
        """Point an alias at a stored model; what it pointed at before stays in its history.

        Raises:
            InputError: the name is not one for an alias, or several models fit the reference.
            NotFoundError: no model fits it.
        """
        check_alias(alias)
        content, _ = self._resolve(reference)
        with self._database.write() as connection:
            self._place(content)  # it may have been removed meanwhile
            point(connection, alias, content)
        return self._stored(content, alias, self._current())

    def retire(self, alias: str) -> None:
        """Have an alias point at nothing; its history stays.

        Raises:
            NotFoundError: there is no such alias.
        """
        with self._database.write() as connection:
            current = current_aliases(connection)
            if alias not in current:
                raise _unknown(alias, current)
            point(connection, alias, "")

    def remove(self, reference: str) -> str:
        """Remove a model from the disk and return its hash.

        Raises:
            InputError: an alias points at it, or several models fit the reference.
            NotFoundError: no model fits it.
        """
        content, _ = self._resolve(reference)
        with self._database.write() as connection:
            aliases = aliases_of(content, current_aliases(connection))
            if aliases:
                raise InputError(
                    f"{content[:SHOWN]} is in use as {' and '.join(aliases)}",
                    fix=f"Point the alias elsewhere first: moli models alias {aliases[0]} HASH "
                    "(or --retire).",
                )
            self._place(content).rename(self._folder / f".gone-{uuid.uuid4().hex}")
        self._sweep()
        return content

    # Reading

    def get(self, reference: str) -> StoredModel:
        """The model by an alias, by `alias@hash` of those the alias has ever had, or by its hash.

        A hash may be cut to 4 characters or more. Where an alias could also be the beginning of a
        hash, the alias is meant; a whole hash always means that content. `builtin:NAME` is one
        that ships with Moli; the store does not list it, nor can an alias point at it.

        Raises:
            InputError: several models fit.
            NotFoundError: none does; similar names are suggested.
            WorkspaceError: its manifest cannot be read.
        """
        if is_shipped(reference):
            return shipped(reference)
        content, alias = self._resolve(reference)
        return self._stored(content, alias, self._current())

    def list(self) -> list[StoredModel]:
        """All models, the newest first."""
        current = self._current()
        found = [self._stored(content, "", current) for content in self._contents()]
        return sorted(found, key=lambda each: (-each.manifest.created_at, each.hash))

    def history(self, alias: str) -> tuple[Pointing, ...]:
        """All that an alias has pointed at, the newest first.

        Raises:
            NotFoundError: there never was such an alias.
        """
        with self._database.read() as connection:
            rows = pointings(connection)
        found = tuple(reversed([row for row in rows if row.alias == alias]))
        if not found:
            raise _unknown(alias, [row.alias for row in rows])
        return found

    def verify(self, stored: StoredModel) -> tuple[Difference, ...]:
        """Hash a model's files anew and say which are not what its name stands for."""
        return differences_of(stored.folder, stored.hash)

    # How it is done

    def _keep(self, draft: Path, content: str, alias: str) -> None:
        """Move a draft to its place, unless the same content is there already."""
        place = self._folder / content
        damaged = place.exists() and bool(differences_of(place, content))
        with self._database.write() as connection:
            if damaged and place.exists():
                place.rename(self._folder / f".gone-{uuid.uuid4().hex}")
            if not place.exists():
                draft.rename(place)
                sync(self._folder)
            if alias:
                point(connection, alias, content)

    def _resolve(self, reference: str) -> tuple[str, str]:
        """The hash of the one model that is meant, and the alias it was named by, if any."""
        with self._database.read() as connection:
            rows = pointings(connection)
        current = in_force(rows)
        contents = self._contents()
        if reference in contents:
            return reference, ""
        if reference in current:
            self._place(current[reference])
            return current[reference], reference
        alias, _, prefix = reference.rpartition("@")
        had = {row.hash for row in rows if row.alias == alias}
        fitting = [
            content
            for content in contents
            if content.startswith(prefix) and (content in had or not alias)
        ]
        if not _PREFIX.fullmatch(prefix) or not fitting:
            names = (f"{row.alias}@{row.hash[:SHOWN]}" for row in rows if row.hash)
            raise _unknown(reference, [*current, *names])
        if len(fitting) > 1:
            raise InputError(
                f"'{reference}' is ambiguous: {' or '.join(each[:16] for each in fitting)}",
                fix="Give more characters of the hash.",
            )
        return fitting[0], alias

    def _contents(self) -> tuple[str, ...]:
        """The hashes of all models on disk, in order."""
        if not self._folder.is_dir():
            return ()
        names = (each.name for each in self._folder.iterdir() if each.is_dir())
        return tuple(sorted(name for name in names if _CONTENT.fullmatch(name)))

    def _place(self, content: str) -> Path:
        """The folder of a model that has to be there."""
        place = self._folder / content
        if not place.is_dir():
            raise NotFoundError(
                f"the model {content[:SHOWN]} is not on this disk",
                where=str(self._folder),
                fix="Train or copy it again, or take another; 'moli models list' shows them.",
            )
        return place

    def _current(self) -> dict[str, str]:
        with self._database.read() as connection:
            return current_aliases(connection)

    def _stored(self, content: str, alias: str, current: Mapping[str, str]) -> StoredModel:
        place = self._place(content)
        aliases = aliases_of(content, current)
        alias = alias or next(iter(aliases), "")
        name = f"{alias}@{content[:SHOWN]}" if alias else content[:SHOWN]
        return stored_in(place, name, content, aliases)

    def _sweep(self) -> None:
        """Make the store's folder, and clear it of what removals and crashes left."""
        self._folder.mkdir(parents=True, exist_ok=True)
        old = time.time() - _ABANDONED
        drafts = self._folder.glob(".new-*")
        abandoned = [draft for draft in drafts if _modified(draft) < old]
        for each in (*self._folder.glob(".gone-*"), *abandoned):
            shutil.rmtree(each, ignore_errors=True)


def _unknown(reference: str, names: Iterable[str]) -> NotFoundError:
    near = difflib.get_close_matches(reference, list(dict.fromkeys(names)), n=3, cutoff=0.5)
    asked = f"Did you mean {' or '.join(near)}? " if near else ""
    return NotFoundError(f"no model is called '{reference}'", fix=asked + _HINT)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()
