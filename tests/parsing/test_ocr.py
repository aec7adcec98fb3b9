"""Recognition of pages whose text is known."""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pypdfium2 as pdfium
import pytest
from parsing.pdf_writer import Text
from PIL import Image, ImageDraw, ImageFont
from rapidfuzz.distance import Indel
from samples import run_python

from moli.parsing import Limits, parse_bytes, parse_file
from moli.parsing.blocks import Blocks
from moli.parsing.ocr.recognizer import PageRecognizer
from moli.records.errors import DocumentError


@pytest.fixture
def photo(fixtures: Path) -> tuple[Path, str]:
    folder = fixtures / "tesseract_test/testing"
    return folder / "phototest.tif", (folder / "phototest.gold.txt").read_text()


def similarity(text: str, expected: str) -> float:
    return Indel.normalized_similarity(" ".join(text.split()), " ".join(expected.split()))


@pytest.mark.slow
@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_an_image_any_way_up(photo: tuple[Path, str], turn: int) -> None:
    path, expected = photo
    buffer = io.BytesIO()
    Image.open(path).convert("L").rotate(turn, expand=True).save(buffer, "PNG")
    assert similarity(parse_bytes(buffer.getvalue(), "a.png").text, expected) > 0.99


@pytest.mark.slow
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
    ["The filter is replaced after twelve months, or",
     "earlier where the water is hard. A total of 12",
     "filters is in the box."],
    ["A noise that does not end within a minute means",
     "that the bearing is worn. The pump must then be",
     "switched off at once."],
]  # fmt: skip


@pytest.mark.slow
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


SCANS = Path(__file__).parent / "scans"
SIMPLIFIED = [
    "图书馆每天上午九点开门，下午六点关门。", "读者凭借书证入馆，每次最多可以借十本书，",
    "借期三十天，逾期每天收费两角。",
]  # fmt: skip
TRADITIONAL = [
    "圖書館每天上午九點開門，下午六點關門。", "讀者憑借書證入館，每次最多可以借十本書，",
    "借期三十天，逾期每天收費兩角。",
]  # fmt: skip


def letters(text: str) -> str:
    """`text` without white space and punctuation, whose Chinese and Latin forms look alike."""
    return "".join(filter(str.isalnum, text))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("chinese", SIMPLIFIED),
        ("chinese_bold_serif", SIMPLIFIED),
        ("traditional", TRADITIONAL),
        ("traditional_vertical", TRADITIONAL),
    ],
)
def test_chinese(name: str, lines: list[str]) -> None:
    """Scans in several fonts, turned by a degree or two; one is printed from top to bottom."""
    text = parse_file(SCANS / f"{name}.png").text
    assert letters(text) == letters("".join(lines))
    assert " " not in text


@pytest.mark.slow
def test_chinese_and_english_on_one_line() -> None:
    text = parse_file(SCANS / "mixed.png").text
    assert text.startswith("使用 Python 3.12 调用 OpenVINO 接口")
    assert "The report (报告) was sent to" in text
    assert letters(text) == letters(
        "使用 Python 3.12 调用 OpenVINO 接口，The report (报告) was sent to 张伟 on Monday."
    )


@pytest.mark.slow
def test_words_set_with_space_between_their_letters_are_words(fixtures: Path) -> None:
    text = parse_file(fixtures / "textract/tests/png/raw_text.png").text
    assert text.lower().split() == ["abcdefghijkl", "mnopqrstuvw", "xyz"]


@pytest.mark.slow
def test_a_receipt_keeps_amounts_with_their_names() -> None:
    text = parse_file(SCANS / "receipt.png").text
    for line in ("SUNRISE MART SDN BHD", "12 Jalan Merdeka, 50480 Kuala Lumpur",
                 "Date: 14/03/2018 18:22"):  # fmt: skip
        assert line in text.replace("\n", " ")
    rows = [line.split(" | ") for line in text.split("\n") if " | " in line]
    assert rows == [["Whole milk 1L", "6.40"], ["Brown bread", "3.15"], ["Notebook A5", "12.90"],
                    ["TOTAL RM", "22.45"]]  # fmt: skip


