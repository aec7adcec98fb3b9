"""What became of the files that were added."""

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["added", "updated", "unchanged", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class FileReport:
    """What became of one file.

    Attributes:
        outcome: "skipped" is a file in a folder whose suffix belongs to no format that is read.
        reason: for a failed file, the reason code of `DocumentError`.
        message: for a failed file, what is wrong and what to do; else warnings, if any.
    """

    source: str
    outcome: Outcome
    passages: int = 0
    characters: int = 0
    reason: str = ""
    message: str = ""
