"""Zip archives of documents."""

import io
import struct
import zipfile

import pytest

from moli.parsing import parse_bytes
from moli.records.documents import ParsedDocument
from moli.records.errors import DocumentError


def zipped(parts: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def parse(data: bytes) -> ParsedDocument:
    return parse_bytes(data, "box.zip")


def test_files_stand_under_their_paths() -> None:
    document = parse(zipped({
        "notes/run.md": b"# Restart\n\nWait a minute.",
        "stock.csv": b"part,stock\nbolt,7",
        "tool.exe": b"\x7fELF" + bytes(100),
        "empty.txt": b"",
        "__MACOSX/notes/._run.md": b"junk",
        ".git/config.txt": b"junk",
    }))  # fmt: skip
    assert document.text == (
        "notes/run.md\n\nRestart\n\nWait a minute.\n\nstock.csv\n\npart | stock\nbolt | 7"
    )
    headings = [(heading.text, heading.level) for heading in document.headings]
    assert headings == [("notes/run.md", 1), ("Restart", 2), ("stock.csv", 1)]
    (warning,) = document.warnings
    assert "tool.exe: it is a program, which cannot be read" in warning
    assert "empty.txt: it has no content" in warning


def test_archives_in_archives_are_read_to_a_depth() -> None:
    data = zipped({"deep.txt": b"Words in the middle."})
    for _ in range(2):
        data = zipped({"inner.zip": data})
    assert "Words in the middle." in parse(data).text
    for _ in range(9):
        data = zipped({"inner.zip": data})
    with pytest.raises(DocumentError, match="nested too deep"):
        parse(data)


def test_a_bomb_inside_is_named_and_the_rest_read() -> None:
    bomb = zipped({"zeros.txt": bytes(100 << 20)})
    document = parse(zipped({"a.txt": b"Honest words.", "bomb.zip": bomb}))
    assert document.text == "a.txt\n\nHonest words."
    assert "bomb.zip: " in document.warnings[0]


def test_an_encrypted_file_inside_is_named() -> None:
    data = bytearray(zipped({"a.txt": b"Open.", "b.txt": b"Closed."}))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = data.find(b"b.txt", data.find(mark)) if mark[2] == 3 else data.rfind(mark)
        data[(data.rfind(mark, 0, start) if mark[2] == 3 else start) + at] |= 1
    document = parse(bytes(data))
    assert document.text == "a.txt\n\nOpen."
    assert document.warnings == ("files in it were left out: b.txt: it is encrypted",)


def test_chinese_names_of_windows() -> None:
    name = "会议/纪要.txt".encode("gbk")
    data = zipped({"x" * len(name): "会议于周五召开，地点在三楼。".encode()})
    data = data.replace(b"x" * len(name), name)
    assert parse(data).headings[0].text == "会议/纪要.txt"


def test_a_damaged_directory_is_broken() -> None:
    data = zipped({"a.txt": b"Words."})
    end = data.rfind(b"PK\x05\x06")
    damaged = data[: end + 16] + struct.pack("<I", 5) + data[end + 20 :]
    with pytest.raises(DocumentError):
        parse(damaged)
