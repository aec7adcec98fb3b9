"""Numbers as a spreadsheet shows them, from the format codes of its cells.

    show_number(1234.5, "#,##0.00 [$€-407]", EPOCH_1900)  ->  "1,234.50 €"

A code has up to four sections, for positive and negative numbers, zero and text. Where a program
goes by the settings of its user, dates are as in ISO 8601, and numbers as in English.
"""

import datetime
import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import cast

from moli.parsing.office.date_format import EPOCH_1900, Token, TokenKind, show_date

_TOKEN = re.compile(
    r'"(?P<quoted>[^"]*)"?|[\\!](?P<escaped>.)|(?P<space>[_*].)|\[(?P<bracket>[^\]]*)\]'
    r"|(?P<general>General|G/通用格式|G/標準|Standard)|(?P<noon>AM/PM|A/P|上午/下午)"
    r"|(?P<exponent>E[+-])|(?P<date>y+|m+|d+|h+|s+(?:\.0+)?|e+|g+|aaa+|bb?(?:bb)?(?![a-z]))"
    r"|(?P<digits>[0#?]+)|(?P<sign>[.,%/@;])|(?P<other>.)",
    re.IGNORECASE | re.DOTALL,
)
_CONDITION = re.compile(r"(<=|>=|<>|<|>|=)\s*(-?[\d.]+)$")
_CURRENCY = re.compile(r"\$([^-]*)(?:-(.*))?$")
_ELAPSED = re.compile(r"h+|m+|s+", re.IGNORECASE)
_MAX_DIGITS = 30

# Formats that files name by number only. Those for dates go by the settings of the user.
_DATES = dict.fromkeys((14, *range(27, 32), 34, 35, 36, *range(50, 59)), "yyyy-mm-dd")
BUILT_IN_FORMATS = {
    **_DATES, 1: "0", 2: "0.00", 3: "#,##0", 4: "#,##0.00", 5: '"$"#,##0;-"$"#,##0',
    6: '"$"#,##0;-"$"#,##0', 7: '"$"#,##0.00;-"$"#,##0.00', 8: '"$"#,##0.00;-"$"#,##0.00',
    9: "0%", 10: "0.00%", 11: "0.00E+00", 12: "# ?/?", 13: "# ??/??", 15: "d-mmm-yy", 16: "d-mmm",
    17: "mmm-yy", 18: "h:mm AM/PM", 19: "h:mm:ss AM/PM", 20: "h:mm", 21: "h:mm:ss",
    22: "yyyy-mm-dd h:mm", 32: "h:mm", 33: "h:mm:ss", 37: "#,##0;-#,##0", 38: "#,##0;-#,##0",
    39: "#,##0.00;-#,##0.00", 40: "#,##0.00;-#,##0.00", 41: "#,##0;-#,##0;-",
    42: '"$"#,##0;-"$"#,##0;"$"-', 43: "#,##0.00;-#,##0.00;-", 44: '"$"#,##0.00;-"$"#,##0.00;"$"-',
    45: "mm:ss", 46: "[h]:mm:ss", 47: "mm:ss.0", 48: "##0.0E+0", 49: "@",
}  # fmt: skip
"""Format codes by number."""


@dataclass(frozen=True, slots=True)
class _Section:
    """A section of a format code.

    Attributes:
        condition: comparison and number that a value has to meet, if the section states one.
        locale: the locale of its dates, as `407` or `de-DE`; empty if it names none.
    """

    tokens: tuple[Token, ...]
    condition: tuple[str, float] | None
    locale: str

    def has(self, *kinds: TokenKind) -> bool:
        """Whether it has a token of one of these kinds."""
        return any(token.kind in kinds for token in self.tokens)

    def has_sign(self, sign: str) -> bool:
        """Whether it has the sign, such as a per cent sign, as a placeholder."""
        return Token("sign", sign) in self.tokens


def show_number(number: float, code: str, epoch: datetime.datetime = EPOCH_1900) -> str:
    """A number as a cell with that format code shows it.

    Args:
        code: the format code; empty for the general format.
        epoch: the date of day 0 of the workbook.
    """
    sections = _parse(code)
    section, is_negative = _choose(sections, number)
    if section is None:
        return show_general(number)
    if section.has("date", "elapsed"):
        shown = show_date(number, section.tokens, section.locale, epoch)
        return show_general(number) if shown is None else shown
    value = -number if is_negative else number
    if section.has("digits"):
        text = _show_digits(value, section)
    elif section.has("general") or section.has_sign("@"):
        text = _literal(section, show_general(value))
    elif not section.tokens and not any(each.tokens for each in sections[:2]):
        text = show_general(number)  # A code that hides all numbers.
    else:
        text = _literal(section, "")
    return " ".join(text.split())


