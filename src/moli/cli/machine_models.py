"""The models of this machine: those that can be fetched, and those that were converted."""

from __future__ import annotations

from typing import Any

from moli.cli.output import echo, print_table
from moli.translations.catalogue import translate


def known_models() -> list[dict[str, Any]]:
    """The models that `moli models get` knows, each with its folder if it is on this machine."""
    from moli.models.weights import known as catalogue

    return [
        {
            "name": known.name,
            "title": known.title,
            "purpose": known.purpose,
            "languages": known.languages,
            "license": known.license,
            "bytes": known.bytes,
            "download_bytes": known.wheel.bytes,
            "hub": known.hub.name,
            "package": f"{known.wheel.project}=={known.wheel.version}",
            "folder": catalogue.installed_folder(known.name),
        }
        for known in catalogue.known_models().values()
    ]


def print_models_of_machine() -> None:
    """Print tables of the models that can be fetched, and of those that were converted here."""
    from moli.models.weights.converted import converted_models

    echo("Models that can be fetched, as in 'moli models get e5':")
    rows = [
        (
            known["name"],
            translate(known["purpose"]),
            known["languages"],
            known["license"],
            format_size(known["bytes"]),
            translate("here" if known["folder"] else "not here"),
        )
        for known in known_models()
    ]
    print_table(("name", "kind", "languages", "license", "size", "state"), rows, copied=("name",))
    if converted := converted_models():
        echo("Models that were converted from files, which are converted again when needed:")
        others = [(each.name, format_size(each.bytes), each.source) for each in converted]
        print_table(("name", "size", "source"), others, copied=("name",))


def format_size(size: int) -> str:
    """A number of bytes in MB."""
    return f"{size / 1e6:,.0f} MB"
