"""`moli init`."""

from pathlib import Path
from typing import Annotated

import typer

from moli.cli.output import JsonOption, echo, print_json


def init(
    folder: Annotated[Path, typer.Argument(help="Where to create it.")] = Path(),
    as_json: JsonOption = False,
) -> None:
    """Create a workspace: a folder with moli.toml and .moli/.

    Example: moli init ~/notes
    """
    from moli.workspace import Workspace

    with Workspace.init(folder) as workspace:
        if as_json:
            print_json({"workspace": workspace.root})
        else:
            echo(f"Workspace ready in {workspace.root}. Next: moli add PATH")