COLUMNS = [
    ["The keeper of the lighthouse climbs the", "stairs every evening, and lights the lamp",
     "before the sun has gone down behind the", "hills on the other side of the long bay."],
    ["On the mainland nobody remembers when the", "first stone was laid, but the oldest maps",
     "of the coast already show a small tower", "with a fire that burnt upon its open roof."],
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("offset", [0, 14])
def test_columns_of_prose_are_read_one_after_the_other(tmp_path: Path, offset: int) -> None:
    """Whether or not their lines are at the same heights."""
    font = ImageFont.load_default(26)
    page = Image.new("L", (1240, 600), "white")
    draw = ImageDraw.Draw(page)
    draw.text((300, 60), "The lighthouse at the end of the bay", font=ImageFont.load_default(44))
    for column, lines in enumerate(COLUMNS):
        for row, line in enumerate(lines):
            draw.text((60 + 600 * column, 180 + 40 * row + offset * column), line, font=font)
    path = tmp_path / "columns.png"
    page.save(path)
    title, *columns = parse_file(path).text.split("\n\n")
    assert title == "The lighthouse at the end of the bay"
    assert columns == [" ".join(lines) for lines in COLUMNS]


@pytest.mark.slow
def test_a_clean_page_of_one_column(tmp_path: Path) -> None:
    font = ImageFont.load_default(34)
    page = Image.new("L", (1240, 1754), "white")
    draw = ImageDraw.Draw(page)
    lines = [line for body in BODIES for line in body]
    for row, line in enumerate(lines):
        draw.text((120, 200 + 52 * row), line, font=font)
    path = tmp_path / "page.png"
    page.save(path)
    assert " ".join(parse_file(path).text.split()) == " ".join(lines)


@pytest.mark.slow
def test_a_dot_sized_or_striplike_image_is_no_failure(tmp_path: Path) -> None:
    for size in ((1, 1), (3, 4000), (4000, 3)):
        path = tmp_path / "strip.png"
        image = Image.new("L", size, "white")
        image.putpixel((0, 0), 0)
        image.save(path)
        with pytest.raises(DocumentError, match="no text was found"):
            parse_file(path)


@pytest.mark.slow
@pytest.mark.parametrize("lean", [-3, 2])
def test_a_leaning_table_of_short_cells_keeps_its_rows(lean: int) -> None:
    rows = [["No", "Aa", "Bb", "Cc"], ["14", "Do", "Re", "Mi"], ["27", "Fa", "So", "La"]]
    image = Image.new("L", (900, 400), 255)
    for row, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            place = (40 + column * 230, 40 + row * 80)
            ImageDraw.Draw(image).text(place, cell, 0, ImageFont.load_default(40))
    leaning = image.rotate(lean, Image.Resampling.BICUBIC, expand=True, fillcolor=255)
    assert text_of(leaning) == "\n".join(" | ".join(cells) for cells in rows)


LINE = "Gate 27 opens at 05:45"


def sign(ink: object = 0, paper: object = 255, mode: str = "L", text: str = LINE) -> Image.Image:
    """An image of a line of text."""
    image = Image.new(mode, (560, 100), paper)
    ImageDraw.Draw(image).text((30, 30), text, ink, ImageFont.load_default(36))
    return image


def text_of(image: Image.Image, suffix: str = ".png", **options: object) -> str:
    buffer = io.BytesIO()
    image.save(buffer, Image.registered_extensions()[suffix], **options)
    return parse_bytes(buffer.getvalue(), f"sign{suffix}").text


def depth(scale: float, kind: str) -> Image.Image:
    """The sign with other numbers for its grey levels."""
    return Image.fromarray((np.asarray(sign(), np.float64) * scale).astype(kind))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("image", "suffix"),
    [
        (sign((255, 255, 255, 255), (0, 0, 0, 0), "RGBA"), ".png"),  # white on nothing
        (sign((0, 0, 0, 255), (0, 0, 0, 0), "RGBA"), ".png"),
        (sign((255, 0, 0), (0, 129, 20), "RGB"), ".png"),  # as bright as each other
        (sign((255, 255, 0), (255, 255, 255), "RGB"), ".png"),
        (sign().convert("RGB").convert("CMYK"), ".jpg"),
        (depth(257, "uint16"), ".png"),
        (depth(16, "uint16"), ".tif"),  # 12 bits
        (depth(1, "int32"), ".tif"),
        (depth(1 / 255, "float32"), ".tif"),
        (sign("black", "white", "RGB"), ".avif"),
        (sign("black", "white", "RGB"), ".jp2"),
        (sign("black", "white", "RGB"), ".jfif"),
    ],
)
def test_colors_depths_and_formats(image: Image.Image, suffix: str) -> None:
    assert text_of(image, suffix) == LINE


