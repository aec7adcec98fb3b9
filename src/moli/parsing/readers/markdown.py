"""Markdown, read as the web page that it renders to."""

import re

from markdown_it import MarkdownIt

from moli.parsing.blocks import Blocks
from moli.parsing.encodings import decode
from moli.parsing.limits import Limits
from moli.parsing.readers.web import read_html

_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n(?:---|\.\.\.)\s*(?:\n|\Z)", re.DOTALL)
_FIELD = re.compile(r"^(title|author|date)\s*:\s*[\"']?(.*?)[\"']?\s*$", re.MULTILINE)


def read(data: bytes, blocks: Blocks, _limits: Limits) -> None:
    """Add the Markdown text in `data` to `blocks`."""
    read_markdown(decode(data, blocks=blocks), blocks)


def read_markdown(text: str, blocks: Blocks) -> None:
    """Add Markdown text; its front matter goes to the title and metadata."""
    if front := _FRONT_MATTER.match(text):
        fields = dict(_FIELD.findall(front[1]))
        blocks.title = blocks.title or fields.pop("title", "")
        blocks.metadata.update(fields)
        text = text[front.end() :]
    renderer = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    read_html(renderer.render(text), blocks)