def show_text(text: str, code: str) -> str:
    """A text as a cell with that format code shows it."""
    if "@" not in code:
        return text
    section = _parse(code)[-1]
    return _literal(section, text) if section.has_sign("@") else text


def show_general(number: float) -> str:
    """A number in the general format, with up to 15 digits."""
    short = f"{number:.15g}"
    is_whole = "e" in short and abs(number) < 1e21 and number == int(number)
    return str(int(number)) if is_whole else short


@functools.lru_cache(maxsize=4096)
def _parse(code: str) -> list[_Section]:
    """The sections of a format code; a code without any has one empty section."""
    sections: list[_Section] = []
    tokens: list[Token] = []
    condition: tuple[str, float] | None = None
    locale = ""
    for match in _TOKEN.finditer(code):
        kind = match.lastgroup or ""
        text = match[kind]
        if kind == "sign" and text == ";":
            sections.append(_section(tokens, condition, locale))
            tokens, condition, locale = [], None, ""
        elif kind == "bracket":
            if compared := _CONDITION.match(text):
                condition = (compared[1], float(compared[2]))
            elif currency := _CURRENCY.match(text):
                tokens.append(Token("text", currency[1]))
                locale = currency[2] or locale
            elif _ELAPSED.fullmatch(text):
                tokens.append(Token("elapsed", text.lower()))
        elif kind == "space":
            tokens.append(Token("text", " " if text[0] == "_" or text[1] == " " else ""))
        elif kind in ("quoted", "escaped", "other"):
            tokens.append(Token("text", text))
        else:
            tokens.append(Token(cast(TokenKind, kind), text))
    sections.append(_section(tokens, condition, locale))
    return sections


def _section(tokens: list[Token], condition: tuple[str, float] | None, locale: str) -> _Section:
    """The section made of tokens; beside places for digits, the letters of dates are text."""
    kinds = {token.kind for token in tokens}
    if "digits" in kinds and "elapsed" not in kinds:
        tokens = [Token("text", token.text) if token.kind == "date" else token for token in tokens]
    else:
        tokens = [
            Token("date", token.text.lower()) if token.kind == "date" else token for token in tokens
        ]
    return _Section(tuple(tokens), condition, locale)


_COMPARISONS = {"<": float.__lt__, ">": float.__gt__, "<=": float.__le__, ">=": float.__ge__,
                "=": float.__eq__, "<>": float.__ne__}  # fmt: skip


def _choose(sections: Sequence[_Section], number: float) -> tuple[_Section | None, bool]:
    """The section for a number, and whether it shows a negative number without its sign."""
    numeric = list(sections[:3])
    if any(section.condition for section in numeric):
        for section in numeric:
            if section.condition is None:
                return section, False
            compare, limit = section.condition
            if _COMPARISONS[compare](float(number), limit):
                # As Excel does, the sign is left to a section for negative numbers only.
                return section, compare in ("<", "<=") and limit <= 0
        return None, False
    if len(numeric) > 1 and number < 0:
        return numeric[1], True
    if len(numeric) > 2 and number == 0:
        return numeric[2], False
    return numeric[0], False


def _literal(section: _Section, value: str) -> str:
    """The texts of a section, with `value` in place of its general format or `@`."""
    return "".join(
        value if token.kind == "general" or token == Token("sign", "@") else token.text
        for token in section.tokens
    )


def _show_digits(number: float, section: _Section) -> str:
    """A number in a section with places for digits."""
    tokens = list(section.tokens)
    value = abs(Decimal(f"{number:.15g}"))
    value = value.scaleb(2 * sum(token == Token("sign", "%") for token in tokens))
    first = next(n for n, token in enumerate(tokens) if token.kind == "digits")
    fraction = next((n for n, token in enumerate(tokens) if token == Token("sign", "/")
                     and first < n), None)  # fmt: skip
    if fraction is not None:
        text = _show_fraction(value, tokens, fraction)
    elif section.has("exponent"):
        text = _show_scientific(value, tokens)
    else:
        text = _show_decimal(value, tokens)
    is_zero = not any(character in "123456789" for character in text)
    return f"-{text}" if number < 0 and not is_zero else text


