"""Mail messages (.eml): headers, body, and attachments in formats that can be read."""

import binascii
import re
from email import policy
from email.errors import MessageError
from email.message import EmailMessage, MIMEPart
from email.parser import BytesParser

from moli.parsing.blocks import Blocks
from moli.parsing.encodings import decode
from moli.parsing.limits import Limits
from moli.parsing.readers.plain import read_text
from moli.parsing.readers.web import read_html
from moli.records.errors import DocumentError

_HEADERS = ("From", "To", "Cc", "Date", "Subject")
_METADATA_KEYS = {"From": "author", "To": "recipient", "Date": "date"}
_MAX_DEPTH = 5
# What stands before each message of a mailbox file.
_MAILBOX_LINE = re.compile(rb"(?:\A|(?<=\n)\r?\n)From [^\r\n]*\r?\n(?=[A-Za-z-]+:)")
_SIZE_LINE = re.compile(rb"(\d+) *\r?\n")
_QUOTED = re.compile(r"(>*) ?")
_BODY_TYPES = ("text/plain", "text/html")
_SIGNATURES = {"application/pgp-signature", "application/pkcs7-signature",
               "application/x-pkcs7-signature"}  # fmt: skip
_ADDRESS = re.compile(r"https?://\S+")
_WORD = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]|[^\W_]+")
_MAX_MISSING = 0.4  # Share of the words of an HTML body that its plain text may lack.
_MAX_STUB = 60  # Words.


def read(data: bytes, blocks: Blocks, limits: Limits) -> None:  # noqa: ARG001
    """Add the message in `data` to `blocks`."""
    messages = _messages(data)
    depth = int(len(messages) > 1)  # The subject of one message is not the title of all.
    for content in messages:
        _add_message(BytesParser(policy=policy.default).parsebytes(content), blocks, depth)


def _messages(data: bytes) -> list[bytes]:
    """The messages of a mailbox file; otherwise the one message, without what Apple Mail adds."""
    if data.startswith(b"From "):
        return [message for message in _MAILBOX_LINE.split(data) if message.strip()]
    if size := _SIZE_LINE.match(data):
        return [data[size.end() : size.end() + int(size[1])]]
    return [data]


def _add_message(message: EmailMessage, blocks: Blocks, depth: int) -> None:
    """Add a message; `depth` is 0 for the file itself and more for messages inside it."""
    headers = {name: _header_text(message, name) for name in _HEADERS}
    if not depth:
        blocks.title = headers["Subject"]
        blocks.metadata.update({key: headers[name] for name, key in _METADATA_KEYS.items()})
    blocks.add_heading(headers["Subject"], depth + 1)
    blocks.add_paragraph("\n".join(f"{name}: {text}" for name, text in headers.items() if text))
    attachments: list[MIMEPart] = []
    _add_bodies(message, blocks, attachments)
    for part in attachments:
        _add_attachment(part, blocks, depth)


def _header_text(message: EmailMessage, name: str) -> str:
    """A header as text; the parser raises on some that are badly malformed."""
    try:
        return " ".join(str(message[name] or "").split())
    except (ValueError, IndexError, AttributeError, TypeError, LookupError):
        raw = next((value for key, value in message.raw_items() if key == name), "")
        return " ".join(str(raw).split())


def _add_bodies(part: MIMEPart, blocks: Blocks, attachments: list[MIMEPart]) -> None:
    """Add the texts of a message in order; everything else goes to `attachments`."""
    if part.get_content_maintype() == "multipart" and part.is_multipart():
        parts = [each for each in part.iter_parts() if isinstance(each, MIMEPart)]
        if part.get_content_type() == "multipart/alternative":
            parts = _without_lesser_bodies(parts)
        for inner in parts:
            _add_bodies(inner, blocks, attachments)
    elif _is_body(part):
        text = _body_text(part)
        if part.get_content_type() == "text/html":
            read_html(text, blocks)
        else:
            read_text(text, blocks)
    else:
        attachments.append(part)


def _is_body(part: MIMEPart) -> bool:
    """Whether a part is text of the message itself."""
    is_attachment = part.is_attachment() or bool(part.get_filename())
    return part.get_content_type() in _BODY_TYPES and not is_attachment


