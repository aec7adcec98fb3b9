"""Formats that are text, and the encodings that text comes in."""

import base64
import io
import json
import zipfile
from email.message import EmailMessage

import pytest

from moli.parsing import parse_bytes
from moli.parsing.encodings import guess_encoding
from moli.records.documents import ParsedDocument

CHINESE = (
    "磨砺是一个本地优先的工作台，把基础语言模型变成团队自己的助手。每个答案都可以追溯到它的来源。"
)
JAPANESE = "この文書は日本語で書かれています。文字コードを正しく推定できるかどうかを確かめます。"
KOREAN = "이 문서는 한국어로 작성되었습니다. 문자 인코딩을 올바르게 추정하는지 확인합니다."
TRADITIONAL = "這份文件以繁體中文書寫，用來確認程式能否正確判斷文字的編碼方式，並且完整保留內容。"
RUSSIAN = "Этот документ написан по-русски, чтобы проверить, правильно ли определяется кодировка."
FRENCH = "L’été dernier, où étiez-vous ? À l’hôtel près de la forêt, ça a coûté très cher."
CZECH = "Příliš žluťoučký kůň úpěl ďábelské ódy a čeština je krásný a bohatý jazyk."
GERMAN = "Größere Übungen für die Straße: Äpfel, Öl und süße Früchte kosten heute 5 €."


