"""Dates, times and lengths of time as a spreadsheet shows them."""

import datetime
import locale as locales
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

EPOCH_1900 = datetime.datetime(1899, 12, 30)
EPOCH_1904 = datetime.datetime(1904, 1, 1)
_DAY_LIMIT = 2_958_466  # The day after 9999-12-31.
_LEAP_DAY = 60  # Lotus 1-2-3, and Excel after it, have a 29 February 1900.
_SYSTEM_DATE = ("f800", "x-sysdate")
_SYSTEM_TIME = ("f400", "x-systime")

# Months and days from Monday on, with the lengths of their short forms.
_NAMES = {
    "en": ("January February March April May June July August September October November December",
           "Monday Tuesday Wednesday Thursday Friday Saturday Sunday", 3, 3),
    "de": ("Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
           "Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag", 3, 2),
    "es": (("enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre "
           "diciembre"), "lunes martes miércoles jueves viernes sábado domingo", 3, 3),
    "it": (("gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre "
           "dicembre"), "lunedì martedì mercoledì giovedì venerdì sabato domenica", 3, 3),
    "nl": (("januari februari maart april mei juni juli augustus september oktober november "
           "december"), "maandag dinsdag woensdag donderdag vrijdag zaterdag zondag", 3, 2),
    "fr": ("janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
           "lundi mardi mercredi jeudi vendredi samedi dimanche", 4, 3),
    "pt": (("janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro "
           "dezembro"), ("segunda-feira terça-feira quarta-feira quinta-feira sexta-feira sábado "
           "domingo"), 3, 3),
    "zh": ("一月 二月 三月 四月 五月 六月 七月 八月 九月 十月 十一月 十二月",
           "星期一 星期二 星期三 星期四 星期五 星期六 星期日", 3, 3),
    "ja": ("1月 2月 3月 4月 5月 6月 7月 8月 9月 10月 11月 12月",
           "月曜日 火曜日 水曜日 木曜日 金曜日 土曜日 日曜日", 3, 1),
}  # fmt: skip


TokenKind = Literal["text", "general", "noon", "exponent", "date", "elapsed", "digits", "sign"]


@dataclass(frozen=True, slots=True)
class Token:
    """A part of a format code; `text` is what it shows, or the placeholders that it consists of."""

    kind: TokenKind
    text: str


def show_date(
    days: float, tokens: Sequence[Token], locale: str, epoch: datetime.datetime
) -> str | None:
    """A number of days as the tokens of a format code show it; None if it is no date.

    Args:
        days: days since `epoch`.
        locale: the locale of names, as `407` or `de-DE`; with one whose names are not known,
            a date is as in ISO 8601.
    """
    if any(token.kind == "elapsed" for token in tokens):
        return _show_elapsed(days, tokens)
    if not 0 <= days < _DAY_LIMIT:
        return None
    decimals = max(len(token.text.partition(".")[2]) for token in tokens if token.kind == "date")
    microseconds = round(days * 86_400 * 10**decimals) * 10 ** (6 - min(decimals, 6))
    if epoch == EPOCH_1900 and 1 <= days < _LEAP_DAY:
        epoch += datetime.timedelta(days=1)
    moment = epoch + datetime.timedelta(microseconds=microseconds)
    has_date = any(token.kind == "date" and token.text[0] in "ydaeg" for token in tokens)
    language = _language(locale)
    if locale.lower() in _SYSTEM_TIME or (days < 1 and has_date):
        return moment.strftime("%H:%M:%S")
    has_names = any(token.text[:3] in ("mmm", "ddd", "aaa") for token in tokens)
    if locale.lower() in _SYSTEM_DATE or (has_names and language not in _NAMES):
        return moment.strftime("%Y-%m-%d" if days == int(days) else "%Y-%m-%d %H:%M:%S")
    is_halved = any(token.kind == "noon" for token in tokens)
    shown = [
        _show_part(token, moment, language, is_minute=is_minute, is_halved=is_halved)
        for token, is_minute in zip(tokens, _minutes(tokens), strict=True)
    ]
    return " ".join("".join(shown).split())


def _language(locale: str) -> str:
    """The language of a locale; English if it names none."""
    if not locale:
        return "en"
    try:
        name = locales.windows_locale.get(int(locale, 16) & 0xFFFF, "")
    except ValueError:
        name = locale
    return name[:2].lower()


def _minutes(tokens: Sequence[Token]) -> list[bool]:
    """For each token whether it stands for minutes: an `m` after hours or before seconds."""
    parts = [n for n, token in enumerate(tokens) if token.kind in ("date", "elapsed")]
    result = [False] * len(tokens)
    for place, n in enumerate(parts):
        before = tokens[parts[place - 1]].text[0] if place else ""
        after = tokens[parts[place + 1]].text[0] if place + 1 < len(parts) else ""
        is_m = tokens[n].text[0] == "m" and len(tokens[n].text) <= 2
        result[n] = is_m and (before == "h" or after == "s")
    return result


def _show_part(
    token: Token, moment: datetime.datetime, language: str, *, is_minute: bool, is_halved: bool
) -> str:
    """The part of a moment that one token of a format code shows.

    Args:
        is_minute: whether an `m` stands for minutes.
        is_halved: whether hours are counted to twelve.
    """
    if token.kind == "noon":
        first, _, second = token.text.partition("/")
        return first if moment.hour < 12 else second
    if token.kind != "date":
        return token.text
    unit, width = token.text[0], len(token.text)
    months, weekdays, short_month, short_day = _NAMES.get(language, _NAMES["en"])
    if unit in "yeb":
        return f"{moment.year % 100:02d}" if unit == "y" and width <= 2 else str(moment.year)
    if unit in "ad" and width > 2:
        name = weekdays.split()[moment.weekday()]
        return name if width > 3 else name[-1] if unit == "a" else name[:short_day]
    if unit == "m" and width > 2 and not is_minute:
        name = months.split()[moment.month - 1]
        return name[:1] if width == 5 else name if width == 4 else name[:short_month]
    if unit == "s" and "." in token.text:
        whole, _, decimals = token.text.partition(".")
        return f"{moment.second:0{len(whole)}d}." + f"{moment.microsecond:06d}"[: len(decimals)]
    hour = (moment.hour % 12 or 12) if is_halved else moment.hour
    values = {"m": moment.minute if is_minute else moment.month, "d": moment.day, "h": hour,
              "s": moment.second}  # fmt: skip
    return f"{values[unit]:0{min(width, 2)}d}" if unit in values else ""


def _show_elapsed(days: float, tokens: Sequence[Token]) -> str:
    """A length of time: its largest unit counts on, the smaller ones are the rest."""
    seconds = round(abs(days) * 86_400)
    unit = next(token.text[0] for token in tokens if token.kind == "elapsed")
    rest = {"h": seconds // 3600, "m": seconds // 60 % 60, "s": seconds % 60}
    rest[unit] = {"h": seconds // 3600, "m": seconds // 60, "s": seconds}[unit]
    pieces = []
    for token in tokens:
        if token.kind in ("date", "elapsed") and token.text[0] in rest:
            width = len(token.text.partition(".")[0])
            pieces.append(f"{rest[token.text[0]]:0{width}d}")
        else:
            pieces.append(token.text)
    return ("-" if days < 0 and seconds else "") + "".join(pieces)
