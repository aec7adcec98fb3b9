"""Addresses of files and pages, and what is said of those that fail."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import httpx


def local_path(address: str) -> Path | None:
    """The path of a `file:` address, or of a folder that is written as one; None for the web's."""
    parts = urlsplit(address)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    return None if parts.scheme in ("http", "https") else Path(address).expanduser()


def with_login(address: str, page: str) -> str:
    """An address with the name and password of the page that lists it, if the host is the same."""
    login, at, host = urlsplit(page).netloc.rpartition("@")
    parts = urlsplit(address)
    is_same = at and parts.netloc == host
    return parts._replace(netloc=f"{login}@{host}").geturl() if is_same else address


def without_login(address: str) -> str:
    """An address as it may be shown: without a name and password."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def describe_failure(error: Exception) -> str:
    """Why an address failed, in a few words without the address."""
    if isinstance(error, httpx.HTTPStatusError):
        return f"{error.response.status_code} {error.response.reason_phrase}"
    return str(error) or type(error).__name__
