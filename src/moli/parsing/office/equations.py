"""Office equations written on one line, the way a person would type them."""

from lxml import etree

from moli.parsing.office.markup import attribute, child, local_name

_PROPERTIES = ("Pr", "ctrlPr")


def equation_text(element: etree._Element | None) -> str:
    """An equation as text: `a/b`, `x^2`, `x_i`, `√(x+1)`; empty for None."""
    if element is None:
        return ""
    name = local_name(element)
    if name == "t":
        return element.text or ""
    if name.endswith(_PROPERTIES) and name != "r":
        return ""
    render = _RENDERERS.get(name)
    return render(element) if render else "".join(equation_text(part) for part in element)


def _operand(element: etree._Element | None) -> str:
    """The text of an operand, in brackets if it is more than one symbol or number."""
    text = equation_text(element).strip()
    return text if len(text) <= 1 or text.isalnum() else f"({text})"


def _fraction(element: etree._Element) -> str:
    """A fraction as `numerator/denominator`."""
    return f"{_operand(child(element, 'num'))}/{_operand(child(element, 'den'))}"


def _with_scripts(element: etree._Element) -> str:
    """A base with its subscript and superscript."""
    below, above = child(element, "sub"), child(element, "sup")
    base = equation_text(child(element, "e")).strip()
    return base + _script("_", below) + _script("^", above)


def _script(sign: str, element: etree._Element | None) -> str:
    """A subscript or superscript behind its sign; empty if it has no text."""
    return f"{sign}{_operand(element)}" if equation_text(element).strip() else ""


def _radical(element: etree._Element) -> str:
    """A root, with its degree unless it is a square root."""
    degree = equation_text(child(element, "deg")).strip()
    body = equation_text(child(element, "e")).strip()
    return f"√({body})" if not degree else f"√[{degree}]({body})"


def _large_operator(element: etree._Element) -> str:
    """A sum, product or integral with its bounds."""
    sign = child(element, "naryPr", "chr")
    symbol = attribute(sign, "val") if sign is not None else "∫"
    below, above = child(element, "sub"), child(element, "sup")
    bounds = _script("_", below) + _script("^", above)
    return f"{symbol}{bounds} {equation_text(child(element, 'e'))}"


def _delimiters(element: etree._Element) -> str:
    """An expression between brackets or bars."""
    delimiters = {}
    for name, default in (("begChr", "("), ("sepChr", "|"), ("endChr", ")")):
        delimiter = child(element, "dPr", name)
        delimiters[name] = attribute(delimiter, "val") if delimiter is not None else default
    inside = delimiters["sepChr"].join(
        equation_text(part) for part in element if local_name(part) == "e"
    )
    return delimiters["begChr"] + inside + delimiters["endChr"]


def _function(element: etree._Element) -> str:
    """A function such as `sin` and its argument."""
    name, body = (
        equation_text(child(element, "fName")).strip(),
        equation_text(child(element, "e")).strip(),
    )
    return f"{name}{body}" if body.startswith(("(", "[", "{")) else f"{name} {body}"


def _matrix_rows(element: etree._Element) -> str:
    """The rows of a matrix or of aligned equations, separated by semicolons."""
    rows = []
    for row in element:
        if local_name(row) == "mr":
            rows.append(
                " ".join(equation_text(cell).strip() for cell in row if local_name(cell) == "e")
            )
        elif local_name(row) == "e":
            rows.append(equation_text(row).strip())
    return "; ".join(rows)


def _paragraph(element: etree._Element) -> str:
    """The equations of a paragraph, a line each."""
    return "\n".join(equation_text(part).strip() for part in element if local_name(part) == "oMath")


_RENDERERS = {
    "f": _fraction, "rad": _radical, "nary": _large_operator, "d": _delimiters, "func": _function,
    **dict.fromkeys(("sSub", "sSup", "sSubSup", "sPre"), _with_scripts),
    **dict.fromkeys(("m", "eqArr"), _matrix_rows),
    "oMathPara": _paragraph,
}  # fmt: skip
