"""A model's files on disk, their name by content, and the manifest stored with them.

The name is the SHA-256 of a list that has the SHA-256 and the name of each file, in order of the
names. With nothing but a shell, in the model's folder:

    find . -type f ! -path ./manifest.json -printf '%P\\0' | LC_ALL=C sort -z |
        xargs -0 sha256sum -z | sha256sum

The manifest contains that list, so that a changed file can be identified. The manifest itself is
not in the list, since it says when and by which run the weights were made: equal weights with equal
configurations have one name, whoever made them, and are stored once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from moli.records.errors import InputError, WorkspaceError
from moli.records.files import whole_file
from moli.records.models import Manifest

MANIFEST = "manifest.json"
SHORT_HASH = 8  # characters of a hash in a model's name
ADAPTER_CONFIG = "adapter_config.json"
_MANIFEST_TYPE = TypeAdapter(Manifest)
_DIGESTS_TYPE = TypeAdapter(dict[str, str])
# PEFT keeps these as sets and writes them in an order that differs from process to process.
_UNORDERED = ("target_modules", "exclude_modules")


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model that is stored in a workspace or ships with Moli.

    Attributes:
        name: for example `support@3f9c1a2b`, with the requested alias or else its first one;
            without any alias, `3f9c1a2b`. A model that ships is called `builtin:NAME`.
        hash: SHA-256 of its content, in hexadecimal.
        folder: the folder of its files, which must not be changed.
        aliases: aliases that point at it now.
        bytes: total size of its files, without the manifest.
    """

    name: str
    hash: str
    folder: Path
    manifest: Manifest
    aliases: tuple[str, ...]
    bytes: int


@dataclass(frozen=True, slots=True)
class Difference:
    """A file that is not as it was when its model was stored."""

    file: str
    what: Literal["changed", "missing", "added"]


def check_folder(folder: Path) -> None:
    """Check that a folder contains an adapter or a model.

    Raises:
        InputError: it contains neither, or a file's name is not printable.
    """
    if not (folder / ADAPTER_CONFIG).is_file() and not (folder / "config.json").is_file():
        raise InputError(
            f"neither an adapter ({ADAPTER_CONFIG}) nor a model (config.json)",
            where=str(folder),
            fix="Give the folder that save_pretrained wrote.",
        )
    for name in files_of(folder):
        if not name.isprintable():
            raise InputError(
                f"the file name {name!r} has unprintable characters",
                where=str(folder),
                fix="Rename the file.",
            )


def files_of(folder: Path) -> dict[str, Path]:
    """A model's files, without its manifest, by their names relative to its folder, sorted."""
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*"))}
    return {name: path for name, path in paths.items() if path.is_file() and name != MANIFEST}


def write_draft(folder: Path, draft: Path, manifest: Manifest) -> str:
    """Copy a model to a draft folder with its manifest, sync it to disk, and return its hash."""
    for name, path in files_of(folder).items():
        (draft / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, draft / name)
    if (draft / ADAPTER_CONFIG).is_file():
        _order_sets(draft / ADAPTER_CONFIG)
    digests = {name: _digest(path) for name, path in files_of(draft).items()}
    _write_manifest(draft, manifest, digests)
    sync_folder(draft)
    return _content_hash(digests)


def rewrite_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest of a stored model; the hashes of its files stay.

    Raises:
        WorkspaceError: the manifest cannot be read or written.
    """
    digests = read_manifest(folder)[1]
    try:
        _write_manifest(folder, manifest, digests)
    except OSError as error:
        raise WorkspaceError(
            f"the manifest cannot be written ({error.strerror})",
            where=str(folder),
            fix="Check the disk space and the permissions.",
        ) from error


def _write_manifest(folder: Path, manifest: Manifest, digests: Mapping[str, str]) -> None:
    """Write a manifest with the hashes of the model's files."""
    values = {**_MANIFEST_TYPE.dump_python(manifest, mode="json"), "files": digests}
    text = json.dumps(values, ensure_ascii=False, indent=2)
    with whole_file(folder / MANIFEST) as draft:
        draft.write_text(text + "\n", encoding="utf-8")


def _order_sets(path: Path) -> None:
    """Sort the unordered lists in an adapter's configuration, so that equal ones get one hash."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        sets = {key: sorted(values[key]) for key in _UNORDERED if isinstance(values.get(key), list)}
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError(
            f"not an adapter configuration ({error})", where=ADAPTER_CONFIG, fix="Save it again."
        ) from error
    if any(values[key] != ordered for key, ordered in sets.items()):
        write_adapter_config(path, values | sets)


def write_adapter_config(path: Path, config: Mapping[str, Any]) -> None:
    """Write an adapter's configuration in the layout of PEFT, with sorted keys."""
    path.write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")


def _digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _content_hash(digests: Mapping[str, str]) -> str:
    """The hash that names a model, from the hashes of its files."""
    lines = (
        digests[name].encode() + b"  " + os.fsencode(name) + b"\0"
        for name in sorted(digests, key=os.fsencode)
    )
    return hashlib.sha256(b"".join(lines)).hexdigest()


def read_manifest(folder: Path) -> tuple[Manifest, dict[str, str]]:
    """A model's manifest, and the hashes of its files by name as they were when it was stored.

    Raises:
        WorkspaceError: the manifest is missing or cannot be read.
    """
    path = folder / MANIFEST
    try:
        values: dict[str, Any] = dict(json.loads(path.read_text(encoding="utf-8")))
        digests = _DIGESTS_TYPE.validate_python(values.pop("files", None))
        return _MANIFEST_TYPE.validate_python(values), digests
    except (OSError, ValueError, TypeError) as error:
        raise WorkspaceError(
            f"the manifest cannot be read ({type(error).__name__})",
            where=str(path),
            fix=f"Add the same model again, or 'moli models remove {folder.name[:8]}'.",
        ) from error


def read_stored_model(
    folder: Path, name: str, content_hash: str = "", aliases: tuple[str, ...] = ()
) -> StoredModel:
    """The model in a folder.

    Args:
        content_hash: the model's hash; "" computes it from the manifest's list of files.

    Raises:
        WorkspaceError: the manifest is missing or cannot be read.
    """
    manifest, digests = read_manifest(folder)
    size = sum(path.stat().st_size for path in files_of(folder).values())
    return StoredModel(
        name, content_hash or _content_hash(digests), folder, manifest, aliases, size
    )


def differences_of(folder: Path, content_hash: str) -> tuple[Difference, ...]:
    """Differences between a folder's files and those of the model with this hash."""
    current = {name: _digest(path) for name, path in files_of(folder).items()}
    try:
        digests = read_manifest(folder)[1]
    except WorkspaceError:
        is_missing = not (folder / MANIFEST).exists()
        return (Difference(MANIFEST, "missing" if is_missing else "changed"),)
    differences = [
        Difference(name, "missing" if name not in current else "changed")
        for name, digest in digests.items()
        if current.get(name) != digest
    ]
    differences += [Difference(name, "added") for name in current if name not in digests]
    if _content_hash(digests) != content_hash:  # the list itself was changed
        differences.append(Difference(MANIFEST, "changed"))
    return tuple(differences)


def sync_folder(folder: Path) -> None:
    """Flush a folder to disk, with all that is in it."""
    for path in (*folder.rglob("*"), folder):
        sync(path)


def sync(path: Path) -> None:
    """Flush a file, or a folder's list of files, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
