"""The characters of fonts of symbols, which Office files hold in the private use area.

symbol_character("Symbol", 0xF0B3)  # "≥"
"""

# The encoding of the font Symbol from the space on; blank where it has pieces of brackets.
_SYMBOL = (
    " !∀#∃%&∍()∗+,−./0123456789:;<=>?"
    "≅ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ[∴]⊥_"
    " αβχδεφγηιϕκλμνοπθρστυϖωξψζ{|}∼ "
    "                                "
    "€ϒ′≤⁄∞ƒ♣♦♥♠↔←↑→↓°±″≥×∝∂•÷≠≡≈…   "
    "ℵℑℜ℘⊗⊕∅∩∪⊃⊇⊄⊂⊆∈∉∠∇®©™∏√⋅¬∧∨⇔⇐⇑⇒⇓"
    "◊〈®©™∑           〉∫             "
)
_WINGDINGS = {
    0x4A: "☺", 0x6C: "•", 0x6E: "•", 0x6F: "☐", 0x71: "☐", 0x9F: "•", 0xA7: "•", 0xA8: "☐",
    0xB7: "•", 0xD8: "•", 0xDF: "←", 0xE0: "→", 0xE1: "↑", 0xE2: "↓", 0xE8: "→", 0xF0: "⇨",
    0xFB: "✗", 0xFC: "✓", 0xFD: "☒", 0xFE: "☒",
}  # fmt: skip


def symbol_character(font: str, code: int) -> str:
    """The character at `code`, with or without 0xF000, in a font; empty if it is not known."""
    place = code - 0xF000 if code >= 0xF000 else code
    if font.casefold() != "symbol":
        return _WINGDINGS.get(place, chr(code) if code < 0xE000 and place > 0xFF else "")
    index = place - ord(" ")
    return _SYMBOL[index].strip() if 0 < index < len(_SYMBOL) else ""
