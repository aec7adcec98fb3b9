"""The pages of the documentation, and what is in their fenced blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
READMES = (ROOT / "README.md", ROOT / "README.zh.md")
PAGES = (
    *READMES,
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").rglob("*.md")),
)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """(language, content) of each fenced block, in order."""
    for match in _BLOCK.finditer(text):
        yield match[1], match[2]


def commands(text: str) -> list[str]:
    """The lines of the shell blocks; a line that ends in a backslash goes on in the next."""
    joined = [body.replace("\\\n", " ") for language, body in blocks(text) if language == "sh"]
    return [line for body in joined for line in body.splitlines() if line.strip()]


def prose(text: str) -> str:
    """The text without its fenced blocks."""
    return _BLOCK.sub("", text)


def name_of(path: Path) -> str:
    """How a test names a page."""
    return path.relative_to(ROOT).as_posix()
