"""Numbers that are set higher than the text around them."""

import re

_NUMBER = re.compile(r"\s*[+\-−]?\d+\s*")
_RAISED = str.maketrans("0123456789+-−", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻")


def raise_number(text: str) -> str:
    """A number in superscript, so that 10⁶ is not read as 106; any other text as it is."""
    return text.translate(_RAISED) if _NUMBER.fullmatch(text) else text
