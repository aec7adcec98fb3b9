"""Charts of Office files: their titles and data."""

from lxml import etree

from moli.parsing.blocks import Blocks
from moli.parsing.office.markup import child, descendants


def add_chart(root: etree._Element, blocks: Blocks) -> None:
    """Add the title of a chart and its data as a table: a row per category, a column per series."""
    add_chart_title(root, blocks)
    categories: list[str] = []
    columns: list[list[str]] = []
    for series in descendants(root, "ser"):
        name = _saved_values(child(series, "tx"))
        labels, values = child(series, "cat"), child(series, "val")
        labels = child(series, "xVal") if labels is None else labels
        categories = categories or _saved_values(labels)
        numbers = _saved_values(child(series, "yVal") if values is None else values)
        columns.append([*(name[:1] or [""]), *numbers])
    height = max((len(column) for column in columns), default=0)
    for row in range(height):
        label = categories[row - 1] if 0 < row <= len(categories) else ""
        blocks.add_row([label, *(column[row] if row < len(column) else "" for column in columns)])
    blocks.end_group()


def add_chart_title(root: etree._Element, blocks: Blocks) -> None:
    """Add only the title of a chart, whose data are elsewhere in the document."""
    title = next(descendants(root, "title"), None)
    if title is not None:
        blocks.add_paragraph("".join(part.text or "" for part in descendants(title, "t")))


def _saved_values(element: etree._Element | None) -> list[str]:
    """The values saved with a reference into the chart's sheet; none without a reference."""
    if element is None:
        return []
    return [value.text or "" for value in descendants(element, "v")]
