"""Files of a repository on the hub, at one revision."""

from __future__ import annotations

from typing import Any

import httpx

from moli.models.downloads.addresses import describe_failure
from moli.models.downloads.transfer import Checksum, RemoteFile
from moli.models.weights.known import HubRepository

_SECONDS = 5.0  # for the hub's first answer: where it cannot be reached, there is another way


class HubUnreachableError(Exception):
    """The hub cannot be reached, or does not have the files; its text says why."""


def hub_files(repository: HubRepository) -> dict[str, RemoteFile]:
    """The files to fetch by name, with the hashes that they must have.

    Raises:
        HubUnreachableError: they cannot be had from the hub.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    if constants.HF_HUB_OFFLINE:
        raise HubUnreachableError("HF_HUB_OFFLINE is set")
    name, revision, headers = repository.name, repository.revision, build_hf_headers()
    address = f"{constants.ENDPOINT}/api/models/{name}/revision/{revision}"
    try:
        with httpx.Client(timeout=_SECONDS, follow_redirects=True) as client:
            response = client.get(address, params={"blobs": "true"}, headers=headers)
        response.raise_for_status()
        listed = {entry["rfilename"]: entry for entry in response.json()["siblings"]}
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise HubUnreachableError(describe_failure(error)) from error
    if missing := repository.files.keys() - listed.keys():
        raise HubUnreachableError(f"{name} lacks {', '.join(sorted(missing))}")
    return {
        file: RemoteFile(
            f"{constants.ENDPOINT}/{name}/resolve/{revision}/{file}",
            _checksum(sha256, listed[file]),
            int(listed[file].get("size") or 0),
            headers,
        )
        for file, sha256 in repository.files.items()
    }


def _checksum(sha256: str, entry: dict[str, Any]) -> Checksum:
    """The hash that a file must have: the known one, or the one that the hub lists."""
    listed = (entry.get("lfs") or {}).get("sha256", "")
    if sha256 or listed:
        return Checksum("sha256", sha256 or listed)
    return Checksum("git", entry.get("blobId", ""))
