"""Recognition of pages whose text is known."""

import io
import shutil
from pathlib import Path

import pypdfium2 as pdfium
import pytest
from PIL import Image, ImageDraw, ImageFont
from rapidfuzz.distance import Indel

from moli.parsing import ocr, parse_bytes, parse_file
from moli.records.errors import DocumentError

needs_tesseract = pytest.mark.skipif(not shutil.which("tesseract"), reason="needs Tesseract")


@pytest.fixture
def photo(fixtures: Path) -> tuple[Path, str]:
    folder = fixtures / "tesseract_test/testing"
    return folder / "phototest.tif", (folder / "phototest.gold.txt").read_text()


def similarity(text: str, expected: str) -> float:
    return Indel.normalized_similarity(" ".join(text.split()), " ".join(expected.split()))


@pytest.mark.slow
@needs_tesseract
@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_an_image_any_way_up(photo: tuple[Path, str], turn: int) -> None:
    path, expected = photo
    buffer = io.BytesIO()
    Image.open(path).convert("L").rotate(turn, expand=True).save(buffer, "PNG")
    assert similarity(parse_bytes(buffer.getvalue(), "a.png").text, expected) > 0.99


@pytest.mark.slow
@needs_tesseract
def test_each_frame_of_a_tiff_is_a_page(photo: tuple[Path, str], tmp_path: Path) -> None:
    image = Image.open(photo[0]).convert("L")
    path = tmp_path / "pages.tif"
    blank = Image.new("L", image.size, "white")
    image.save(path, save_all=True, append_images=[blank, image])
    document = parse_file(path)
    assert len(document.pages) == 3
    assert document.pages[1] == document.pages[2]
    assert document.text[document.pages[2] :].startswith("This is a lot of 12 point text")


@pytest.mark.slow
@needs_tesseract
def test_a_scanned_page_in_a_pdf(photo: tuple[Path, str], tmp_path: Path) -> None:
    path = tmp_path / "scan.pdf"
    Image.open(photo[0]).convert("L").save(path, "PDF", resolution=100)
    assert not pdfium.PdfDocument(path)[0].get_textpage().count_chars()
    document = parse_file(path)
    assert document.pages == (0,)
    assert similarity(document.text, photo[1]) > 0.99


BODIES = [
    ["The pump is to be cleaned once a week with cold", "water, and never with steam or with any",
     "solvent that is sold for metal."],
    ["The filter is replaced after twelve months, or", "earlier where the water is hard.",
     "A total of 12 filters is in the box."],
    ["A noise that does not end within a minute means", "that the bearing is worn.",
     "The pump must then be switched off at once."],
]  # fmt: skip


@pytest.mark.slow
@needs_tesseract
@pytest.mark.parametrize("suffix", ["pdf", "tif"])
def test_running_heads_of_scanned_pages_stand_once(tmp_path: Path, suffix: str) -> None:
    font = ImageFont.load_default(34)
    pages = []
    for number, lines in enumerate(BODIES, 1):
        page = Image.new("L", (1240, 1754), "white")
        draw = ImageDraw.Draw(page)
        draw.text((120, 80), "Maintenance manual", font=font)
        draw.text((900, 80), "Edition 2026", font=font)
        for row, line in enumerate(lines):
            draw.text((120, 400 + 50 * row), line, font=font)
        draw.text((560, 1640), f"Page {number}", font=font)
        pages.append(page)
    path = tmp_path / f"scan.{suffix}"
    pages[0].save(path, save_all=True, append_images=pages[1:], resolution=150)
    document = parse_file(path)
    heads, *texts = document.text.split("\n\n")
    assert set(heads.split("\n")) == {"Maintenance manual", "Edition 2026"}
    assert texts == [" ".join(lines) for lines in BODIES]
    assert [document.text[start:].partition(" ")[0] for start in document.pages[1:]] == ["The", "A"]


@needs_tesseract
def test_chinese(tmp_path: Path) -> None:
    if "chi_sim" not in ocr.installed_languages():
        pytest.skip("needs the Chinese language data")
    font = next(iter(Path("/usr/share/fonts").rglob("*CJK*.tt[cf]")), None)
    if font is None:
        pytest.skip("needs a Chinese font")
    text = "每个答案都可以追溯到它的来源"
    image = Image.new("L", (1400, 300), "white")
    ImageDraw.Draw(image).text((60, 100), text, font=ImageFont.truetype(str(font), 72))
    path = tmp_path / "chinese.png"
    image.save(path)
    assert similarity(parse_file(path).text, text) > 0.9


def test_without_tesseract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    ocr.installed_languages.cache_clear()
    path = tmp_path / "page.png"
    Image.linear_gradient("L").save(path)
    try:
        with pytest.raises(DocumentError, match="apt-get install tesseract-ocr") as caught:
            parse_file(path)
    finally:
        ocr.installed_languages.cache_clear()
    assert caught.value.reason == "missing_tool"
