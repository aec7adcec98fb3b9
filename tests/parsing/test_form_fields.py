"""What is filled into the form fields of a PDF stands beside its label."""

from parsing.pdf_writer import Text, write_pdf

from moli.parsing import parse_bytes


def widget(left: float, bottom: float, width: float, height: float, entries: str) -> str:
    box = f"{left} {bottom} {left + width} {bottom + height}"
    return f"<< /Type /Annot /Subtype /Widget /F 4 /Rect [{box}] {entries} >>"


def read(texts: list[Text], *widgets: str) -> list[str]:
    annotations = f"/Annots [{' '.join(widgets)}]"
    return parse_bytes(write_pdf([texts], extra=annotations), "a.pdf").text.split("\n\n")


def test_values_stand_behind_or_below_their_labels() -> None:
    texts = [
        (72.0, 720.0, 11.0, "Application for a permit"),
        (72.0, 680.0, 11.0, "Name:"), (72.0, 660.0, 11.0, "City:"), (272.0, 660.0, 11.0, "Date:"),
        (72.0, 640.0, 11.0, "Colour:"), (72.0, 600.0, 11.0, "Remarks"),
        (72.0, 500.0, 11.0, "It was signed in the presence of a witness."),
    ]  # fmt: skip
    assert read(
        texts,
        widget(342, 655, 80, 16, "/FT /Tx /T (d) /V (2026-03-14)"),
        widget(142, 675, 200, 16, "/FT /Tx /T (n) /V (Anna Petrova)"),
        widget(142, 655, 100, 16, "/FT /Tx /T (c) /V (Turin)"),
        widget(142, 635, 100, 16, "/FT /Ch /T (k) /Opt [(Red) (Blue)] /V (Blue)"),
        widget(72, 550, 300, 45, "/FT /Tx /Ff 4096 /T (r) /V (Please call before noon.)"),
        widget(72, 450, 100, 16, "/FT /Tx /T (e)"),
        widget(172, 450, 100, 16, "/F 2 /FT /Tx /T (h) /V (hidden)").replace("/F 4", "", 1),
    ) == [
        "Application for a permit",
        "Name: | Anna Petrova\nCity: | Turin | Date: | 2026-03-14\nColour: | Blue",
        "Remarks",
        "Please call before noon.",
        "It was signed in the presence of a witness.",
    ]


def test_boxes_stand_before_or_behind_their_labels() -> None:
    texts = [
        (92.0, 680.0, 11.0, "I accept the terms of the permit"),
        (92.0, 640.0, 11.0, "I want the newsletter"),
        (72.0, 600.0, 11.0, "Yes"), (172.0, 600.0, 11.0, "No"),
    ]  # fmt: skip
    on, off = "/FT /Btn /V /On /AS /On", "/FT /Btn /V /Off /AS /Off"
    assert read(
        texts,
        widget(74, 678, 14, 14, f"/T (a) {on}"),
        widget(74, 638, 14, 14, f"/T (b) {off}"),
        widget(94, 598, 14, 14, f"/T (y) {off}"),
        widget(190, 598, 14, 14, f"/T (n) {on}"),
    ) == [
        "☒ I accept the terms of the permit\n☐ I want the newsletter",
        "Yes ☐ No ☒",
    ]
