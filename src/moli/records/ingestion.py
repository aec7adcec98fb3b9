"""Reports on the files that were added."""

from dataclasses import dataclass
from typing import Literal

FileOutcome = Literal["added", "updated", "unchanged", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class FileReport:
    """The outcome of adding one file.

    Attributes:
        outcome: "skipped" if the file is in a folder and its suffix is of no supported format.
        reason: for a failed file, the reason code of `DocumentError`.
        message: for a failed file, the problem and the fix; else warnings, if any.
    """

    source: str
    outcome: FileOutcome
    passages: int = 0
    characters: int = 0
    reason: str = ""
    message: str = ""
