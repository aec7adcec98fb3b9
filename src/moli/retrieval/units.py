"""Units of measurement, in families: litres that a question asks for are not given in kilograms."""

from __future__ import annotations

import re

from moli.retrieval.chinese import IDEOGRAPH
from moli.retrieval.tokens import fold

# Folded, as all text that is compared with them.
_FAMILIES = {
    "length": """
        mm millimetre millimetres millimeter millimeters cm centimetre centimetres centimeter
        centimeters m metre metres meter meters km kilometre kilometres kilometer kilometers inch
        inches feet foot ft yard mile miles 毫米 厘米 公分 米 公尺 公里 千米 英寸 英尺 里
    """,
    "mass": """
        mg milligram milligrams g gram grams kg kilo kilos kilogram kilograms t ton tons tonne
        tonnes pound pounds lb lbs ounce oz 毫克 克 公斤 千克 吨 斤 磅 公吨
    """,
    "volume": """
        ml millilitre milliliter cl l litre liter litres liters gallon gallons 毫升 升 公升 立方米
        加仑
    """,
    "temperature": "°c °f celsius fahrenheit degrees degree 度 摄氏度",
    "power": "w watt watts kw kilowatt kilowatts mw megawatt hp horsepower 瓦 千瓦 兆瓦 马力",
    "energy": "wh kwh mwh joule joules kj kcal calorie calories 千瓦时 度电 焦耳 千卡",
    "voltage": "v volt volts kv 伏 伏特 千伏",
    "current": "a amp amps ampere amperes ma 安 安培",
    "pressure": "bar bars psi pascal kpa mpa 巴 帕 磅",
    "speed": "km/h mph kmh knots 公里/小时",
    "percent": "% percent percentage 百分之 个百分点",
    "data": """
        kb mb gb tb kilobyte megabyte megabytes gigabyte gigabytes terabyte bytes 字节 兆 吉
    """,
}
_UNITS = {family: units.split() for family, units in _FAMILIES.items()}
_FAMILIES_OF = {
    unit: tuple(family for family, units in _UNITS.items() if unit in units)
    for units in _UNITS.values()
    for unit in units
}
_REQUEST = re.compile(r"(?:how many|how much|\bin|多少|几)\s*([^\W\d_]+|°[cf])")
_MEASURES = {
    family: re.compile(
        r"(?:(?<=\d)|(?<=[\s(（\d匹一二三四五六七八九十百千万])|^)"
        rf"(?:{'|'.join(map(re.escape, sorted(units, key=len, reverse=True)))})(?![a-z])"
    )
    for family, units in _UNITS.items()
}
_QUANTITY = re.compile(r"\d[\d.,]*([a-z%°]+)", re.IGNORECASE)
# Endings of numbers that are no units: 20th, 1990s, 3pm, 12k.
_ENDINGS = frozenset(["st", "nd", "rd", "th", "s", "am", "pm", "h", "x", "k", "m", "bn", "min"])


def requested_unit(question: str) -> tuple[str, tuple[str, ...]] | None:
    """The unit that a question asks for, with its families: "how many litres", 多少吨."""
    for match in _REQUEST.finditer(fold(question)):
        units = [unit for unit in _FAMILIES_OF if _begins_with_unit(match[1], unit)]
        if units:
            longest = max(units, key=len)  # 千瓦时 and not 千瓦
            return longest, _FAMILIES_OF[longest]
    return None


def _begins_with_unit(words: str, unit: str) -> bool:
    """Whether words of a question are a unit, or a run of Chinese begins with it."""
    if IDEOGRAPH.match(unit):
        return words.startswith(unit)
    return len(unit) > 1 and words == unit  # a single letter is mostly no unit


def has_unit(family: str, folded: str) -> bool:
    """Whether a folded text has a unit of a family after a number or as a word of its own."""
    return _MEASURES[family].search(folded) is not None


def is_quantity(word: str) -> bool:
    """Whether a word is a number with a unit, an ordinal or a decade: 5km, 20th, 1990s, 3pm."""
    match = _QUANTITY.fullmatch(word)
    return match is not None and (
        match[1].casefold() in _FAMILIES_OF or match[1].casefold() in _ENDINGS
    )
