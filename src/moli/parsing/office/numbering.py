"""The numbers and bullets of Word lists, which the file holds only as rules."""

import re
from collections.abc import Callable

from lxml import etree

from moli.parsing.office.markup import attribute, child, children

_ROMAN = ((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"),
          (40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"))  # fmt: skip
_DIGITS = "零一二三四五六七八九"


def roman(number: int) -> str:
    """`number` in lower-case Roman digits."""
    digits = ""
    for value, letters in _ROMAN:
        digits += letters * (number // value)
        number %= value
    return digits


def letter(number: int) -> str:
    """1 -> a, 26 -> z, 27 -> aa, as Word counts."""
    return chr(ord("a") + (number - 1) % 26) * ((number - 1) // 26 + 1) if number > 0 else "0"


def chinese(number: int) -> str:
    """`number` in Chinese digits, up to 99."""
    if not 0 < number < 100:
        return str(number)
    tens, ones = divmod(number, 10)
    head = ("" if tens == 1 else _DIGITS[tens]) + "十" if tens else ""
    return head + (_DIGITS[ones] if ones else "")


_FORMATS: dict[str, Callable[[int], str]] = {
    "lowerRoman": roman,
    "upperRoman": lambda number: roman(number).upper(),
    "lowerLetter": letter,
    "upperLetter": lambda number: letter(number).upper(),
    "decimalZero": lambda number: f"{number:02d}",
    "chineseCounting": chinese,
    "chineseCountingThousand": chinese,
    "japaneseCounting": chinese,
    "decimalEnclosedCircle": lambda n: chr(0x245F + n) if 0 < n <= 20 else str(n),
    "decimalEnclosedCircleChinese": lambda n: chr(0x245F + n) if 0 < n <= 20 else str(n),
}


class Numbering:
    """Counts list paragraphs in document order and gives each its marker."""

    def __init__(self, root: etree._Element | None) -> None:
        self._levels: dict[str, dict[int, etree._Element]] = {}
        self._abstract: dict[str, str] = {}
        self._starts: dict[tuple[str, int], int] = {}
        self._counts: dict[str, dict[int, int]] = {}
        if root is None:
            return
        for abstract in children(root, "abstractNum"):
            self._levels[attribute(abstract, "abstractNumId")] = {
                _integer(attribute(level, "ilvl")): level for level in children(abstract, "lvl")
            }
        for number in children(root, "num"):
            identifier = attribute(number, "numId")
            self._abstract[identifier] = _value(child(number, "abstractNumId"))
            for override in children(number, "lvlOverride"):
                start = _value(child(override, "startOverride"))
                if start:
                    level = _integer(attribute(override, "ilvl"))
                    self._starts[identifier, level] = _integer(start)

    def depth(self, properties: etree._Element) -> int:
        """How deep a list paragraph is nested, from 0."""
        return min(_integer(_value(child(properties, "ilvl"))), 8)

    def marker(self, properties: etree._Element) -> str:
        """The marker of the next paragraph of this list, such as `2.1` or `-`; or empty."""
        identifier, depth = _value(child(properties, "numId")), self.depth(properties)
        abstract = self._abstract.get(identifier)
        if identifier in ("", "0") or abstract is None:
            return ""
        levels = self._levels.get(abstract, {})
        level = levels.get(depth)
        if level is None:
            return "-"
        kind = _value(child(level, "numFmt"))
        if kind == "bullet":
            return "-"
        if kind == "none":
            return ""
        self._count(identifier, abstract, depth)
        return self._render(level, levels, self._counts[abstract])

    def _count(self, identifier: str, abstract: str, depth: int) -> None:
        """Advance the count; lists over one definition go on counting unless told to restart."""
        counts = self._counts.setdefault(abstract, {})
        levels = self._levels[abstract]
        for above in range(depth):
            counts.setdefault(above, _start(levels.get(above)))
        restart = self._starts.pop((identifier, depth), None)
        if restart is not None or depth not in counts:
            counts[depth] = restart if restart is not None else _start(levels.get(depth))
        else:
            counts[depth] += 1
        for below in [level for level in counts if level > depth]:
            del counts[below]

    @staticmethod
    def _render(
        level: etree._Element, levels: dict[int, etree._Element], counts: dict[int, int]
    ) -> str:
        pattern = _value(child(level, "lvlText"))
        legal = child(level, "isLgl") is not None

        def digits(found: re.Match[str]) -> str:
            depth = int(found[1]) - 1
            number = counts.get(depth, 1)
            kind = "" if legal else _value(child(levels.get(depth), "numFmt"))
            return _FORMATS.get(kind, str)(number)

        return re.sub(r"%(\d)", digits, pattern).strip()


def _start(level: etree._Element | None) -> int:
    return _integer(_value(child(level, "start")) or "1")


def _integer(text: str) -> int:
    return int(text) if text.lstrip("-").isdigit() else 0


def _value(element: etree._Element | None) -> str:
    return attribute(element, "val") if element is not None else ""
