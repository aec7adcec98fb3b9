"""Translations of messages, keyed by their English text with names in braces.

A message is written in English where it arises, and translated where it is shown. There it is
compared with the catalogue's templates, and the values are taken over from its text:

    "no model is called '{name}'" = "没有名为 {name} 的模型"

A name may say what fits it, where a template would fit too much otherwise: `{count:n}` is a number,
and `{names:w}` a word, or several with commas.

So code that raises errors knows nothing of languages, and `import moli` speaks English.
"""

from __future__ import annotations

import re
import string
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Literal

Language = Literal["en", "zh"]

_GAP = re.compile(r"[.?!:;,] ")  # between two sentences, or items
_VALUES = {"": ".*?", "n": r"-?[\d.,]+", "w": r"\S+(?:, \S+)*"}  # by the kind after the colon
_REST = r"(?:(?!\. [A-Z]).)*"
_MARKS = {".": "。", ":": "：", ";": "；", ",": "，"}


class Template:
    """A message with names in braces for its values."""

    def __init__(self, text: str, translation: str) -> None:
        self.text, self.translation = text, translation
        self.parts = tuple(string.Formatter().parse(text))
        self._literals = tuple(literal for literal, *_ in self.parts)
        self.size = sum(map(len, self._literals))
        self._pattern: re.Pattern[str] | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it has no names."""
        return all(name is None for _, name, *_ in self.parts)

    def match(self, text: str) -> dict[str, str] | None:
        """The values with which the template gives a text; None if it cannot."""
        if not all(literal in text for literal in self._literals):
            return None  # most templates, for a fraction of what the expression costs
        if self._pattern is None:
            self._pattern = re.compile("".join(map(self._expression, range(len(self.parts)))), re.S)
        match = self._pattern.fullmatch(text)
        return match.groupdict() if match else None

    def _expression(self, index: int) -> str:
        """The regular expression of a part: its text, and the value behind it.

        A value at the end of the message goes no further than its sentence.
        """
        literal, name, spec, _ = self.parts[index]
        if name is None:
            return re.escape(literal)
        is_last = index == len(self.parts) - 1
        value = _REST if is_last and not spec else _VALUES[spec or ""]
        return re.escape(literal) + f"(?P<{name}>{value})"


class Catalogue:
    """The messages of one language, by their English text."""

    def __init__(self, entries: Mapping[str, str]) -> None:
        parsed = [Template(text, translation) for text, translation in entries.items()]
        self._by_shape = {shape(text): translation for text, translation in entries.items()}
        self._texts = {t.text.format(): t.translation.format() for t in parsed if t.is_plain}
        # The most specific first: "{count} rows" also fits a longer message that ends so.
        self._templates = sorted((t for t in parsed if not t.is_plain), key=lambda t: -t.size)

    def translate(self, text: str) -> str:
        """A message in this language; what the catalogue lacks stays English.

        A text that is no entry is translated part by part: sentences, and items between commas.
        Values that are sentences themselves are translated too, as in an error that quotes another.
        """
        whole = self._entry(text) or self._part(text)
        if whole is not None:
            return whole
        gaps = list(_GAP.finditer(text))
        for gap in gaps:
            first = self._part(text[: gap.end() - 1])
            if first is not None:
                return first + self.translate(text[gap.end() :])
        if gaps:
            end = gaps[0].end()
            return text[:end] + self.translate(text[end:])
        return text

    def template(self, text: str) -> str:
        """The translation of a template, in which its names are still to be filled in."""
        return self._by_shape.get(shape(text), text)

    def _part(self, text: str) -> str | None:
        """The translation of a part that ends with a mark, which its entry may lack.

        A single word is a name, such as the key before a colon, and is no part.
        """
        if " " not in text:
            return None
        entry = self._entry(text[:-1]) if text[-1] in _MARKS else None
        return self._entry(text) if entry is None else entry + _MARKS[text[-1]]

    def _entry(self, text: str) -> str | None:
        """The translation of the entry that a text is; None if it is none."""
        if text in self._texts:
            return self._texts[text]
        for template in self._templates:
            values = template.match(text)
            if values is not None:
                translated = {name: self._value(value) for name, value in values.items()}
                return template.translation.format(**translated)
        return None

    def _value(self, value: str) -> str:
        """A value of a message: a name stays as it is, and words are translated."""
        return self.translate(value) if " " in value else value


def shape(template: str) -> str:
    """A template without its names, which may differ between the catalogue and the code."""
    parts = string.Formatter().parse(template)
    return "".join(literal + ("{}" if name is not None else "") for literal, name, *_ in parts)


def translate(text: str) -> str:
    """A message in the language that the process uses: English, unless `use_language` said other.

    Args:
        text: the whole message in English, its values filled in.
    """
    return text if _language == "en" else load_catalogue(_language).translate(text)


_language: Language = "en"


def use_language(language: Language) -> None:
    """Have `translate` give this language from now on, in the whole process."""
    global _language
    _language = language


@cache
def load_catalogue(language: Language) -> Catalogue:
    """The catalogue of a language."""
    return Catalogue(read_entries(language))


def read_entries(language: Language) -> dict[str, str]:
    """English messages and their translations, in the order of the file."""
    text = files("moli.translations").joinpath(f"{language}.toml").read_text(encoding="utf-8")
    entries: dict[str, str] = tomllib.loads(text)
    return entries
