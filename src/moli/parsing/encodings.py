"""Decoding text whose encoding is not declared, or declared wrongly."""

import codecs
from collections import Counter
from dataclasses import dataclass

from moli.parsing.blocks import Blocks

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE_BYTES = 1 << 16
# Declared encoding -> the superset of it that such text usually uses.
_SUPERSETS = {"gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932",
              "ks_c_5601-1987": "cp949", "euc-kr": "cp949", "iso-8859-1": "cp1252",
              "latin-1": "cp1252", "ascii": "cp1252", "us-ascii": "cp1252",
              "x-sjis": "cp932", "big5": "cp950"}  # fmt: skip


_TYPOGRAPHY = frozenset("“”„‘’‚«»‹›–—…•·€£§°©®™½¼¾×\xa0\xad²")
# The accented letters of German, French, Spanish, Portuguese, Italian, Dutch, Nordic, Icelandic.
_WESTERN_ACCENTS = ("äöüßé", "éèêëàâçùûîïôœæ", "áéíóúñü¿¡ªº", "ãõáéíóúâêôçàü", "àèéìòùî",
                    "éëïöüèáó", "åäöæøéü", "áðéíóúýþæö")  # fmt: skip


@dataclass(frozen=True, slots=True)
class _EastAsianEncoding:
    """An East Asian encoding and the lead bytes of the commonest characters in it."""

    name: str
    common_leads: tuple[range, ...]


_EAST_ASIAN = (
    _EastAsianEncoding("gb18030", (range(0xB0, 0xD8), range(0xA1, 0xA4))),
    _EastAsianEncoding("cp932", (range(0x81, 0x84), range(0x88, 0x98))),
    _EastAsianEncoding("cp950", (range(0xA4, 0xC7), range(0xA1, 0xA4))),
    _EastAsianEncoding("cp949", (range(0xB0, 0xC9), range(0xA1, 0xA4))),
    _EastAsianEncoding("euc_jp", (range(0xA1, 0xA9), range(0xB0, 0xD0))),
)


def decode(data: bytes, declared: str = "", blocks: Blocks | None = None) -> str:
    """`data` as text.

    A byte order mark and valid UTF-8 win; a `declared` encoding is used if the bytes are valid in
    it; otherwise the encoding is guessed, with a warning in `blocks` if given.
    """
    for byte_order_mark, name in _BYTE_ORDER_MARKS:
        if data.startswith(byte_order_mark):
            return data.decode(name, "replace")
    if text := _decode_strictly(data, "utf-8"):
        return text
    if declared and (text := _decode_strictly(data, _SUPERSETS.get(declared.lower(), declared))):
        return text
    name = guess_encoding(data)
    text = data.decode(name, "replace")
    if blocks is not None:
        blocks.warn(f"the encoding was guessed to be {name}")
        if "\ufffd" in text:
            blocks.warn("some characters could not be read")
    return text


def guess_encoding(data: bytes) -> str:
    """The likeliest encoding of text that is not valid UTF-8."""
    sample = data[:_SAMPLE_BYTES]
    if name := _utf16_without_byte_order_mark(sample):
        return name
    # A truncated last character is no evidence against UTF-8 or the East Asian sets.
    damaged = sample.decode("utf-8", "replace").count("\ufffd")
    high = sum(byte > 0x7F for byte in sample)
    if high and damaged / high < 0.05:
        return "utf-8"
    # First, because a curly quote before a letter is a valid character in the East Asian sets.
    if _is_western(sample):
        return "cp1252"
    scores = [
        (_common_character_score(sample, encoding), encoding.name) for encoding in _EAST_ASIAN
    ]
    best, name = max(scores)
    if best > 0.75:
        return name
    # Imported here because it takes longer to load than most files take to parse.
    from charset_normalizer import from_bytes

    match = from_bytes(sample).best()
    return match.encoding if match is not None else "cp1252"


def _decode_strictly(data: bytes, name: str) -> str | None:
    """`data` decoded, or None if it is not valid in the encoding or the encoding is unknown."""
    try:
        return data.decode(name)
    except (UnicodeDecodeError, LookupError):
        return None


def _utf16_without_byte_order_mark(sample: bytes) -> str:
    """The name of the UTF-16 that leaves zero bytes on one side of most pairs; empty if neither."""
    if len(sample) < 4:
        return ""
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    half = len(sample) // 2
    if odd > half * 0.4 and even < half * 0.05:
        return "utf-16-le"
    return "utf-16-be" if even > half * 0.4 and odd < half * 0.05 else ""


def _common_character_score(sample: bytes, encoding: _EastAsianEncoding) -> float:
    """Share of the non-ASCII characters that are common in the encoding, with bonuses by script."""
    text = _decode_sample(sample, encoding.name)
    if text is None:
        return 0.0
    non_ascii = common = 0
    for character in text:
        if character < "\x80":
            continue
        non_ascii += 1
        raw = character.encode(encoding.name)
        lead = raw[0]
        common += len(raw) == 2 and any(lead in row for row in encoding.common_leads)
    share = common / non_ascii if non_ascii else 0.0
    kana = sum("\u3041" <= character <= "\u30fe" for character in text)
    # Kana between kanji is the surest sign of Japanese, and absent from Chinese or Korean.
    if encoding.name in ("cp932", "euc_jp") and kana > 0.1 * non_ascii:
        return share + 0.2
    # Korean syllables lie within the half of the rows that Chinese spreads over.
    return share + 0.1 if encoding.name == "cp949" and share > 0.95 else share


def _is_western(sample: bytes) -> bool:
    """Whether, decoded as cp1252, nearly all accents belong to one Western European language.

    Central European texts decoded so show letters that no single Western language combines.
    """
    text = sample.decode("cp1252", "replace").lower()
    accents = Counter(letter for letter in text if letter > "\x7f" and letter not in _TYPOGRAPHY)
    letters = sum(letter.isalpha() for letter in text)
    known = max(sum(accents[letter] for letter in language) for language in _WESTERN_ACCENTS)
    return accents.total() < 0.3 * letters and known >= 0.97 * accents.total()


def _decode_sample(sample: bytes, name: str) -> str | None:
    """The sample decoded without a last character cut in two; None if it is not valid."""
    for cut in range(4):
        if text := _decode_strictly(sample[: len(sample) - cut], name):
            return text
    return None
