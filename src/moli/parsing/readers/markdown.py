"""Markdown, read as the web page that it renders to."""

from markdown_it import MarkdownIt

from moli.parsing.blocks import Blocks
from moli.parsing.encodings import decode
from moli.parsing.limits import Limits
from moli.parsing.readers.front_matter import take_front_matter
from moli.parsing.readers.web import read_html


def read(data: bytes, blocks: Blocks, _limits: Limits) -> None:
    """Add the Markdown text in `data` to `blocks`."""
    read_markdown(decode(data, blocks=blocks), blocks)


def read_markdown(text: str, blocks: Blocks) -> None:
    """Add Markdown text; the fields of its front matter become the title and attributes."""
    text = take_front_matter(text, blocks)
    renderer = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    read_html(renderer.render(text), blocks)
