"""Recordings, which are no text before a speech model has heard them."""

from moli.parsing.blocks import Blocks
from moli.parsing.limits import Limits
from moli.records.errors import DocumentError


def read(_data: bytes, _blocks: Blocks, _limits: Limits) -> None:
    """Refuse a recording inside another file; `moli.parsing.recordings` reads one by itself.

    Raises:
        DocumentError: always.
    """
    raise DocumentError(
        "unsupported", "it is a recording inside another file", fix="Add it by itself."
    )