def _without_lesser_bodies(parts: list[MIMEPart]) -> list[MIMEPart]:
    """Alternatives of one text without the lesser ones.

    The plain text is kept if it has most of the words of the HTML. If not, it is no more than a
    stub that points to the HTML, or else both are kept.
    """
    plain = [part for part in parts if part.get_content_type() == "text/plain" and _is_body(part)]
    html = [part for part in parts if part not in plain and _has_html(part)]
    if not plain or not html:
        return parts
    words, shown = _words(plain), _words(html)
    if len(shown - words) > _MAX_MISSING * len(shown):
        own = len(words - shown)
        is_stub = len(words) < len(shown) and (own < _MAX_STUB or own < _MAX_MISSING * len(words))
        return [part for part in parts if part not in plain or not is_stub]
    # Of pictures and files around the HTML, those are kept.
    kept: list[MIMEPart] = []
    for part in parts:
        kept += _related_files(part) if part in html else [part]
    return kept


def _words(parts: list[MIMEPart]) -> set[str]:
    """The words of bodies without addresses of pages, and characters of scripts without spaces."""
    shown = Blocks()
    for part in parts:
        _add_bodies(part, shown, [])
    return set(_WORD.findall(_ADDRESS.sub(" ", shown.build().text).casefold()))


def _has_html(part: MIMEPart) -> bool:
    """Whether an alternative is a page, perhaps with the files that it shows."""
    return any(inner.get_content_type() == "text/html" for inner in part.walk())


def _related_files(part: MIMEPart) -> list[MIMEPart]:
    """The files beside the page in a multipart alternative."""
    leaves = (each for each in part.walk() if not each.is_multipart())
    return [each for each in leaves if isinstance(each, MIMEPart) and not _is_body(each)]


def _body_text(part: MIMEPart) -> str:
    """The decoded text of a body; empty if it has none."""
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return ""
    text = decode(payload, part.get_content_charset() or "")
    parameters = part["Content-Type"].params if part["Content-Type"] else {}
    if str(parameters.get("format", "")).lower() != "flowed":
        return text
    return _without_soft_breaks(text, str(parameters.get("delsp", "")).lower() == "yes")


def _without_soft_breaks(text: str, drops_spaces: bool) -> str:
    """The text of a body in the form `flowed`, whose lines go on after a space at their end.

    Args:
        drops_spaces: whether these spaces are not part of the text.
    """
    lines: list[str] = []
    goes_on, depth = False, ""
    for line in text.splitlines():
        quoted = _QUOTED.match(line)
        mark = quoted[1] if quoted else ""
        rest = line[quoted.end() :] if quoted else line
        if goes_on and mark == depth:
            lines[-1] += rest
        else:
            lines.append(f"{mark} {rest}" if mark else rest)
        goes_on, depth = rest.endswith(" ") and rest != "-- ", mark
        if goes_on and drops_spaces:
            lines[-1] = lines[-1][:-1]
    return "\n".join(lines)


def _add_attachment(part: MIMEPart, blocks: Blocks, depth: int) -> None:
    """Add an attachment under its name as heading, or a warning that it was left out."""
    kind = part.get_content_type()
    name = _file_name(part) or kind
    if kind in _SIGNATURES:
        return
    inner = part.get_payload(0) if kind == "message/rfc822" and part.is_multipart() else None
    if isinstance(inner, EmailMessage) and inner.keys():
        if depth >= _MAX_DEPTH:
            blocks.warn(f"the message {name} was left out: it is nested too deep")
        else:
            _add_message(inner, blocks, depth + 1)
        return
    if part.get_content_maintype() == "image" and part["Content-ID"]:
        return  # A picture in the text, more often a logo than a document.
    suffix = ".eml" if kind == "message/rfc822" else ".txt" if kind.startswith("message/") else ""
    try:
        document = blocks.parse_contained(_content(part), name + suffix)
    except DocumentError as error:
        blocks.warn(f"the attachment {name} was left out: {error.what}")
        return
    if _file_name(part):
        blocks.add_heading(name, depth + 2)
    blocks.add_document(document, name)


def _content(part: MIMEPart) -> bytes:
    """The decoded content of an attachment."""
    payload = part.get_payload(decode=True)
    if isinstance(payload, bytes):
        is_calendar = part.get_content_type() == "text/calendar"
        # Long lines of a calendar go on behind a space.
        return re.sub(rb"\r?\n[ \t]", b"", payload) if is_calendar else payload
    text = "\n".join(str(inner) for inner in part.iter_parts())
    # The parser takes the lines of an encoded message, which the standard forbids, for its text.
    encoded = str(part.get("Content-Transfer-Encoding", "")).strip().lower() == "base64"
    try:
        return binascii.a2b_base64(text) if encoded else text.encode("utf-8", "replace")
    except binascii.Error:
        return text.encode("utf-8", "replace")


def _file_name(part: MIMEPart) -> str:
    """The name of an attached file; empty if it has none that can be read."""
    try:
        return part.get_filename() or ""
    except (ValueError, LookupError, TypeError, AttributeError, MessageError):
        return ""
