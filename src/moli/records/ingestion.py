"""What became of the files that were added."""

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["added", "updated", "unchanged", "failed"]


@dataclass(frozen=True, slots=True)
class FileReport:
    """What became of one file.

    Attributes:
        reason: for a failed file, the reason code of `DocumentError`.
        message: for a failed file, what is wrong and what to do; else warnings, if any.
    """

    source: str
    outcome: Outcome
    passages: int = 0
    characters: int = 0
    reason: str = ""
    message: str = ""
