"""Charts of Office files: their titles and the numbers behind them."""

from lxml import etree

from moli.parsing.blocks import Blocks
from moli.parsing.office.markup import child, descendants


def add_chart(root: etree._Element, blocks: Blocks) -> None:
    """Add the title of a chart and its numbers, one category a row."""
    add_title(root, blocks)
    categories: list[str] = []
    columns: list[list[str]] = []
    for series in descendants(root, "ser"):
        name = _points(child(series, "tx"))
        labels = child(series, "cat")
        values = child(series, "val")
        categories = categories or _points(child(series, "xVal") if labels is None else labels)
        numbers = _points(child(series, "yVal") if values is None else values)
        columns.append([*(name[:1] or [""]), *numbers])
    height = max((len(column) for column in columns), default=0)
    for row in range(height):
        label = categories[row - 1] if 0 < row <= len(categories) else ""
        blocks.row([label, *(column[row] if row < len(column) else "" for column in columns)])
    blocks.end()


def add_title(root: etree._Element, blocks: Blocks) -> None:
    """Add the title of a chart only, where its numbers stand elsewhere."""
    title = next(descendants(root, "title"), None)
    if title is not None:
        blocks.paragraph("".join(part.text or "" for part in descendants(title, "t")))


def _points(element: etree._Element | None) -> list[str]:
    """The saved values of a reference into the chart's sheet."""
    if element is None:
        return []
    return [value.text or "" for value in descendants(element, "v")]