def parse(text: str, name: str) -> ParsedDocument:
    return parse_bytes(text.encode(), name)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (CHINESE, "gb18030"), (CHINESE, "utf-16"), (CHINESE, "utf-8-sig"), (CHINESE, "utf-16-le"),
        (JAPANESE, "shift_jis"), (JAPANESE, "euc_jp"), (KOREAN, "euc_kr"), (TRADITIONAL, "big5"),
        (FRENCH, "cp1252"), (CZECH, "cp1250"), (RUSSIAN, "cp1251"), (RUSSIAN, "koi8_r"),
        (GERMAN, "cp1252"), (GERMAN, "utf-8"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("times", [1, 40])
def test_encodings(text: str, encoding: str, times: int) -> None:
    whole = "\n".join([text] * times)
    assert parse_bytes(whole.encode(encoding), "a.txt").text == whole


def test_an_encoding_is_guessed_from_a_cut_sample() -> None:
    assert guess_encoding((CHINESE * 3).encode("gb18030")[:-1]) == "gb18030"
    assert guess_encoding((JAPANESE * 3).encode("cp932")[:-1]) == "cp932"


def test_curly_quotes_are_not_taken_for_an_east_asian_encoding() -> None:
    text = "We’re in New York, and it’s late.\nThe report says “soon”, which isn’t a date."
    assert parse_bytes(text.encode("cp1252"), "a.txt").text == text


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_tables_as_text(delimiter: str) -> None:
    rows = [["name", "amount", "note"], ["bolt", "1,5" if delimiter != "," else "15", "a b"]]
    text = (
        "\r\n".join(delimiter.join(row) for row in rows) + '\r\n"q""q"' + delimiter + '"two\nlines"'
    )
    rows_read = parse(text, "a.csv").text.split("\n")
    assert rows_read == [" | ".join(rows[0]), " | ".join(rows[1]), 'q"q | two lines']


def test_web_page() -> None:
    document = parse(
        """<html><head><title>The page</title><style>p{}</style></head><body>
        <nav>Home <a href=/x>Shop</a></nav><h1>Head <em>line</em></h1>
        <p>Some&nbsp;text with <a href="http://a.b/c">a link</a><script>evil()</script>
        over lines.<br>Next.</p><ul><li>one<li>two<ol start=3><li>deep</ol></ul>
        <table><caption>Cap</caption><tr><th>a<th>b<tr><td rowspan=2>1<td>2<tr><td>3</table>
        <pre>  code\n    more</pre><p hidden>no</p><p style="display:none">no</p>
        <img src=http://x/y.png alt=picture><table><tr><td><h2>Sub</h2>In a frame</table>""",
        "a.html",
    )
    assert document.text.split("\n\n") == [
        "Head line",
        "Some text with a link over lines.\nNext.",
        "- one\n- two\n  3. deep",
        "Cap",
        "a | b\n1 | 2\n1 | 3",
        "  code\n    more",
        "Sub",
        "In a frame",
    ]
    assert [(h.text, h.level) for h in document.headings] == [("Head line", 1), ("Sub", 2)]
    assert document.title == "The page"


def test_depth_does_not_matter() -> None:
    assert parse("<div>" * 5000 + "deep", "a.html").text == "deep"
    assert parse("<table><tr><td>" * 300 + "deep", "b.html").text == "deep"


def test_markdown() -> None:
    document = parse(
        "---\ntitle: The title\nauthor: Me\n---\n# One *two*\n\nA [link](http://x) &amp; `code`\n"
        "wrapped.\n\n1. a\n2. b\n\n| x | y |\n|---|---|\n| 1 | 2 |\n\n```py\n# not a heading\n"
        "    x\n```\n\nUnder\n=====\n",
        "a.md",
    )
    assert document.text.split("\n\n") == [
        "One two",
        "A link & code wrapped.",
        "1. a\n2. b",
        "x | y\n1 | 2",
        "# not a heading\n    x",
        "Under",
    ]
    assert [heading.text for heading in document.headings] == ["One two", "Under"]
    assert (document.title, document.metadata) == ("The title", {"author": "Me"})


def test_mail() -> None:
    message = EmailMessage()
    message["From"], message["To"] = "Ann <a@x.org>", "b@x.org"
    message["Subject"], message["Date"] = "关于 the plan", "Sat, 27 Mar 2010 12:11:21 +0000"
    message.set_content("Dear B,\n\nsee below.\n")
    message.add_alternative("<p>Dear <b>B</b></p>", subtype="html")
    message.add_attachment("# Inner\n\ntext", subtype="markdown", filename="note.md")
    message.add_attachment(
        b"\x7fELF" + bytes(9), maintype="application", subtype="x", filename="x.exe"
    )
    document = parse_bytes(message.as_bytes(), "a.eml")
    assert document.text.split("\n\n")[:4] == [
        "关于 the plan",
        f"From: Ann <a@x.org>\nTo: b@x.org\nDate: {message['Date']}\nSubject: 关于 the plan",
        "Dear B,",
        "see below.",
    ]
    assert [(h.text, h.level) for h in document.headings] == [
        ("关于 the plan", 1), ("note.md", 2), ("Inner", 1),
    ]  # fmt: skip
    assert document.text.endswith("Inner\n\ntext")
    assert "x.exe was left out" in document.warnings[0]


def test_book() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as book:
        book.writestr("mimetype", "application/epub+zip")
        book.writestr(
            "META-INF/container.xml",
            '<container><rootfiles><rootfile full-path="in/book.opf"/></rootfiles></container>',
        )
        book.writestr(
            "in/book.opf",
            '<package xmlns:dc="d"><metadata><dc:title>Book</dc:title><dc:creator>Ann</dc:creator>'
            "</metadata><manifest>"
            '<item id="b" href="b%20b.xhtml" media-type="application/xhtml+xml"/>'
            '<item id="a" href="a.xhtml" media-type="application/xhtml+xml"/><item id="n" '
            'href="toc.ncx" media-type="application/x-dtbncx+xml"/></manifest>'
            '<spine><itemref idref="b"/><itemref idref="a"/></spine></package>',
        )
        book.writestr(
            "in/b b.xhtml", "<html><head><title/></head><body><h1>B</h1>text b</body></html>"
        )
        book.writestr("in/a.xhtml", "<html><body><p>text a</p></body></html>")
        book.writestr(
            "in/toc.ncx",
            '<ncx><navPoint><navLabel><text>Chapter A</text></navLabel><content src="a.xhtml#x"/>'
            "</navPoint></ncx>",
        )
    document = parse_bytes(buffer.getvalue(), "a.epub")
    assert document.text == "B\n\ntext b\n\nChapter A\n\ntext a"
    assert [heading.text for heading in document.headings] == ["B", "Chapter A"]
    assert (document.title, document.metadata["author"]) == ("Book", "Ann")


def test_notebook() -> None:
    cells = [{"cell_type": "markdown", "source": ["# T\n", "words"]},
             {"cell_type": "code", "source": "x = 1\n\ny = 2"}]  # fmt: skip
    document = parse(json.dumps({"cells": cells}), "a.ipynb")
    assert document.text == "T\n\nwords\n\nx = 1\n\ny = 2"


def test_subtitles() -> None:
    text = "WEBVTT\n\n1\n00:00.000 --> 00:02.000 align:start\n<v Ann>Hello <b>you</b>\n\nNOTE no\n"
    assert parse(text, "a.vtt").text == "Ann: Hello you"


def test_rich_text() -> None:
    text = (
        r"{\rtf1\ansi\ansicpg936{\fonttbl{\f0 Arial;}}{\*\generator X;}Caf\'e9 \b bold\b0\par"
        r"\u30952?\u21147?{\pict 00ff}\par\trowd\intbl a\cell b\cell\row\pard end}"
    )
    text = text.replace(r"\ansicpg936", r"\ansicpg1252")
    assert parse(text, "a.rtf").text == "Café bold\n\n磨力\n\na | b\n\nend"


@pytest.mark.parametrize(
    "front",
    [
        (
            '---\ntitle: Runbook\nowner: "Nadia Petrov"\nversion: 1.10\ntags: [metrics, ops]\n'
            "contact:\n  phone: 0417\ndraft: no\n---\n"
        ),
        (
            '+++\ntitle = "Runbook"\nowner = "Nadia Petrov"\nversion = 1.10\n'
            'tags = ["metrics", "ops"]\ndraft = "no"\n[contact]\nphone = "0417"\n+++\n'
        ),
        (
            '{"title": "Runbook", "owner": "Nadia Petrov", "version": 1.10, "draft": "no",\n'
            '"tags": ["metrics", "ops"], "contact": {"phone": "0417"}}\n'
        ),
    ],
)
def test_front_matter_becomes_attributes(front: str) -> None:
    document = parse(front + "\n# Exporter\n\nIt listens.\n", "run.md")
    assert document.title == "Runbook"
    assert document.metadata == {
        "owner": "Nadia Petrov", "version": "1.10", "tags": ("metrics", "ops"),
        "contact.phone": "0417", "draft": "no",
    }  # fmt: skip
    assert "owner: Nadia Petrov\n" in document.text
    assert document.text.endswith("\n\nExporter\n\nIt listens.")


def test_what_is_no_front_matter_stays() -> None:
    rule = parse("---\n\nWords between rules.\n\n---\n\nMore.\n", "a.md")
    assert rule.text == "Words between rules.\n\nMore."
    damaged = parse("---\nowner: [open\n---\n\nWords.\n", "a.md")
    assert "owner: [open" in damaged.text and "front matter" in damaged.warnings[0]


def mail(content: str, kind: str = "text/plain", **headers: str) -> bytes:
    lines = {"Subject": "Scan", "From": "a@x.org", "Content-Type": kind, **headers}
    head = "".join(f"{name.replace('_', '-')}: {text}\n" for name, text in lines.items())
    return f"{head}MIME-Version: 1.0\n\n{content}".encode()


def part(content: str, kind: str, extra: str = "") -> str:
    return f"--b\nContent-Type: {kind}\n{extra}\n{content}\n"


def test_a_mail_that_is_only_an_attachment() -> None:
    data = mail("item,box\npipes,4471", "application/octet-stream",
                Content_Disposition='attachment; filename="list.csv"')  # fmt: skip
    document = parse_bytes(data, "a.eml")
    assert document.text.endswith("list.csv\n\nitem | box\npipes | 4471")


@pytest.mark.parametrize("is_stub", [True, False])
def test_the_fuller_of_two_alternatives_is_read(is_stub: bool) -> None:
    words = "The gate code of the yard is 7731 until Friday, and 8842 from then on."
    address = "https://news.example/issues/2026/november/in-html/with/pictures?id=4711"
    plain = f"View this in HTML: {address}" if is_stub else words
    body = part(plain, "text/plain") + part(f"<p>{words}</p>", "text/html") + "--b--\n"
    text = parse_bytes(mail(body, "multipart/alternative; boundary=b"), "a.eml").text
    assert text.count("7731") == 1
    assert "View this" not in text


def test_all_parts_of_a_mail() -> None:
    inner = "Subject: Price\nFrom: t@x.org\n\nTomasz agreed."
    body = (
        part("First text.", "text/plain")
        + part("Second text.", "text/plain", "Content-Disposition: inline\n")
        + part(inner, "message/rfc822", "Content-Disposition: inline\n")
        + part("x", "application/pgp-signature")
        + "--b--\n"
    )
    document = parse_bytes(mail(body, "multipart/mixed; boundary=b"), "a.eml")
    assert all(text in document.text for text in ("First text.", "Second text.", "Tomasz agreed."))
    assert [heading.text for heading in document.headings] == ["Scan", "Price"]
    assert not document.warnings


def test_an_encoded_message_in_a_mail() -> None:
    inner = base64.encodebytes(b"Subject: Price\nFrom: t@x.org\n\nThe pin is 5520.\n").decode()
    body = part(inner, "message/rfc822", "Content-Transfer-Encoding: base64\n") + "--b--\n"
    document = parse_bytes(mail(body, "multipart/mixed; boundary=b"), "a.eml")
    assert document.text.endswith("The pin is 5520.")


def test_a_book_without_an_order_is_read_in_that_of_its_files() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as book:
        book.writestr("mimetype", "application/epub+zip")
        book.writestr("book.opf", '<package><manifest><item id="z" href="z.xhtml" '
                      'media-type="application/xhtml+xml"/><item id="a" href="a.xhtml" '
                      'media-type="application/xhtml+xml"/></manifest></package>')  # fmt: skip
        for name in ("a", "z"):
            book.writestr(f"{name}.xhtml", f"<html><body><p>text {name}</p></body></html>")
    document = parse_bytes(buffer.getvalue(), "a.epub")
    assert document.text == "text z\n\ntext a"
    assert document.warnings == ("it does not say in which order its chapters are read",)


def test_rich_text_headers() -> None:
    text = parse(
        r"{\rtf1{\header \pard Contract LX-5521\par}{\footer \pard Page \chpgn\par}"
        r"\pard The rent.\par}",
        "a.rtf",
    ).text
    assert text == "Contract LX-5521\n\nThe rent."
