"""A writer of small PDFs, so that tests know exactly what stands where."""

from collections.abc import Callable, Sequence

Text = tuple[float, float, float, str]
"""Left, baseline, size and the text itself."""


def write_pdf(
    pages: Sequence[Sequence[Text]],
    *,
    trailer: str = "",
    extra: str = "",
    font: str = "",
    matrix: str = "1 0 0 1 0 0",
    bookmarks: Sequence[tuple[str, int]] = (),
    drawn: str = "",
    cipher: Callable[[int, bytes], bytes] = lambda number, stream: stream,
) -> bytes:
    """A PDF whose pages show texts in Helvetica.

    Args:
        pages: the texts of each page.
        trailer: entries added to the trailer.
        extra: entries added to each page.
        font: entries added to the font.
        matrix: how each page's text is turned.
        drawn: operators that draw lines on every page.
        bookmarks: titles and the pages, from 0, that they point to.
        cipher: encrypts the stream of an object, given its number.
    """
    kids = " ".join(f"{4 + 2 * index} 0 R" for index in range(len(pages)))
    first = 4 + 2 * len(pages)
    objects = {
        1: f"<< /Type /Catalog /Pages 2 0 R {f'/Outlines {first} 0 R' if bookmarks else ''} >>",
        2: f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        3: f"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica {font} >>",
    }
    for index, texts in enumerate(pages):
        shown = f"q {matrix} cm\n{drawn}\n" + "\n".join(map(_shown, texts)) + "\nQ"
        stream = cipher(5 + 2 * index, shown.encode("latin-1")).decode("latin-1")
        objects[4 + 2 * index] = (
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * index} 0 R"
            f" /Resources << /Font << /F1 3 0 R >> >> {extra} >>"
        )
        objects[5 + 2 * index] = f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream"
    if bookmarks:
        objects |= _outline(bookmarks, first)
    return _assembled(objects, trailer)


def _shown(text: Text) -> str:
    left, base, size, string = text
    escaped = string.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
    return f"BT /F1 {size} Tf {left} {base} Td ({escaped}) Tj ET"


def _outline(bookmarks: Sequence[tuple[str, int]], first: int) -> dict[int, str]:
    last = first + len(bookmarks)
    objects = {first: f"<< /First {first + 1} 0 R /Last {last} 0 R /Count {len(bookmarks)} >>"}
    for index, (title, page) in enumerate(bookmarks):
        number = first + 1 + index
        following = f"/Next {number + 1} 0 R" if number < last else ""
        target = f"/Dest [{4 + 2 * page} 0 R /Fit]"
        objects[number] = f"<< /Title ({title}) /Parent {first} 0 R {target} {following} >>"
    return objects


def _assembled(objects: dict[int, str], trailer: str) -> bytes:
    pieces, offsets, length = ["%PDF-1.4\n"], [], 9
    for number in sorted(objects):
        offsets.append(length)
        pieces.append(f"{number} 0 obj\n{objects[number]}\nendobj\n")
        length += len(pieces[-1])
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    pieces.append(f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n")
    pieces.append(f"<< /Size {size} /Root 1 0 R {trailer} >>\nstartxref\n{length}\n%%EOF\n")
    return "".join(pieces).encode("latin-1")
