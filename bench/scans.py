"""Accuracy and time of character recognition on scans made here, with Tesseract beside.

    make bench-scans    (or: python bench/scans.py [--fonts FOLDER])

Paragraphs of CMRC (Chinese) and SQuAD (English), lines that mix both, and receipts are set in
the fonts that are found, blurred, made noisy and turned by up to two degrees. Accuracy is that of
`bench/parsing.py`; seconds are of processor time a page. Tesseract reads the same images if it is
installed, with its models for English and simplified Chinese.
"""

import argparse
import gzip
import io
import json
import random
import re
import resource
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

sys.path.insert(0, str(Path(__file__).parent))
from parsing import compare

from moli.parsing import parse_bytes

DATA = Path(__file__).parents[2] / "shared" / "data"
SETS = {"Chinese": "cmrc2018/dev.jsonl.gz", "English": "squad/dev-v1.1.jsonl.gz"}
PIECES = re.compile(
    r"[\u2e80-\u9fff\u3000-\u303f\uff00-\uffef]|[^\s\u2e80-\u9fff\uff00-\uffef]+\s*"
)
MIXED = [
    "使用 Python 3.12 调用 OpenVINO 的 compile_model 接口，在 CPU 上每秒处理 61.2 个段落。",
    "The report (报告) was sent to Zhang Wei 张伟 on 2026-11-30 by e-mail: wei@example.com.",
    "第 3 章 Retrieval：BM25 与 embedding 的结合使 recall@5 达到 0.968。",
]
GOODS = ["Whole milk 1L", "Brown bread", "Green tea bags", "AA batteries x4", "Notebook A5",
         "Printer paper", "Olive oil 500ml", "Dark chocolate", "Hand soap"]  # fmt: skip


class Scan(NamedTuple):
    kind: str
    image: Image.Image
    expected: str


def paragraphs(language: str) -> list[str]:
    with gzip.open(DATA / SETS[language], "rt") as lines:
        return list(dict.fromkeys(json.loads(line)["context"] for line in lines))


def lines_of(text: str, font: ImageFont.FreeTypeFont, width: float) -> Iterator[str]:
    line = ""
    for piece in PIECES.findall(text):
        if line and font.getlength((line + piece).rstrip()) > width and piece not in "，。、；：）":
            yield line.rstrip()
            line = ""
        line += piece
    yield line.rstrip()


def page(
    texts: list[str], font: ImageFont.FreeTypeFont, columns: int = 1
) -> tuple[Image.Image, str]:
    """An A4 page at 200 dpi with as many of the texts as fit, and its text."""
    image, printed = Image.new("L", (1654, 2339), 255), []
    draw = ImageDraw.Draw(image)
    column, top = 0, 180.0
    width = (1334 - 80 * (columns - 1)) / columns
    for text in texts:
        shown = []
        for line in lines_of(text, font, width):
            if top > 2100:
                column, top = column + 1, 180.0
            if column < columns:
                draw.text((160 + column * (width + 80), top), line, font=font, fill=0)
                shown.append(line)
            top += 1.55 * font.size
        printed.append(("" if "\u4e00" <= text[0] <= "\u9fff" else " ").join(shown))
        top += 0.8 * font.size
    return image, "\n\n".join(filter(None, printed))


def receipt(seed: int) -> tuple[Image.Image, str]:
    pick = random.Random(seed)
    rows = [(name, f"{pick.randint(1, 3)} x {pick.randint(150, 4000) / 100:.2f}",
             f"{pick.randint(150, 9000) / 100:.2f}") for name in pick.sample(GOODS, 6)]  # fmt: skip
    head = ["SUNRISE MART SDN BHD", f"{pick.randint(1, 200)} Jalan Merdeka, Kuala Lumpur",
            f"Date: {pick.randint(1, 28):02}/{pick.randint(1, 12):02}/2018 18:22"]  # fmt: skip
    rows.append(("TOTAL RM", "", f"{pick.randint(1000, 30000) / 100:.2f}"))
    image = Image.new("L", (620, 34 * (len(head) + len(rows)) + 100), 245)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(24)
    for index, line in enumerate(head):
        draw.text((310, 50 + 34 * index), line, font=font, fill=40, anchor="ma")
    for index, cells in enumerate(rows, len(head)):
        for left, cell in zip((30, 330, 510), cells, strict=True):
            draw.text((left, 50 + 34 * index), cell, font=font, fill=40)
    return image, "\n".join([*head, *(" ".join(filter(None, cells)) for cells in rows)])


def scanned(image: Image.Image, seed: int) -> Image.Image:
    """The image blurred, pale, noisy and turned by up to two degrees."""
    numbers = np.random.default_rng(seed)
    turned = image.rotate(numbers.uniform(-2, 2), Image.Resampling.BICUBIC, fillcolor=255)
    grey = np.asarray(turned.filter(ImageFilter.GaussianBlur(1.0)), float) * 0.82 + 30
    return Image.fromarray((grey + numbers.normal(0, 14, grey.shape)).clip(0, 255).astype("uint8"))


def scans(fonts: Path) -> Iterator[Scan]:
    """Pages of every kind; those with Chinese need a font with Chinese among `fonts`."""
    chinese, english = paragraphs("Chinese"), paragraphs("English")
    found = sorted(path for path in fonts.rglob("*.tt[cf]") if re.search("CJK|wqy", path.name))
    for number, path in enumerate(found):
        # The faces of Noto's collections are Japanese, Korean, simplified and traditional Chinese.
        font = ImageFont.truetype(str(path), 30, index=2 if "CJK" in path.name else 0)
        made = [("Chinese", page(chinese[number * 5 :][:5], font)),
                ("Chinese, 2 columns", page(chinese[50 + number * 9 :][:9], font, 2)),
                ("Chinese and English", page(MIXED * 3, font))]  # fmt: skip
        for kind, (image, expected) in made:
            yield Scan(f"{kind}: {path.stem}", scanned(image, number), expected)
    for number in range(3):
        font = ImageFont.load_default(28)
        assert isinstance(font, ImageFont.FreeTypeFont)
        for columns in (1, 2):
            image, expected = page(english[number * 40 :][:14], font, columns)
            yield Scan(f"English, {columns} columns", scanned(image, number), expected)
    for number in range(12):
        image, expected = receipt(number)
        yield Scan("receipts", scanned(image, number), expected)


def tesseract(data: bytes) -> str:
    command = ["tesseract", "-", "-", "--psm", "1", "-l", "eng+chi_sim"]
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout.decode()


def processor_seconds() -> float:
    """Seconds that this process and the children it has waited for have computed."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fonts", type=Path, default=Path("/usr/share/fonts"))
    options = parser.parse_args()
    readers = {"moli": lambda data: parse_bytes(data, "scan.png").text}
    if shutil.which("tesseract"):
        readers["tesseract"] = tesseract
    results = defaultdict(list)
    for scan in scans(options.fonts):
        buffer = io.BytesIO()
        scan.image.save(buffer, "PNG")
        for name, read in readers.items():
            started = processor_seconds()
            text = read(buffer.getvalue())
            seconds = processor_seconds() - started
            results[scan.kind, name].append((*compare(text, scan.expected), seconds))
    columns = ("accuracy", "recall", "precision", "seconds")
    print(f"{'pages':44} {'reader':10} {'n':>3}" + "".join(f" {name:>9}" for name in columns))
    for (kind, name), scores in results.items():
        means = (sum(values) / len(scores) for values in zip(*scores, strict=True))
        print(f"{kind:44} {name:10} {len(scores):3}" + "".join(f" {mean:9.3f}" for mean in means))


if __name__ == "__main__":
    main()
