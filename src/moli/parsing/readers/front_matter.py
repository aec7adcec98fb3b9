"""Front matter: fields in YAML, TOML or JSON before the text of a page."""

import datetime
import json
import re
import tomllib
from collections.abc import Iterator, Mapping

from moli.parsing.blocks import Blocks

_FENCED = re.compile(
    r"\A(?P<fence>---|\+\+\+|;;;)(?P<format>yaml|toml|json)?[ \t]*\n(?P<fields>.*?)\n?"
    r"^(?:(?P=fence)|\.\.\.)[ \t]*(?:\n|\Z)",
    re.DOTALL | re.MULTILINE,
)
_FORMATS = {"---": "yaml", "+++": "toml", ";;;": "json"}
_MAX_LENGTH = 1 << 16
_MAX_DEPTH = 4
_MAX_FIELDS = 200
# Fields that describe a document in every format, and are not repeated in its text.
_DESCRIPTION = ("title", "author", "date")

Values = tuple[str, ...]


def take_front_matter(text: str, blocks: Blocks) -> str:
    """The text after its front matter, whose fields become the title and attributes.

    Fields that Moli has no use of its own for stand at the beginning of the text as well. Front
    matter that cannot be read stays where it is, and becomes a warning.
    """
    fenced = _FENCED.match(text)
    if fenced is not None:
        source, end = fenced["fields"], fenced.end()
        name = fenced["format"] or _FORMATS[fenced["fence"]]
    elif re.match(r'\A\{\s*"', text):
        name = "json"
        end = _json_end(text)
        source = text[:end]
    else:
        return text
    try:
        fields = dict(_fields(_parse(source[: _MAX_LENGTH + 1], name)))
    except ValueError as error:
        if fenced is not None and ":" in source.partition("\n")[0]:
            blocks.warn(
                f"its front matter is read as text, since it is not {name.upper()} ({error})"
            )
        return text
    if not fields:
        return text
    blocks.title = blocks.title or " ".join(fields.pop("title", ()))
    blocks.metadata.update({
        key: values[0] if len(values) == 1 else values for key, values in fields.items()
    })  # fmt: skip
    blocks.add_paragraph("\n".join(
        f"{key}: {', '.join(values)}" for key, values in fields.items() if key not in _DESCRIPTION
    ))  # fmt: skip
    return text[end:]


def _json_end(text: str) -> int:
    """Offset after the JSON object that `text` begins with; 0 if there is none."""
    try:
        return json.JSONDecoder().raw_decode(text)[1]
    except (ValueError, RecursionError):
        return 0


def _parse(source: str, name: str) -> object:
    """The value that front matter in the format `name` holds; numbers and dates as written.

    Raises:
        ValueError: it is damaged or too long.
    """
    import yaml

    if len(source) > _MAX_LENGTH:
        raise ValueError(f"it has more than {_MAX_LENGTH:,} characters")
    try:
        if name == "toml":
            return tomllib.loads(source, parse_float=str)
        if name == "json":
            return json.loads(source, parse_float=str, parse_int=str)
        return yaml.load(source, Loader=yaml.BaseLoader)  # noqa: S506 (makes texts only)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def _fields(value: object, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Values]]:
    """The fields of a mapping with their values; one inside another has a point in its name."""
    if not isinstance(value, Mapping) or depth > _MAX_DEPTH:
        return
    for key, inner in list(value.items())[:_MAX_FIELDS]:
        name = f"{prefix}{key}"
        if isinstance(inner, Mapping):
            yield from _fields(inner, f"{name}.", depth + 1)
        elif values := tuple(_scalars(inner)):
            yield name, values


def _scalars(value: object) -> Iterator[str]:
    """The texts of a value, or of the members of a list; mappings in a list as JSON."""
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, bool):
            yield str(item).lower()
        elif isinstance(item, (datetime.date, datetime.time)):
            yield item.isoformat()
        elif isinstance(item, (Mapping, list)):
            yield json.dumps(item, ensure_ascii=False, default=str)[:1000]
        elif item is not None and (text := str(item).strip()):
            yield text