def _show_decimal(value: Decimal, tokens: list[Token]) -> str:
    """A number that is not negative, with its integer and decimal digits in their places."""
    point = next((n for n, token in enumerate(tokens) if token == Token("sign", ".")), len(tokens))
    whole, rest = tokens[:point], tokens[point + 1 :]
    last = max((n for n, token in enumerate(tokens) if token.kind == "digits"), default=0)
    scaled = sum(token == Token("sign", ",") for token in tokens[last + 1 :])
    grouped = Token("sign", ",") in whole[:last]
    decimals = "".join(token.text for token in rest if token.kind == "digits")[:_MAX_DIGITS]
    rounded = value.scaleb(-3 * scaled).quantize(Decimal(1).scaleb(-len(decimals)), ROUND_HALF_UP)
    digits, _, tail = f"{rounded:f}".partition(".")
    shown_tail = tail.rstrip("0").ljust(len(decimals.rstrip("#?")), "0")[: len(tail)]
    text = _fill_integer(digits.lstrip("0"), whole, grouped=grouped)
    # The point is shown even if no decimal is, as Excel does.
    return text + ("." if point < len(tokens) else "") + _fill_decimals(shown_tail, rest)


def _fill_integer(digits: str, tokens: Sequence[Token], *, grouped: bool) -> str:
    """The digits before the point in their places, from the right; the first place takes the rest.

    Args:
        grouped: whether commas separate thousands.
    """
    first = next((n for n, token in enumerate(tokens) if token.kind == "digits"), None)
    left = list(digits)
    pieces: list[str] = []
    count = 0

    def put(digit: str) -> None:
        """Put a digit before those that are there."""
        nonlocal count
        if grouped and count and count % 3 == 0:
            pieces.append(",")
        pieces.append(digit)
        count += 1

    for index in reversed(range(len(tokens))):
        token = tokens[index]
        if token.kind != "digits":
            pieces.append("" if token == Token("sign", ",") else token.text[::-1])
            continue
        for place in reversed(token.text):
            if left:
                put(left.pop())
            elif place == "0":
                put("0")
        while index == first and left:
            put(left.pop())
    return "".join(pieces)[::-1]


def _fill_decimals(digits: str, tokens: Sequence[Token]) -> str:
    """The digits after the point in their places, and the texts between and after them."""
    pieces = []
    for token in tokens:
        if token.kind == "digits":
            pieces.append(digits[: len(token.text)])
            digits = digits[len(token.text) :]
        elif token != Token("sign", ","):
            pieces.append(token.text)
    return "".join(pieces)


def _show_scientific(value: Decimal, tokens: list[Token]) -> str:
    """A number with an exponent, which is a multiple of the number of places before the point."""
    at = next(n for n, token in enumerate(tokens) if token.kind == "exponent")
    mantissa, after = tokens[:at], tokens[at + 1 :]
    point = next((n for n, token in enumerate(mantissa) if token == Token("sign", ".")), at)
    step = max(1, sum(len(token.text) for token in mantissa[:point] if token.kind == "digits"))
    decimals = sum(len(token.text) for token in mantissa[point:] if token.kind == "digits")
    power = value.adjusted() // step * step if value else 0
    if round(value.scaleb(-power), decimals) >= Decimal(10) ** step:
        power += step
    width = sum(len(token.text) for token in after if token.kind == "digits")
    sign = "-" if power < 0 else "+" if tokens[at].text.endswith("+") else ""
    rest = "".join(token.text for token in after if token.kind == "text")
    shown = _show_decimal(value.scaleb(-power), mantissa)
    return f"{shown}E{sign}{str(abs(power)).zfill(width)}{rest}"


def _show_fraction(value: Decimal, tokens: list[Token], slash: int) -> str:
    """A number as a whole number and a fraction, or as a fraction alone."""
    before = [n for n, token in enumerate(tokens[:slash]) if token.kind == "digits"]
    denominator = "".join(token.text for token in tokens[slash + 1 :]).strip()
    has_whole = len(before) > 1
    whole = int(value) if has_whole else 0
    part = Fraction(value) - whole
    fixed = re.match(r"\d*[1-9]\d*", denominator)
    if fixed:
        numerator, below = round(part * int(fixed[0])), int(fixed[0])
    else:
        width = len(denominator) - len(denominator.lstrip("?#0"))
        near = part.limit_denominator(10 ** min(max(width, 1), 6) - 1)
        numerator, below = near.numerator, near.denominator
    if has_whole and numerator == below:
        whole, numerator = whole + 1, 0
    head = "".join(token.text for token in tokens[: before[0]])
    last = max(n for n, token in enumerate(tokens) if token.kind == "digits" or n == slash)
    tail = "".join(token.text for token in tokens[last + 1 :] if not token.text.isdigit())
    if has_whole and not numerator:
        return f"{head}{whole}{tail}"
    fraction = f"{numerator}/{below}"
    return head + (f"{whole} {fraction}" if whole else fraction) + tail
