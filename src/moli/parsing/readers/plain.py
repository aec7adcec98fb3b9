"""Plain text, subtitles and notebooks."""

import json
import re

from moli.parsing.archive import REPAIR
from moli.parsing.blocks import Blocks, normalize_text
from moli.parsing.encodings import decode
from moli.parsing.limits import Limits
from moli.records.documents import Timestamp
from moli.records.errors import DocumentError

_BLANK_LINES = re.compile(r"\n[^\S\n]*(?:\n[^\S\n]*)+")
_VOICE = re.compile(r"<v(?:\.[\w.]+)?\s+([^>]+)>")
_CUE_START = re.compile(r"(?:(\d+):)?(\d+):(\d+)(?:[.,](\d+))?\s*-->")
_TAGS = re.compile(r"</?[a-z0-9][^>]*>|\{\\[^}]*\}")
_TERMINAL_CODES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][A-Z0-9]|[=>78])"
)
_OVERSTRIKE = re.compile(r"[^\n]\x08")
# Characters beyond the 16-bit range are two escapes.
_PAIR = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}")
_JSON = re.compile(r"\s*[\[{]")
_ESCAPES = re.compile(r"(?<!\\)((?:\\\\)*)((?:\\u[0-9a-fA-F]{4})+)")


def read(data: bytes, blocks: Blocks, _limits: Limits) -> None:
    """Add the text in `data` to `blocks`."""
    text = decode(data, blocks=blocks)
    text = _OVERSTRIKE.sub("", _TERMINAL_CODES.sub("", text))
    read_text(_with_letters(text) if _JSON.match(text) else text, blocks)


def read_text(text: str, blocks: Blocks) -> None:
    """Add text with its line breaks and indentation as they are."""
    for block in _BLANK_LINES.split(normalize_text(text)):
        blocks.add_preformatted(block)


def _with_letters(text: str) -> str:
    """JSON with letters of other scripts in place of their escapes, as in `\\u6cf5` for 泵."""
    return _ESCAPES.sub(
        lambda match: match[1] + "".join(map(_readable, _PAIR.findall(match[2]))), text
    )


def _readable(escape: str) -> str:
    """The letter or symbol that a JSON escape stands for; the escape itself for all others."""
    character = str(json.loads(f'"{escape}"'))
    return character if character.isprintable() and character not in '"\\' else escape


def read_captions(data: bytes, blocks: Blocks, _limits: Limits) -> None:
    """Add the text of the subtitles (WebVTT, SubRip) in `data` to `blocks`, with times."""
    for cue in _BLANK_LINES.split(normalize_text(decode(data, blocks=blocks))):
        lines = cue.strip().split("\n")
        timed = next((n for n, line in enumerate(lines) if "-->" in line), None)
        if timed is not None:
            text = _TAGS.sub("", _VOICE.sub(r"\1: ", "\n".join(lines[timed + 1 :])))
            start = _CUE_START.search(lines[timed])
            times = [Timestamp(0, _seconds_of(start))] if start and text.strip() else []
            blocks.add_paragraph(text, times=times)


def _seconds_of(start: re.Match[str]) -> float:
    """The time at which a cue starts, such as 01:02:03.500, in seconds."""
    hours, minutes, seconds, fraction = (part or "0" for part in start.groups())
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{fraction}")


def read_notebook(data: bytes, blocks: Blocks, _limits: Limits) -> None:
    """Add the Markdown and code cells of the notebook in `data` to `blocks`, without outputs."""
    from moli.parsing.readers.markdown import read_markdown

    try:
        cells = json.loads(decode(data))["cells"]
        texts = [(str(cell["cell_type"]), _source_text(cell["source"])) for cell in cells]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DocumentError("broken", "it is not a notebook of version 4", fix=REPAIR) from error
    for kind, text in texts:
        if kind == "markdown":
            read_markdown(text, blocks)
        else:
            blocks.add_preformatted(text)


def _source_text(source: object) -> str:
    """The text of a notebook cell, which is a string or a list of lines."""
    return "".join(str(line) for line in source) if isinstance(source, list) else str(source)
