"""The language that a person prefers: by a variable, the workspace's settings, or the locale."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path

from moli.translations.catalogue import Language

_LOCALE_VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")  # the first that is set counts


def preferred_language(folder: Path, environment: Mapping[str, str] = os.environ) -> Language:
    """MOLI_LANGUAGE, `language` in the nearest moli.toml, or the locale's language.

    Any language that there is no catalogue for means English. A moli.toml that cannot be read is
    left to the command, which says so.

    Args:
        folder: the folder from which moli.toml is looked for upwards.
    """
    chosen = environment.get("MOLI_LANGUAGE") or _language_setting(folder)
    if chosen:
        return "zh" if chosen == "zh" else "en"
    set_variables = (environment[name] for name in _LOCALE_VARIABLES if environment.get(name))
    locale = next(set_variables, "")
    if locale and locale.split(".")[0] not in ("C", "POSIX"):
        # GNU's list of languages, of which the first is preferred; it counts in no plain locale.
        locale = environment.get("LANGUAGE") or locale
    return "zh" if locale.lower().startswith("zh") else "en"


def _language_setting(folder: Path) -> str:
    """The value of `language` in the nearest moli.toml from a folder upwards; "" if none."""
    folder = folder.absolute()
    for parent in (folder, *folder.parents):
        path = parent / "moli.toml"
        if path.is_file():
            try:
                return str(tomllib.loads(path.read_text(encoding="utf-8")).get("language", ""))
            except (OSError, ValueError):  # no TOML or no UTF-8
                return ""
    return ""
