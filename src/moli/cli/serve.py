"""`moli serve`."""

from __future__ import annotations

from typing import Annotated

import typer

from moli.cli.output import WorkspaceOption, echo


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; default: the setting.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port, 0 for any free one; default: the setting.")
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Start the server: the web page, and the API under /v1.

    Example: moli serve --port 8000
    """
    from moli.api import serve as run

    def say_ready(address: str) -> None:
        """Print the server's address."""
        echo(f"Moli is ready: {address}  (Ctrl-C stops it)")

    run(workspace=workspace, host=host, port=port, on_ready=say_ready)
    echo("Stopped. Documents, answers and feedback are stored.")