@pytest.mark.slow
def test_the_pages_before_a_damaged_one_are_kept() -> None:
    buffer = io.BytesIO()
    others = [sign(text="Second page"), sign(text="Third page")]
    sign().save(buffer, "TIFF", save_all=True, append_images=others)
    document = parse_bytes(buffer.getvalue()[:-1000], "cut.tif")
    assert document.text == f"{LINE}\n\nSecond page"
    assert document.warnings == ("the image is damaged after page 2",)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_the_frames_of_an_animation_that_are_not_read_are_told(suffix: str) -> None:
    buffer = io.BytesIO()
    options = {"save_all": True, "append_images": [sign(255, 0)], "duration": 500}
    sign().save(buffer, Image.registered_extensions()[suffix], **options)
    document = parse_bytes(buffer.getvalue(), f"moving{suffix}")
    assert document.text == LINE
    assert document.warnings == ("of an animation of 2 frames, only the first was read",)


@pytest.mark.slow
def test_lines_beyond_the_time_of_a_page_are_left_out_with_a_warning() -> None:
    blocks = Blocks()
    recognizer = PageRecognizer(blocks, Limits(page_seconds=0.0))
    page = recognizer.recognize(Image.open(SCANS / "receipt.png"))
    assert page.letters < 20
    assert blocks.build().warnings == ("a page was not recognised completely within 0 s",)


@pytest.mark.slow
def test_a_page_is_read_the_same_with_any_number_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from moli.parsing.ocr import models

    image = np.asarray(Image.open(SCANS / "receipt.png").convert("L"))
    readings = []
    for threads in (1, 2, 3):
        monkeypatch.setattr(models, "_threads", lambda threads=threads: threads)
        boxes = models.TextDetector().find_lines(image)
        cut = [box.cut_out(image) for box in boxes]
        readings.append((boxes, models.LineReader().read(cut, 60.0)))
    assert readings[0] == readings[1] == readings[2]


@pytest.mark.slow
def test_the_models_load_only_for_a_page_without_text(
    make_pdf: Callable[[Sequence[Sequence[Text]]], Path],
) -> None:
    program = """
        import json, sys
        from pathlib import Path
        from moli.parsing import parse_file
        loaded = []
        for path in sys.argv[1:]:
            parse_file(Path(path))
            loaded.append([name for name in ("cv2", "openvino", "rapidocr") if name in sys.modules])
        print(json.dumps([*loaded, sorted(set(sys.modules) & {"requests", "omegaconf"})]))
    """
    pdf = make_pdf([[(72, 700, 12, "A page with a text layer of its own.")]])
    done = json.loads(run_python(program, str(pdf), str(SCANS / "mixed.png")))
    assert done == [[], ["cv2", "openvino", "rapidocr"], []]
