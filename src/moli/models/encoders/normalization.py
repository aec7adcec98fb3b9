"""Normalization of characters as SentencePiece stores it: a map that is compiled into a trie.

The compiled form is what the normalizer `Precompiled` of the tokenizers library reads: the size of
the trie, the trie as a double array of 32-bit units (as darts-clone writes them), and the replacing
texts, each ended by a zero byte.
"""

from __future__ import annotations

import struct
import sys
import unicodedata
from collections.abc import Mapping
from itertools import count
from typing import TypeAlias

_MAX_BYTES = 5  # of a character with its marks that `Precompiled` looks up as a whole
_SEARCHED = 512  # units back from the highest base in which room for another is looked for
_HAS_VALUE, _IS_VALUE = 1 << 8, 1 << 31

_Trie: TypeAlias = "dict[int, _Trie | int]"  # by byte; what a key is replaced by is at byte 0


def with_decomposed(characters: Mapping[str, str]) -> dict[str, str]:
    """A map that also composes letters and marks, as in `e` and an acute accent.

    Args:
        characters: what single characters are replaced by.
    """
    composed = {}
    for character in map(chr, range(0x80, sys.maxunicode + 1)):
        parts = unicodedata.normalize("NFD", character)
        whole = unicodedata.normalize("NFC", parts)
        if len(parts) > len(whole) == 1 and len(parts.encode()) <= _MAX_BYTES:
            composed[parts] = characters.get(whole, whole)
    return {**composed, **characters}


def compile_map(replacements: Mapping[str, str]) -> bytes:
    """A map of texts in the form that `Precompiled` reads."""
    texts = bytearray()
    trie: _Trie = {}
    for text, replacement in sorted(replacements.items()):
        node = trie
        for byte in text.encode():
            node = node.setdefault(byte, {})  # type: ignore[assignment]  # no value is at a byte
        node[0] = len(texts)
        texts += replacement.encode() + b"\0"
    array = _double_array(trie)
    units = struct.pack(f"<{len(array)}I", *array)
    return struct.pack("<I", len(units)) + units + bytes(texts)


def _double_array(trie: _Trie) -> list[int]:
    """The units of a trie.

    The child of the unit at `i` by byte `b` is at `i ^ offset ^ b`, and says `b` itself. A base
    `i ^ offset` is one unit's only, or that unit would have another's children.
    """
    units: dict[int, int] = {0: 0}
    bases: set[int] = set()
    highest = 0
    waiting = [(trie, 0)]
    while waiting:
        node, index = waiting.pop()
        base = next(
            start
            for start in count(max(highest - _SEARCHED, 0))
            if start not in bases and not any(start ^ byte in units for byte in node)
        )
        bases.add(base)
        highest = max(highest, base)
        units[index] |= (base ^ index) << 10 | (_HAS_VALUE if 0 in node else 0)
        for byte, child in node.items():
            place = base ^ byte
            if isinstance(child, int):
                units[place] = _IS_VALUE | child
            else:
                units[place] = byte
                waiting.append((child, place))
    return [units.get(index, 0) for index in range((max(units) | 0xFF) + 1)]
