"""The tables of docs/*/api.md that say what each field of a request's body does.

Fields are read from the bodies themselves; those of OpenAI's own client that a body does not have
are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from fastapi import UploadFile
from openai.types import completion_create_params, embedding_create_params
from openai.types.audio import transcription_create_params
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.responses import response_create_params
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from moli.serving import app
from moli.serving.bodies import Body

Language = Literal["en", "zh"]
FILES: dict[Language, Path] = {
    language: Path(__file__).parent / language / "api.md" for language in ("en", "zh")
}
BEGIN, END = "<!-- fields -->\n", "<!-- end of fields -->\n"
# Parameters of OpenAI's own client, by the path that they are sent to.
_OPENAI: dict[str, Any] = {
    "/v1/chat/completions": chat_create_params.CompletionCreateParamsNonStreaming,
    "/v1/completions": completion_create_params.CompletionCreateParamsNonStreaming,
    "/v1/responses": response_create_params.ResponseCreateParamsNonStreaming,
    "/v1/embeddings": embedding_create_params.EmbeddingCreateParams,
    "/v1/audio/transcriptions": transcription_create_params.TranscriptionCreateParamsNonStreaming,
}
_WORDS: dict[str, tuple[str, str]] = {
    "columns": ("Field | Value | Default | Here", "字段 | 值 | 默认值 | 在这里"),
    "str": ("text", "文本"),
    "int": ("whole number", "整数"),
    "float": ("number", "数"),
    "bool": ("`true`, `false`", "`true`、`false`"),
    "dict": ("object", "对象"),
    "list": ("list of {}", "列表：{}"),
    "or": (", ", "、"),
    "comma": (", ", "，"),
    "file": ("file", "文件"),
    "any": ("anything", "任意"),
    "required": ("required", "必填"),
    "works": ("works", "有效"),
    "ignored": ("ignored", "忽略"),
    "refused": ("refused", "拒绝"),
}

_SIGNS = {"gt": "<", "ge": "≤", "lt": "<", "le": "≤"}
_MAX_SHOWN = 1 << 31


@dataclass(frozen=True, slots=True)
class Row:
    """A field of a body.

    Attributes:
        name: its place, such as `messages[].content`.
        effect: "works", "ignored" or "refused".
    """

    name: str
    value: str
    default: str
    effect: str


def write() -> None:
    """Write the tables into the pages."""
    for language, path in FILES.items():
        page = path.read_text(encoding="utf-8")
        path.write_text(with_tables(page, language), encoding="utf-8")


def with_tables(page: str, language: Language) -> str:
    """A page with its tables of fields as they have to be."""
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    return before + BEGIN + "\n" + tables(language) + "\n" + END + after


def tables(language: Language) -> str:
    """A table for each endpoint that has a body."""
    columns = _word("columns", language)
    lines = []
    for path, body in sorted(_bodies()):
        lines += [f"### `POST {path}`", "", f"| {columns} |", "| --- | --- | --- | --- |"]
        lines += [_line(row, language) for row in _merged(_rows(path, body, language), language)]
        lines.append("")
    return "\n".join(lines)


def _word(name: str, language: Language) -> str:
    """A word of the tables in a language."""
    return _WORDS[name][language == "zh"]


def _line(row: Row, language: Language) -> str:
    """A row as a line of a table."""
    default = row.default if row.default != "required" else _word("required", language)
    return f"| `{row.name}` | {row.value} | {default} | {_word(row.effect, language)} |"


def _bodies() -> Iterator[tuple[str, type[Body]]]:
    """The path and the body of each endpoint that has one."""
    for router in app.ENDPOINTS:
        for route in router.routes:
            field = getattr(route, "body_field", None)
            if field is not None:
                yield route.path, field.field_info.annotation


def _rows(path: str, body: type[Body], language: Language) -> Iterator[Row]:
    """The fields of a body, then those of OpenAI's that it does not have."""
    yield from _fields(body, "", language, "works")
    names = {info.alias or name for name, info in body.model_fields.items()}
    theirs = _OPENAI[path].__annotations__ if path in _OPENAI else {}
    bases = getattr(_OPENAI.get(path), "__orig_bases__", ())
    for base in bases:
        theirs = {**getattr(base, "__annotations__", {}), **theirs}
    names |= {name.removesuffix("[]") for name in names}
    for name in sorted(set(theirs) - names):
        yield Row(name, "", "", "refused")


