"""The language that a person prefers: by a variable, a setting, the locale, or a browser."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
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


def requested_language(accept_language: str) -> Language:
    """The language that a request prefers, by its Accept-Language header; English if neither.

    >>> requested_language("fr, zh-TW;q=0.8, en;q=0.5")
    'zh'
    """
    preferences = map(_parse_preference, accept_language.split(","))
    for preferred in sorted(preferences, key=lambda each: -each.weight):
        if preferred.weight > 0 and preferred.language in ("zh", "en"):
            return "zh" if preferred.language == "zh" else "en"
    return "en"


@dataclass(frozen=True, slots=True)
class _Preference:
    """A language of an Accept-Language header, such as "en", and its weight from 0 to 1."""

    language: str
    weight: float


def _parse_preference(entry: str) -> _Preference:
    """One entry of the header, such as "en-GB;q=0.9"; its weight is 0 if it cannot be read."""
    tag, _, quality = entry.strip().partition(";")
    try:
        weight = float(quality.strip().removeprefix("q=")) if quality else 1.0
    except ValueError:
        weight = 0.0
    return _Preference(tag.strip().lower().split("-")[0], weight)


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
