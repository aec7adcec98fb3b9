"""The server: the API and the page, at one address."""

from __future__ import annotations

import contextlib
import errno
import logging
import signal
import socket
from collections.abc import Callable, Sequence

import uvicorn

from moli.console.page import mount_page
from moli.records.errors import WorkspaceError
from moli.serving.app import create_app
from moli.serving.connections import server_config
from moli.serving.request_log import add_log_handler
from moli.workspace import Workspace

_BACKLOG = 128
_SHUTDOWN_SECONDS = 6  # for which a server that is stopped goes on with answers in progress


def serve(
    workspace: Workspace,
    host: str,
    port: int,
    on_ready: Callable[[str], None],
    examples: Sequence[str] = (),
) -> None:
    """Serve a workspace until interrupted.

    Args:
        port: 0 for any free one.
        on_ready: called with the address as soon as the server answers there.
        examples: questions to offer on the page while nothing has been asked.

    Raises:
        WorkspaceError: the address cannot be listened on, or the workspace is read-only.
    """
    workspace.check_writable()  # every answer is stored with its trace
    with contextlib.closing(_listen(host, port)) as listener:
        add_log_handler(logging.StreamHandler())
        app = create_app(workspace, host=host)
        mount_page(app, examples)
        config = server_config(app, workspace.settings, timeout_graceful_shutdown=_SHUTDOWN_SECONDS)
        server = _Server(config, lambda: on_ready(_browser_address(host, listener)))
        # The server shuts down in order and then raises KeyboardInterrupt. SIGTERM has the same
        # effect as Ctrl-C.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with contextlib.suppress(KeyboardInterrupt):
            server.run([listener])


class _Server(uvicorn.Server):
    """A server that calls `on_ready` once it answers."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the server, and call `on_ready` unless that failed."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()


def _listen(host: str, port: int) -> socket.socket:
    """Open a listening socket.

    Raises:
        WorkspaceError: there is no such address, or it is in use.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise WorkspaceError(
            f"no such address ({error.strerror})", where=host, fix="Pass --host 127.0.0.1."
        ) from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # Before the models are loaded, so that a second server is refused from now on.
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        problem = "the port is in use" if error.errno == errno.EADDRINUSE else str(error.strerror)
        raise WorkspaceError(
            problem,
            where=f"{host}:{port}",
            fix="Stop the program that uses it, or pass --port 0 for any free port.",
        ) from error
    return listener


def _browser_address(host: str, listener: socket.socket) -> str:
    """The address to type into a browser on this machine."""
    port = listener.getsockname()[1]
    name = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104
    if ":" in name and not name.startswith("["):
        name = f"[{name}]"
    return f"http://{name}:{port}"
