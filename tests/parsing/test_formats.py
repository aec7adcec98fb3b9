"""Files that are refused, and the reasons."""

import io
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from moli.parsing import SUFFIXES, Limits, detect, parse_bytes, parse_file
from moli.parsing.limits import DEFAULT_LIMITS
from moli.records.errors import DocumentError

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504)


def reason(data: bytes, name: str, limits: Limits = DEFAULT_LIMITS) -> str:
    with pytest.raises(DocumentError) as caught:
        parse_bytes(data, name, limits)
    assert caught.value.where == name
    assert caught.value.what and caught.value.fix
    return caught.value.reason


def zipped(parts: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def docx(body: bytes, **parts: bytes) -> bytes:
    return zipped({"[Content_Types].xml": b"<Types/>", "word/document.xml": body, **parts})


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 20), "white").save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "name", "expected"),
    [
        (b"", "a.pdf", "empty"),
        (b" \n ", "a.txt", "empty"),
        (picture(), "a.pdf", "misnamed"),
        (b"just words", "a.docx", "misnamed"),
        (b"%PDF-1.4\n", "a.txt", "misnamed"),
        (zipped({"xl/workbook.xml": b"<a/>"}), "a.docx", "misnamed"),
        (zipped({"a.exe": b"\x7fELF" + bytes(100)}), "a.zip", "unsupported"),
        (b"\x7fELF" + bytes(100), "a", "unsupported"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), "a.heic", "unsupported"),
        (bytes(range(256)) * 10, "a.bin", "unsupported"),
        (OLE + "WordDocument".encode("utf-16-le"), "a.doc", "unsupported"),
        (OLE + "EncryptedPackage".encode("utf-16-le"), "a.docx", "encrypted"),
        (b"%PDF-1.4\nnothing more", "a.pdf", "broken"),
        (docx(b"<w:document"), "a.docx", "broken"),
        (picture()[:40], "a.png", "broken"),
        (b'{"cells": 1}', "a.ipynb", "broken"),
        (zipped({"mimetype": b"application/epub+zip", "x": b""}), "a.epub", "broken"),
    ],
)
def test_refusals(data: bytes, name: str, expected: str) -> None:
    assert reason(data, name) == expected


def test_misnamed_says_what_it_is() -> None:
    with pytest.raises(DocumentError, match=r"\.pdf but is an image.*\.png"):
        detect(picture(), "a.pdf")


def test_a_suffix_is_not_needed() -> None:
    assert detect(b"%PDF-1.7 ...", "report") == "pdf"
    assert detect(b"<!DOCTYPE html><p>x", "page") == "html"
    assert detect(b"From: a\nTo: b\nSubject: c\n\nx", "message") == "eml"
    assert detect(b"MZ is how some sentences begin", "note") == "txt"
    assert detect("只是文字".encode("gb18030"), "note.txt") == "txt"
    assert parse_bytes(b"import this", "main.py").text == "import this"


def test_file_limits(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text("word " * 100)
    with pytest.raises(DocumentError) as caught:
        parse_file(path, Limits(file_bytes=100))
    assert caught.value.reason == "too_large"
    with pytest.raises(DocumentError) as caught:
        parse_file(tmp_path / "absent.txt")
    assert caught.value.reason == "missing"


@pytest.mark.slow
def test_zip_bombs() -> None:
    assert reason(docx(bytes(100 << 20)), "ratio.docx") == "bomb"
    assert reason(docx(b"<a/>" * 1000), "size.docx", Limits(unpacked_bytes=3000)) == "bomb"
    crowd = zipped({f"word/{number}": b"" for number in range(20_001)})
    assert reason(crowd, "crowd.docx") == "bomb"


def test_a_bomb_that_lies_about_its_size() -> None:
    honest = docx(b"<w:document>" + b" " * (4 << 20) + b"</w:document>")
    size = (4 << 20) + 25
    lying = honest.replace(size.to_bytes(4, "little"), (50).to_bytes(4, "little"))
    assert lying != honest
    assert reason(lying, "lying.docx") == "broken"


@pytest.mark.parametrize("depth", [2, 12])
def test_entities_are_refused(depth: int) -> None:
    entities = '<!ENTITY a0 "ha">' + "".join(
        f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, depth)
    )
    laughs = f"<!DOCTYPE d [{entities}]><d><body>&a{depth - 1};</body></d>".encode()
    assert reason(docx(laughs), "laughs.docx") == "bomb"
    inside = f'<!DOCTYPE d [{entities}]><d><body a="&a{depth - 1};"/></d>'.encode()
    assert reason(docx(inside), "attribute.docx") == "bomb"


def test_external_entities_are_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("do not tell")
    entity = f'<!DOCTYPE d [<!ENTITY x SYSTEM "{secret.as_uri()}">]>'
    body = f"{entity}<d><body><p><r><t>&x;</t></r></p></body></d>"
    assert reason(docx(body.encode()), "external.docx") == "bomb"


def test_encrypted_entries() -> None:
    data = bytearray(docx(b"<document/>"))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = 0
        while (start := data.find(mark, start)) >= 0:
            data[start + at] |= 1
            start += 4
    assert reason(bytes(data), "locked.docx") == "encrypted"


def test_protected_books() -> None:
    rights = b"""<encryption xmlns:e="x"><e:EncryptedData><e:EncryptionMethod
        Algorithm="http://www.w3.org/2001/04/xmlenc#aes256-cbc"/></e:EncryptedData></encryption>"""
    parts = {"mimetype": b"application/epub+zip", "META-INF/encryption.xml": rights}
    assert reason(zipped(parts), "a.epub") == "encrypted"


def test_real_files_cut_in_half_are_broken(fixtures: Path) -> None:
    for name in (
        "docling/tests/data/docx/sources/lorem_ipsum.docx",
        "docling/tests/data/pptx/sources/powerpoint_sample.pptx",
        "textract/tests/xlsx/raw_text.xlsx",
        "textract/tests/epub/raw_text.epub",
        "textract/tests/odt/raw_text.odt",
        "textract/tests/png/raw_text.png",
    ):
        data = (fixtures / name).read_bytes()
        assert reason(data[: len(data) // 2], Path(name).name) == "broken", name


def test_every_suffix_has_a_reader() -> None:
    for suffix, name in SUFFIXES.items():
        assert suffix == suffix.lower()
        assert name.isalpha()
