"""The numbers and bullets of Word lists, computed from the numbering definitions."""

import re
from collections.abc import Callable

from lxml import etree

from moli.parsing.office.markup import attribute, child, children, val

_ROMAN = ((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"),
          (40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"))  # fmt: skip
_DIGITS = "零一二三四五六七八九"


def roman_numeral(number: int) -> str:
    """`number` in lower-case Roman numerals."""
    numeral = ""
    for value, letters in _ROMAN:
        numeral += letters * (number // value)
        number %= value
    return numeral


def repeated_letter(number: int) -> str:
    """1 -> a, 26 -> z, 27 -> aa, as Word counts."""
    return chr(ord("a") + (number - 1) % 26) * ((number - 1) // 26 + 1) if number > 0 else "0"


def chinese_numeral(number: int) -> str:
    """`number` in Chinese numerals if it is below 100, else in digits."""
    if not 0 < number < 100:
        return str(number)
    tens, ones = divmod(number, 10)
    head = ("" if tens == 1 else _DIGITS[tens]) + "十" if tens else ""
    return head + (_DIGITS[ones] if ones else "")


_FORMATS: dict[str, Callable[[int], str]] = {
    "lowerRoman": roman_numeral,
    "upperRoman": lambda number: roman_numeral(number).upper(),
    "lowerLetter": repeated_letter,
    "upperLetter": lambda number: repeated_letter(number).upper(),
    "decimalZero": lambda number: f"{number:02d}",
    "chineseCounting": chinese_numeral,
    "chineseCountingThousand": chinese_numeral,
    "japaneseCounting": chinese_numeral,
    "decimalEnclosedCircle": lambda n: chr(0x245F + n) if 0 < n <= 20 else str(n),
    "decimalEnclosedCircleChinese": lambda n: chr(0x245F + n) if 0 < n <= 20 else str(n),
}


class Numbering:
    """Counts list paragraphs in document order and returns their markers."""

    def __init__(self, root: etree._Element | None) -> None:
        # By abstract definition and depth: the rules of a level, and the last number given.
        self._levels: dict[str, dict[int, etree._Element]] = {}
        self._counts: dict[str, dict[int, int]] = {}
        # By list: its abstract definition, and numbers to restart with, by depth.
        self._abstract_ids: dict[str, str] = {}
        self._restarts: dict[tuple[str, int], int] = {}
        if root is None:
            return
        for abstract in children(root, "abstractNum"):
            self._levels[attribute(abstract, "abstractNumId")] = {
                _integer(attribute(level, "ilvl")): level for level in children(abstract, "lvl")
            }
        for number in children(root, "num"):
            identifier = attribute(number, "numId")
            self._abstract_ids[identifier] = val(child(number, "abstractNumId"))
            for override in children(number, "lvlOverride"):
                start = val(child(override, "startOverride"))
                if start:
                    level = _integer(attribute(override, "ilvl"))
                    self._restarts[identifier, level] = _integer(start)

    def depth(self, properties: etree._Element) -> int:
        """Nesting depth of a list paragraph, from 0."""
        return min(_integer(val(child(properties, "ilvl"))), 8)

    def marker(self, properties: etree._Element) -> str:
        """The marker of the next paragraph of a list, such as `2.1` or `-`; empty for none."""
        identifier, depth = val(child(properties, "numId")), self.depth(properties)
        abstract = self._abstract_ids.get(identifier)
        if identifier in ("", "0") or abstract is None:
            return ""
        levels = self._levels.get(abstract, {})
        level = levels.get(depth)
        if level is None:
            return "-"
        kind = val(child(level, "numFmt"))
        if kind == "bullet":
            return "-"
        if kind == "none":
            return ""
        self._advance(identifier, abstract, depth)
        return self._marker_text(level, levels, self._counts[abstract])

    def _advance(self, identifier: str, abstract: str, depth: int) -> None:
        """Count a paragraph; lists with one definition continue its count unless they restart."""
        counts = self._counts.setdefault(abstract, {})
        levels = self._levels[abstract]
        for above in range(depth):
            counts.setdefault(above, _start(levels.get(above)))
        restart = self._restarts.pop((identifier, depth), None)
        if restart is not None or depth not in counts:
            counts[depth] = restart if restart is not None else _start(levels.get(depth))
        else:
            counts[depth] += 1
        for below in [level for level in counts if level > depth]:
            del counts[below]

    @staticmethod
    def _marker_text(
        level: etree._Element, levels: dict[int, etree._Element], counts: dict[int, int]
    ) -> str:
        """The marker that the counts make of a level's pattern, such as `%1.%2`."""
        pattern = val(child(level, "lvlText"))
        legal = child(level, "isLgl") is not None

        def numeral(placeholder: re.Match[str]) -> str:
            """The number of the level that a placeholder such as `%1` names, in its format."""
            depth = int(placeholder[1]) - 1
            number = counts.get(depth, 1)
            kind = "" if legal else val(child(levels.get(depth), "numFmt"))
            return _FORMATS.get(kind, str)(number)

        return re.sub(r"%(\d)", numeral, pattern).strip()


def _start(level: etree._Element | None) -> int:
    """The first number of a level."""
    return _integer(val(child(level, "start")) or "1")


def _integer(text: str) -> int:
    """The integer in `text`; 0 if it is none."""
    return int(text) if text.lstrip("-").isdigit() else 0
