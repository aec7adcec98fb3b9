"""Moli: a local-first workbench that turns a base language model into a team's own assistant.

    import moli

    moli.add("notes")
    print(moli.ask("How long are backups kept?").text)

Importing the package imports none of its parts; what the names below stand for is loaded when it is
first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = [
    "MoliError",
    "Workspace",
    "add",
    "ask",
    "check",
    "check_answers",
    "classify",
    "evaluate",
    "init",
    "predict",
    "search",
    "serve",
    "tune",
]
_MODULES = {"MoliError": "moli.records.errors", "Workspace": "moli.workspace"}  # others: moli.api

if TYPE_CHECKING:
    from moli.api import (
        add,
        ask,
        check,
        check_answers,
        classify,
        evaluate,
        init,
        predict,
        search,
        serve,
        tune,
    )
    from moli.records.errors import MoliError
    from moli.workspace import Workspace
else:

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module 'moli' has no attribute {name!r}")
        return getattr(import_module(_MODULES.get(name, "moli.api")), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