def _fields(body: type[Body], prefix: str, language: Language, effect: str) -> Iterator[Row]:
    """The fields of a body and of the objects in it.

    Args:
        effect: that of the field which holds the body.
    """
    for name, info in body.model_fields.items():
        place = f"{prefix}{info.alias or name}"
        own_effect = "ignored" if name in body.ignored else effect
        yield Row(place, _value(info, language), _default(info), own_effect)
        for model, depth in _models(info.annotation, 0):
            yield from _fields(model, f"{place}{'[]' * depth}.", language, own_effect)


def _merged(rows: Iterator[Row], language: Language) -> list[Row]:
    """Rows without repetitions: objects of several kinds can have a field of the same name."""
    merged: dict[str, Row] = {}
    for row in rows:
        if (known := merged.get(row.name)) is None:
            merged[row.name] = row
        elif row.value not in known.value:
            both = f"{known.value}{_word('or', language)}{row.value}"
            merged[row.name] = replace(known, value=both)
        if merged[row.name].effect != row.effect:  # of one kind of object only
            merged[row.name] = replace(merged[row.name], effect="works")
    return list(merged.values())


def _models(annotation: Any, depth: int) -> Iterator[tuple[type[Body], int]]:
    """The objects that a field can hold, and in how many lists."""
    if isinstance(annotation, type) and issubclass(annotation, Body):
        yield annotation, depth
    elif get_origin(annotation) is not dict:
        deeper = depth + (get_origin(annotation) is list)
        for part in get_args(annotation):
            yield from _models(part, deeper)


def _default(info: FieldInfo) -> str:
    """A field's default; "" for none."""
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    if value in (None, "", [], {}) or isinstance(value, BaseModel):
        return ""
    if isinstance(value, dict):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _value(info: FieldInfo, language: Language) -> str:
    """The values that a field takes, in words."""
    words = _type(info.annotation, language)
    limits = _limits(info.metadata)
    return _joined(words, limits, language)


def _joined(words: str, limits: str, language: Language) -> str:
    """A type and its limits."""
    return f"{words}{_word('comma', language)}{limits}" if limits else words


def _limits(metadata: Any) -> str:
    """The limits of a value, such as "1 ≤ n ≤ 16"."""
    flat = [part for each in metadata for part in getattr(each, "metadata", [each])]
    limits = {name: getattr(each, name) for each in flat for name in _SIGNS if hasattr(each, name)}
    if not limits or max(map(abs, limits.values())) > _MAX_SHOWN:
        return ""
    lower = [f"{value} {_SIGNS[name]} " for name, value in limits.items() if name in ("gt", "ge")]
    upper = [f" {_SIGNS[name]} {value}" for name, value in limits.items() if name in ("lt", "le")]
    return "".join([*lower, "n", *upper])


def _type(annotation: Any, language: Language) -> str:
    """A type in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        limits = _limits(arguments[1:])
        words = _type(arguments[0], language)
        return _joined(words, limits, language)
    separator = _word("or", language)
    if origin is Literal:
        return separator.join(
            f"`{str(each).lower() if isinstance(each, bool) else each}`" for each in arguments
        )
    if origin in (list, tuple):
        return _word("list", language).format(_type(arguments[0], language))
    if origin is dict or annotation is dict:
        return _word("dict", language)
    if annotation is UploadFile:
        return _word("file", language)
    if isinstance(annotation, type) and issubclass(annotation, Body):
        return _word("dict", language)
    if arguments:
        parts = [_type(each, language) for each in arguments if each is not type(None)]
        return separator.join(dict.fromkeys(parts))
    return _word(getattr(annotation, "__name__", "any").lower(), language)
