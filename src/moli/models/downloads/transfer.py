"""Files that are fetched over HTTP: checked by their hash, and resumed where they were cut off."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import httpx

from moli.models.downloads.addresses import describe_failure, local_path, without_login
from moli.records.errors import ModelError

_TRIES = 5  # in a row without a byte
_PAUSE = 0.5  # seconds before the second try; twice as long before each further one

OnBytes = Callable[[int], None]  # gets the size of the file so far


@dataclass(frozen=True, slots=True)
class Checksum:
    """A hash that a file's content must have.

    Attributes:
        kind: "git" is the id that git gives a file with this content.
        value: in hexadecimal.
    """

    kind: Literal["sha256", "git"]
    value: str

    def fits(self, file: Path) -> bool:
        """Whether a file has the right content."""
        with file.open("rb") as opened:
            if self.kind == "sha256":
                return hashlib.file_digest(opened, "sha256").hexdigest() == self.value
            content = opened.read()  # git has only small files itself
        header = f"blob {len(content)}\0".encode()
        return hashlib.sha1(header + content, usedforsecurity=False).hexdigest() == self.value


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file to fetch.

    Attributes:
        address: `http:`, `https:` or `file:`.
        bytes: size of the file; 0 if it is not known.
        headers: what is sent with the request.
    """

    address: str
    checksum: Checksum
    bytes: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)


class UnreachableError(ModelError):
    """The rest of a file cannot be had from its address."""


def fetch(
    client: httpx.Client, remote: RemoteFile, part: Path, on_bytes: OnBytes = lambda _: None
) -> None:
    """Fetch a file; what an interrupted call has left of it is kept.

    Args:
        part: the path to write; it is removed if the content turns out to be wrong.

    Raises:
        UnreachableError: nothing comes any more.
        ModelError: the file has another content.
        OSError: it cannot be written.
    """
    path = local_path(remote.address)
    is_here = path is None and part.is_file() and remote.checksum.fits(part)
    if path is not None:
        shutil.copyfile(path, part)
    elif not is_here:
        _fetch_rest(client, remote, part, on_bytes)
    if not (is_here or remote.checksum.fits(part)):
        part.unlink()
        raise ModelError(
            f"its content is not the expected one, whose hash begins with "
            f"{remote.checksum.value[:12]}; it was not kept",
            where=without_login(remote.address),
            fix="Try again; if that does not help, its origin is not to be trusted.",
        )
    on_bytes(part.stat().st_size)


def _fetch_rest(client: httpx.Client, remote: RemoteFile, part: Path, on_bytes: OnBytes) -> None:
    """Append what is missing of a file, and try again from there when the connection is cut.

    Raises:
        UnreachableError: nothing comes any more.
    """
    failures = 0
    while True:
        size = _size(part)
        try:
            _append(client, remote, part, on_bytes)
            return
        except httpx.HTTPError as error:
            failures = 0 if _size(part) > size else failures + 1
            is_refused = isinstance(error, httpx.HTTPStatusError) and error.response.is_client_error
            if is_refused or failures == _TRIES:
                raise UnreachableError(
                    f"cannot be fetched ({describe_failure(error)})",
                    where=without_login(remote.address),
                    fix="Run the command again: it goes on where it stopped.",
                ) from error
            time.sleep(_PAUSE * 2 ** max(failures - 1, 0))


def _append(client: httpx.Client, remote: RemoteFile, part: Path, on_bytes: OnBytes) -> None:
    """Request what is missing of a file, and write it as it comes."""
    size = _size(part)
    rest = {"Range": f"bytes={size}-"} if size else {}
    # What is compressed on its way has other offsets than the file.
    headers = {**remote.headers, "Accept-Encoding": "identity", **rest}
    with client.stream("GET", remote.address, headers=headers) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # the file is whole, or a wrong one, which its hash will tell
        response.raise_for_status()
        is_rest = response.status_code == httpx.codes.PARTIAL_CONTENT
        with part.open("ab" if is_rest else "wb", buffering=0) as file:
            on_bytes(file.tell())
            for chunk in response.iter_raw():
                file.write(chunk)
                on_bytes(file.tell())


def _size(file: Path) -> int:
    """The size of a file; 0 if there is none."""
    return file.stat().st_size if file.exists() else 0
