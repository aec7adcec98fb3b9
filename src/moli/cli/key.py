"""`moli key`: add, list and revoke."""

from __future__ import annotations

import difflib
import time
from typing import Annotated

import typer

from moli.cli.command import App
from moli.cli.output import (
    JsonOption,
    WorkspaceOption,
    echo,
    open_workspace,
    print_json,
    print_table,
    warn,
)
from moli.records.documents import EVERYONE

app = App(help="Manage the keys of the server's users.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Whose key it is, such as anna or helpdesk.")]


@app.command()
def add(
    name: Name,
    admin: Annotated[
        bool, typer.Option("--admin", help="Also allow it to read metrics and all feedback.")
    ] = False,
    tenant: Annotated[
        str, typer.Option(help="Answers, feedback and caches are shared within a tenant only.")
    ] = "",
    group: Annotated[
        list[str] | None,
        typer.Option(
            "--group",
            "-g",
            help="See documents as a member of this group; may be repeated. Default: the "
            "tenant's name, or without one the groups in moli.toml.",
        ),
    ] = None,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Create a key. Its secret is shown once and is not stored.

    Once a key exists, every request to the server needs one.

    Example: moli key add anna --group support
    """
    with open_workspace(workspace) as opened:
        default = (tenant,) if tenant else opened.settings.groups
        created = opened.keys.add(
            name, scope="admin" if admin else "use", tenant=tenant, groups=group or default
        )
        known = opened.keys.document_groups()
    unknown = [each for each in created.key.groups if each not in {*known, EVERYONE}]
    for unknown_group in unknown if not as_json else ():
        warn(_describe_unknown_group(unknown_group, known))
    if as_json:
        print_json({"key": created.key, "secret": created.secret, "unknown_groups": unknown})
        return
    typer.echo(f"{name}: {created.secret}")
    echo(
        "Save it now: it is not shown again. Clients send it as 'Authorization: Bearer ...'.",
        err=True,
    )


@app.command("list")
def list_keys(as_json: JsonOption = False, workspace: WorkspaceOption = None) -> None:
    """List the keys, without their secrets.

    Example: moli key list
    """
    with open_workspace(workspace) as opened:
        keys = opened.keys.list()
    if as_json:
        print_json({"keys": keys})
        return
    if not keys:
        echo("No keys: the server answers everyone who reaches it. Next: moli key add NAME")
        return
    rows = []
    for key in keys:
        created, revoked = _format_date(key.created_at), _format_date(key.revoked_at)
        rows.append((key.name, key.scope, key.tenant, ", ".join(key.groups), created, revoked))
    print_table(("name", "scope", "tenant", "groups", "created", "revoked"), rows)


@app.command()
def revoke(name: Name, as_json: JsonOption = False, workspace: WorkspaceOption = None) -> None:
    """Revoke a key; running servers notice within a second.

    Example: moli key revoke anna
    """
    with open_workspace(workspace) as opened:
        revoked = opened.keys.revoke(name)
        left = len(opened.keys.valid())
    if as_json:
        print_json({"key": revoked, "left": left})
        return
    echo(f"{name} is revoked; {left} keys are left.")


def _describe_unknown_group(group: str, known: set[str]) -> str:
    """A warning of a group that no document is open to, with the one that may have been meant."""
    near = difflib.get_close_matches(group, known, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return f"no document is open to the group '{group}', so it shows nothing yet.{hint}"


def _format_date(timestamp: float | None) -> str:
    """The local date of a Unix timestamp; "" for None."""
    return time.strftime("%Y-%m-%d", time.localtime(timestamp)) if timestamp else ""
