"""From bytes to text when the encoding is not stated, or stated wrongly."""

import codecs
from collections import Counter
from dataclasses import dataclass

from moli.parsing.blocks import Blocks

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE = 1 << 16
# Names that stand for a smaller set than the text under them usually uses.
_WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "ks_c_5601-1987": "cp949",
          "euc-kr": "cp949", "iso-8859-1": "cp1252", "latin-1": "cp1252", "ascii": "cp1252",
          "us-ascii": "cp1252", "x-sjis": "cp932", "big5": "cp950"}  # fmt: skip


_TYPOGRAPHY = frozenset("“”„‘’‚«»‹›–—…•·€£§°©®™½¼¾×\xa0\xad²")
# German, French, Spanish, Portuguese, Italian, Dutch, and the languages of the North.
_WESTERN = ("äöüßé", "éèêëàâçùûîïôœæ", "áéíóúñü¿¡ªº", "ãõáéíóúâêôçàü", "àèéìòùî", "éëïöüèáó",
            "åäöæøéü", "áðéíóúýþæö")  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Multibyte:
    """An East Asian encoding and the lead bytes of the characters that texts mostly use."""

    name: str
    common: tuple[range, ...]


_EAST_ASIAN = (
    _Multibyte("gb18030", (range(0xB0, 0xD8), range(0xA1, 0xA4))),
    _Multibyte("cp932", (range(0x81, 0x84), range(0x88, 0x98))),
    _Multibyte("cp950", (range(0xA4, 0xC7), range(0xA1, 0xA4))),
    _Multibyte("cp949", (range(0xB0, 0xC9), range(0xA1, 0xA4))),
    _Multibyte("euc_jp", (range(0xA1, 0xA9), range(0xB0, 0xD0))),
)


def decode(data: bytes, declared: str = "", blocks: Blocks | None = None) -> str:
    """`data` as text. A declared encoding is believed if the bytes fit it."""
    for mark, name in _MARKS:
        if data.startswith(mark):
            return data.decode(name, "replace")
    if text := _strict(data, "utf-8"):
        return text
    if declared and (text := _strict(data, _WIDER.get(declared.lower(), declared))):
        return text
    name = guess(data)
    text = data.decode(name, "replace")
    if blocks is not None:
        blocks.warn(f"the encoding was guessed to be {name}")
        if "\ufffd" in text:
            blocks.warn("some characters could not be read")
    return text


def guess(data: bytes) -> str:
    """The likeliest encoding of text that is not valid UTF-8."""
    sample = data[:_SAMPLE]
    if name := _utf16_without_mark(sample):
        return name
    # A truncated last character is no evidence against UTF-8 or the East Asian sets.
    damaged = sample.decode("utf-8", "replace").count("\ufffd")
    high = sum(byte > 0x7F for byte in sample)
    if high and damaged / high < 0.05:
        return "utf-8"
    scores = [(_score(sample, encoding), encoding.name) for encoding in _EAST_ASIAN]
    best, name = max(scores)
    if best > 0.75:
        return name
    if _is_western(sample):
        return "cp1252"
    # Imported here because it takes longer to load than most files take to parse.
    from charset_normalizer import from_bytes

    found = from_bytes(sample).best()
    return found.encoding if found is not None else "cp1252"


def _strict(data: bytes, name: str) -> str | None:
    try:
        return data.decode(name)
    except (UnicodeDecodeError, LookupError):
        return None


def _utf16_without_mark(sample: bytes) -> str:
    """UTF-16 shows as zero bytes on one side of most pairs."""
    if len(sample) < 4:
        return ""
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    half = len(sample) // 2
    if odd > half * 0.4 and even < half * 0.05:
        return "utf-16-le"
    return "utf-16-be" if even > half * 0.4 and odd < half * 0.05 else ""


def _score(sample: bytes, encoding: _Multibyte) -> float:
    """How much of the text beyond ASCII is made of that encoding's common characters."""
    text = _whole(sample, encoding.name)
    if text is None:
        return 0.0
    beyond = common = 0
    for character in text:
        if character < "\x80":
            continue
        beyond += 1
        raw = character.encode(encoding.name)
        lead = raw[0]
        common += len(raw) == 2 and any(lead in row for row in encoding.common)
    share = common / beyond if beyond else 0.0
    kana = sum("\u3041" <= character <= "\u30fe" for character in text)
    # Kana between kanji is the surest sign of Japanese, and absent from Chinese or Korean.
    if encoding.name in ("cp932", "euc_jp") and kana > 0.1 * beyond:
        return share + 0.2
    # Korean syllables lie within the half of the rows that Chinese spreads over.
    return share + 0.1 if encoding.name == "cp949" and share > 0.95 else share


def _is_western(sample: bytes) -> bool:
    """Whether, read as Western European, nearly all accents belong to one of its languages.

    Read like this, Central European texts show letters that no single Western language combines.
    """
    text = sample.decode("cp1252", "replace").lower()
    accents = Counter(letter for letter in text if letter > "\x7f" and letter not in _TYPOGRAPHY)
    letters = sum(letter.isalpha() for letter in text)
    known = max(sum(accents[letter] for letter in letters_of) for letters_of in _WESTERN)
    return accents.total() < 0.3 * letters and known >= 0.97 * accents.total()


def _whole(sample: bytes, name: str) -> str | None:
    """The sample decoded, allowing for a last character cut in two."""
    for cut in range(4):
        if text := _strict(sample[: len(sample) - cut], name):
            return text
    return None
