"""Formats that are text, and the encodings that text comes in."""

import base64
import io
import json
import zipfile
from email.message import EmailMessage

import pytest

from moli.parsing import parse_bytes
from moli.parsing.encodings import guess_encoding
from moli.records.documents import ParsedDocument, Timestamp

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


@pytest.mark.parametrize(
    ("row", "shown"),
    [
        (r"| `a \| b` | pipe |", "a | b | pipe"),
        (r"| plain \| bar | two |", "plain | bar | two"),
        ("| `ls | wc -l` | counts |", "ls | wc -l | counts"),
        ("`x || y` | or else", "x || y | or else"),
        ("| ``a ` | b`` | tick |", "a ` | b | tick"),
        ("| a ` b | c ` d |", "a ` b | c ` d"),
        ("| a | b | *more* | and more |", "a | b | more | and more"),
        ("| only |", "only"),
    ],
)
@pytest.mark.parametrize("before", ["", "> ", "  "])
def test_cells_of_markdown_tables(before: str, row: str, shown: str) -> None:
    table = "\n".join(before + line for line in ("| one | two |", "|---|---|", row, "| last | x |"))
    assert parse(table, "a.md").text == f"one | two\n{shown}\nlast | x"


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
    document = parse(text, "a.vtt")
    assert (document.text, document.times) == ("Ann: Hello you", (Timestamp(0, 0.0),))


def test_subtitles_have_times() -> None:
    cues = (
        "1\r\n00:00:01,500 --> 00:00:02,000\r\nOne.\r\n\r\n2\r\n00:00:03,000 --> 00:00:04,000\r\n"
        "<i></i>\r\n\r\n3\r\n01:02:03,250 --> 01:02:04,000\r\nTwo\r\nlines.\r\n"
    )
    document = parse(cues, "a.srt")
    assert document.text == "One.\n\nTwo\nlines."
    assert document.times == (Timestamp(0, 1.5), Timestamp(6, 3723.25))
    assert parse("WEBVTT\n\nx --> y\nLost.\n", "a.vtt").times == ()


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


def test_hidden_and_deleted_words_of_rich_text() -> None:
    document = parse(
        r"{\rtf1 Shown {\v secret }\v more \v0 {\deleted gone }{\revised new }{\strike struck}"
        r"{\xe\v index entry}{\v two\par}\v then \plain end.\par"
        r"\trowd\intbl {\v x}a\cell {\deleted y}b\cell\row}",
        "a.rtf",
    )
    assert document.text == "Shown new struck\n\nend.\n\na | b"
    assert document.warnings == ("its tracked changes are read as if they were accepted",)


def test_notes_and_properties_of_rich_text() -> None:
    document = parse(
        r"{\rtf1{\info{\title Memo 12}{\author Hu}}\pard Rope costs 40"
        r"{\footnote\pard plus 19 %\par} euros.\par{\*\annotation\pard Ask Petra.\par}End.\par}",
        "a.rtf",
    )
    assert document.text == "Rope costs 40 euros.\n\nplus 19 %\n\nEnd.\n\n[Comment: Ask Petra.]"
    assert (document.title, document.metadata["author"]) == ("Memo 12", "Hu")


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>price <del>99</del><ins>79</ins> euros</p>", "price ~~99~~79 euros"),
        ('<p>text<a epub:type="noteref" >1</a> more<a role="doc-noteref"><b>12</b></a></p>',
         "text¹ more¹²"),
        ('<p>page <a href="#p">3</a></p>', "page 3"),
        ("<p>10<sup>6</sup> cells, 1<sup>st</sup> row<sup><a>[2]</a></sup></p>",
         "10⁶ cells, 1st row[2]"),
        ("<table><tr><td>area<td>12 m<sup>2</sup><tr><td>old<td><s>8</s>9</table>",
         "area | 12 m²\nold | ~~8~~9"),
        ("<ruby>蜂<rp>(</rp><rt>fēng</rt><rp>)</rp></ruby>蜜", "蜂蜜"),
    ],
)  # fmt: skip
def test_inline_marks_that_change_what_a_page_says(html: str, text: str) -> None:
    assert parse(html, "a.html").text == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"\\u8bbe\\u5907": "\\u6cf5", "icon": "\\ud83d\\ude00"}', '{"设备": "泵", "icon": "😀"}'),
        ('["a\\u0022b", "\\u000a", "C:\\\\u6cf5"]', '["a\\u0022b", "\\u000a", "C:\\\\u6cf5"]'),
        ("the escape \\u6cf5 in prose", "the escape \\u6cf5 in prose"),
    ],
)
def test_letters_that_json_escapes(text: str, shown: str) -> None:
    assert parse(text, "a.json").text == shown


