"""Limits on the size, time and memory of parsing one file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moli.workspace import Settings


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits for one file; a file that exceeds any of them is refused, and others are not affected.

    Attributes:
        file_bytes: the largest file that is opened.
        unpacked_bytes: the most that a zipped format may unpack to.
        seconds: time for one file, before any recognition of scanned pages.
        page_seconds: time added for each page that needs optical recognition.
        memory_bytes: address space of the process that parses.
    """

    file_bytes: int = 200 << 20
    unpacked_bytes: int = 1 << 30
    seconds: float = 120.0
    page_seconds: float = 60.0
    memory_bytes: int = 3 << 30

    @classmethod
    def from_settings(cls, settings: Settings) -> Limits:
        """The limits that a workspace's settings have."""
        return cls(
            file_bytes=settings.max_file_mb << 20,
            seconds=settings.parse_seconds,
            memory_bytes=settings.parse_memory_mb << 20,
        )


DEFAULT_LIMITS = Limits()
