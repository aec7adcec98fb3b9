"""Reports on the files that were added."""

from dataclasses import dataclass
from typing import Literal

FileOutcome = Literal["added", "updated", "unchanged", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class FileReport:
    """The outcome of adding one file.

    Attributes:
        outcome: "skipped" if a folder has a file with no supported suffix, or a link that leads
            nowhere or to a folder that is read already.
        reason: for a failed or skipped file, the reason code of `DocumentError`.
        message: the name of the file, and the problem and the fix or warnings; else empty.
    """

    source: str
    outcome: FileOutcome
    passages: int = 0
    characters: int = 0
    reason: str = ""
    message: str = ""
