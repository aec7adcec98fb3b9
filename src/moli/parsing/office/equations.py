"""Office equations written on one line, the way a person would type them."""

from lxml import etree

from moli.parsing.office.markup import attribute, child, local

_PROPERTIES = ("Pr", "ctrlPr")


def linear(element: etree._Element | None) -> str:
    """An equation as text: `a/b`, `x^2`, `x_i`, `√(x+1)`."""
    if element is None:
        return ""
    name = local(element)
    if name == "t":
        return element.text or ""
    if name.endswith(_PROPERTIES) and name != "r":
        return ""
    render = _RENDERERS.get(name)
    return render(element) if render else "".join(linear(part) for part in element)


def _group(element: etree._Element | None) -> str:
    """The text, in brackets if it is more than one symbol or number."""
    text = linear(element).strip()
    return text if len(text) <= 1 or text.isalnum() else f"({text})"


def _fraction(element: etree._Element) -> str:
    return f"{_group(child(element, 'num'))}/{_group(child(element, 'den'))}"


def _scripts(element: etree._Element) -> str:
    below, above = child(element, "sub"), child(element, "sup")
    text = linear(child(element, "e")).strip()
    text += f"_{_group(below)}" if below is not None and linear(below).strip() else ""
    return text + (f"^{_group(above)}" if above is not None and linear(above).strip() else "")


def _radical(element: etree._Element) -> str:
    degree = linear(child(element, "deg")).strip()
    body = linear(child(element, "e")).strip()
    return f"√({body})" if not degree else f"√[{degree}]({body})"


def _operator(element: etree._Element) -> str:
    """A sum, product or integral with its bounds."""
    sign = child(element, "naryPr", "chr")
    symbol = attribute(sign, "val") if sign is not None else "∫"
    below, above = child(element, "sub"), child(element, "sup")
    text = symbol + (f"_{_group(below)}" if linear(below).strip() else "")
    text += f"^{_group(above)}" if linear(above).strip() else ""
    return f"{text} {linear(child(element, 'e'))}"


def _delimiters(element: etree._Element) -> str:
    marks = {}
    for name, default in (("begChr", "("), ("sepChr", "|"), ("endChr", ")")):
        mark = child(element, "dPr", name)
        marks[name] = attribute(mark, "val") if mark is not None else default
    inside = marks["sepChr"].join(linear(part) for part in element if local(part) == "e")
    return marks["begChr"] + inside + marks["endChr"]


def _function(element: etree._Element) -> str:
    name, body = linear(child(element, "fName")).strip(), linear(child(element, "e")).strip()
    return f"{name}{body}" if body.startswith(("(", "[", "{")) else f"{name} {body}"


def _lines(element: etree._Element) -> str:
    """Rows of a matrix or an aligned set of equations."""
    rows = []
    for row in element:
        if local(row) == "mr":
            rows.append(" ".join(linear(cell).strip() for cell in row if local(cell) == "e"))
        elif local(row) == "e":
            rows.append(linear(row).strip())
    return "; ".join(rows)


def _paragraph(element: etree._Element) -> str:
    return "\n".join(linear(part).strip() for part in element if local(part) == "oMath")


_RENDERERS = {
    "f": _fraction, "sSub": _scripts, "sSup": _scripts, "sSubSup": _scripts, "sPre": _scripts,
    "rad": _radical, "nary": _operator, "d": _delimiters, "func": _function, "m": _lines,
    "eqArr": _lines, "oMathPara": _paragraph,
}  # fmt: skip