def test_a_log_of_a_terminal() -> None:
    log = "\x1b[1;31mERROR\x1b[0m disk\a full on \x1b]8;;http://x\ano\x1b]8;;\ade-7\nb\bold\n"
    assert parse(log, "a.log").text == "ERROR disk full on node-7\nold"


def test_a_table_that_states_its_delimiter() -> None:
    assert parse("sep=;\r\nCity;Lat\r\nOslo;59,9\r\n", "a.csv").text == "City | Lat\nOslo | 59,9"


def test_styles_of_subtitles_are_left_out() -> None:
    text = "1\n00:00:01,000 --> 00:00:02,000\n{\\an8}Valve <i>2024</i> {shut}\n"
    assert parse(text, "a.srt").text == "Valve 2024 {shut}"


def test_a_text_longer_than_its_page_is_no_stub() -> None:
    words = "The bearing costs 38 euros and arrives within 15 days."
    body = part(words, "text/plain") + part("<p>Hi</p>", "text/html") + "--b--\n"
    assert words in parse_bytes(mail(body, "multipart/alternative; boundary=b"), "a.eml").text


def test_lines_of_a_flowed_mail_are_joined() -> None:
    text = "The unit costs \n4,300 euros.\n> old words \n> go on\n-- \nIlse"
    shown = parse_bytes(mail(text, "text/plain; format=flowed"), "a.eml").text
    assert shown.endswith("The unit costs 4,300 euros.\n> old words go on\n--\nIlse")
    text = "轴承报价为每只 \n38 元。"
    shown = parse_bytes(mail(text, "text/plain; charset=utf-8; format=flowed; delsp=yes"), "a.eml")
    assert shown.text.endswith("轴承报价为每只38 元。")


def test_a_page_saved_as_one_file() -> None:
    page = part("<html><body><p>61 =E2=82=AC</p></body></html>", "text/html; charset=utf-8",
                "Content-Transfer-Encoding: quoted-printable\n") + "--b--\n"  # fmt: skip
    data = mail(page, "multipart/related; boundary=b", Date="Mon, 3 Nov 2025 10:00:00 -0000")
    for name in ("a.mht", "a.mhtml"):
        assert parse_bytes(data, name).text.endswith("61 €")


def test_all_messages_of_a_mailbox() -> None:
    first, second = mail("alpha", Date="x"), mail("YmV0YQ==", Content_Transfer_Encoding="base64")
    data = b"From a@x.org Mon Nov\n" + first + b"\n\nFrom b@x.org Tue Nov\n" + second + b"\n"
    document = parse_bytes(data, "all.mbox")
    assert "alpha" in document.text and document.text.endswith("beta")
    assert [heading.level for heading in document.headings] == [2, 2] and not document.title


def test_a_message_of_apple_mail() -> None:
    message = mail("The pin is 77.")
    data = f"{len(message)}      \n".encode() + message + b'\n<?xml version="1.0"?><plist/>'
    assert parse_bytes(data, "a.emlx").text.endswith("The pin is 77.")


def test_long_lines_of_a_calendar_go_on() -> None:
    calendar = "BEGIN:VCALENDAR\nDESCRIPTION:Bring the per\n mit 55\nEND:VCALENDAR"
    body = part(calendar, "text/calendar") + "--b--\n"
    text = parse_bytes(mail(body, "multipart/mixed; boundary=b"), "a.eml").text
    assert "Bring the permit 55" in text and "text/calendar" not in text
