"""Text that may be the beginning of a marker, such as a stop sequence, of which more is to come."""


def partial_match_length(text: str, marker: str) -> int:
    """Number of characters at the end of a text that may be the beginning of `marker`.

    >>> partial_match_length("one EN", "END")
    2
    """
    longest = min(len(text), len(marker) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(marker[:n])), 0)
