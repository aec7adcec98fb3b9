"""Settings: `moli.toml` next to `.moli/`, overridden by `MOLI_*` variables.

Unknown keys are errors: a misspelt setting that is silently ignored costs an afternoon.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from moli.records.documents import EVERYONE
from moli.records.errors import SettingsError, WorkspaceError

SETTINGS_FILE = "moli.toml"
_PREFIX = "MOLI_"
BACKEND_KEY = "MOLI_BACKEND_KEY"
SECRETS = (BACKEND_KEY,)  # never in the file, and read only where they are used
MODELS_FOLDER = "MOLI_MODELS"  # one folder for the machine, whatever the workspace


def _split_commas(value: Any) -> Any:
    """The parts of a text with commas, as lists are written in the environment.

    Any other value is returned as it is.
    """
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_commas)]


class Settings(BaseSettings):
    """Settings of a workspace. Every field has a default that works offline on a laptop."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        extra="forbid",
        frozen=True,
        env_ignore_empty=True,
        validate_default=False,  # a default of one setting gives way to another's value
    )

    model: str = Field("", description="Language model that writes answers; empty: verified quotes")
    encoder: str = Field(
        "auto", description="Sentence encoder; auto: e5 if it was fetched before the first document"
    )
    speech: str = Field("", description="Speech recognition model; empty: none")
    database: str = Field("", description="SQLAlchemy URL; empty: SQLite in .moli/moli.db")
    groups: Names = Field((EVERYONE,), description="Groups this workspace's users belong to")
    passages: int = Field(8, ge=1, le=100, description="Passages an answer is based on")
    confidence: float = Field(
        0.5, ge=0, le=1, description="Below this estimated probability, an answer is withheld"
    )
    unsure: float = Field(
        0.2,
        ge=0,
        le=1,
        description="From this probability on, the closest sentence is shown, as not sure",
    )
    host: str = Field("127.0.0.1", description="Address the server listens on")
    port: int = Field(7860, ge=0, le=65535, description="Port the server listens on")
    backend: Literal["", "vllm", "sglang"] = Field(
        "",
        description="What runs the language model: empty, this process; vllm or sglang, a server",
    )
    backend_url: str = Field("http://127.0.0.1:8000", description="Address of that server")
    rate: int = Field(0, ge=0, description="Requests per minute for each key; 0: no limit")
    queue: int = Field(64, ge=1, description="Answers that may wait for a model; more are refused")
    max_tokens: int = Field(
        4096,
        ge=1,
        description="Tokens of a language model's answer, unless a request says how many",
    )
    max_request_mb: int = Field(1, ge=1, description="Larger requests are refused")
    max_connections: int = Field(500, ge=1, description="Connections the server has at once")
    request_seconds: float = Field(
        60.0,
        gt=0,
        description="Time limit for a request's head, each MiB of its body and of a response",
    )
    log_texts: bool = Field(False, description="Write questions and answers to the log")
    max_file_mb: int = Field(200, ge=1, description="Larger files are refused")
    parse_seconds: int = Field(120, ge=1, description="Time limit for reading one file")
    parse_memory_mb: int = Field(3072, ge=256, description="Memory limit for reading one file")
    timeout_seconds: float = Field(120.0, gt=0, description="Time limit for one model call")
    examples: Names = Field((), description="Example questions on the page")
    language: Literal["", "en", "zh"] = Field(
        "", description="Language of the commands; empty: the locale's"
    )

    @field_validator("unsure")
    @classmethod
    def _is_ordered(cls, unsure: float, info: ValidationInfo) -> float:
        """The value, if it leaves room below `confidence`; the default need not."""
        if unsure > (confidence := info.data.get("confidence", 1.0)):
            raise ValueError(
                f"Give a number up to that of 'confidence', {confidence:g}; "
                "above it, an answer is shown instead."
            )
        return unsure

    @classmethod
    def template(cls) -> str:
        """The text of a new `moli.toml`: every setting with its default, commented out."""
        lines = ["# Settings of this Moli workspace. MOLI_<NAME> in the environment overrides.", ""]
        for name, field in cls.model_fields.items():
            lines += [f"# {field.description}", f"# {name} = {_toml(field.default)}", ""]
        return "\n".join(lines)

    @classmethod
    def settings_customise_sources(  # type: ignore[override]
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        **_others: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Sources of settings, the first having precedence: arguments, environment, file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def find_root(start: Path) -> Path:
    """The nearest folder, from `start` upwards, that contains `moli.toml`.

    Raises:
        WorkspaceError: no folder contains it.
    """
    start = start.resolve()
    if not start.is_dir():
        raise WorkspaceError(
            "no such folder", where=str(start), fix="Run 'moli init' there to make a workspace."
        )
    if (root := _root_above(start)) is not None:
        return root
    raise WorkspaceError(
        "no workspace here or in any folder above",
        where=str(start),
        fix="Run 'moli init' to make one, or pass --workspace FOLDER.",
    )


def has_workspace(start: Path) -> bool:
    """Whether a folder, or one above it, is a workspace's."""
    return _root_above(start.resolve()) is not None


def _root_above(start: Path) -> Path | None:
    """The nearest folder from an absolute one upwards that contains `moli.toml`."""
    folders = (start, *start.parents)
    return next((folder for folder in folders if (folder / SETTINGS_FILE).is_file()), None)


def load_settings(root: Path) -> Settings:
    """Settings of the workspace at `root`.

    Raises:
        SettingsError: a key is unknown (the most similar one is named), or a value is not valid.
    """
    path = root / SETTINGS_FILE
    text = _read(path)
    try:
        keys = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problem, _, place = str(error).partition(" (at ")
        line = re.match(r"line (\d+)", place)
        raise SettingsError(
            f"not valid TOML: {problem[0].lower()}{problem[1:]}",
            where=f"{path}:{line[1] if line else len(text.splitlines())}",
            fix='Correct that line. Texts stand in quotes: host = "127.0.0.1".',
        ) from error
    for key in keys:
        _check_known(key, key, _place(key, text, path))
    for variable in os.environ:
        if variable.startswith(_PREFIX) and variable not in (*SECRETS, MODELS_FOLDER):
            _check_known(variable, variable.removeprefix(_PREFIX).lower(), "environment")

    class FileSettings(Settings):
        """Settings with the workspace's file as a source."""

        model_config = SettingsConfigDict(toml_file=path)

    try:
        return FileSettings()
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        variable = _PREFIX + name.upper()
        place = _place(name, text, path)
        raise SettingsError(
            f"'{name}' is {first['input']!r}",
            where=f"{variable} in the environment" if os.environ.get(variable) else place,
            fix=_fix_of(first),
        ) from error


def _fix_of(error: ErrorDetails) -> str:
    """The remedy for a value that is not valid."""
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    field = Settings.model_fields[str(error["loc"][0])]
    return f"Give {_describe_values(field)}: {field.description}."


def _read(path: Path) -> str:
    """The text of the file of settings.

    Raises:
        SettingsError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise SettingsError(
            "not UTF-8", where=f"{path}:{line}", fix="Save the file as UTF-8."
        ) from error
    except OSError as error:
        raise SettingsError(
            f"cannot be read ({error.strerror})", where=str(path), fix="Check its permissions."
        ) from error


def _place(key: str, text: str, path: Path) -> str:
    """The file and line that set a key, for errors."""
    pattern = rf"""^\s*\[*\s*["']?{re.escape(key)}["']?\s*[].=]"""
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(pattern, line):
            return f"{path}:{number}"
    return str(path)


def _describe_values(field: FieldInfo) -> str:
    """The values that a setting may have, in words."""
    if choices := get_args(field.annotation):
        if all(isinstance(choice, str) for choice in choices):
            return "one of " + ", ".join(choice or '""' for choice in choices)
        return "a list of texts"
    kinds: dict[Any, str] = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "a text",
    }
    bounds = {
        word: getattr(bound, sign)
        for bound in field.metadata
        for sign, word in (("ge", "from"), ("gt", "above"), ("le", "to"))
        if hasattr(bound, sign)
    }
    words = [kinds[field.annotation], *(f"{word} {value}" for word, value in bounds.items())]
    return " ".join(words)


def _check_known(key: str, name: str, where: str) -> None:
    """Check that a key of the file, or a variable of the environment, is a setting's.

    Args:
        name: the setting that it would set.

    Raises:
        SettingsError: there is no such setting.
    """
    known = list(Settings.model_fields)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        shown = near[0] if near and key == name else _PREFIX + near[0].upper() if near else ""
        hint = f"Did you mean '{shown}'?" if shown else f"Known keys: {', '.join(known)}."
        raise SettingsError(f"unknown setting '{key}'", where=where, fix=hint)


def _toml(value: Any) -> str:
    """A setting's value in the syntax of TOML, for a new `moli.toml`."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return str(value)
