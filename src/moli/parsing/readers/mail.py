"""Mail messages (.eml): headers, body, and attachments in formats that can be read."""

from email import policy
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


def read(data: bytes, blocks: Blocks, limits: Limits) -> None:  # noqa: ARG001
    """Add the message in `data` to `blocks`."""
    message = BytesParser(policy=policy.default).parsebytes(data)
    _add_message(message, blocks, 0)


def _add_message(message: EmailMessage, blocks: Blocks, depth: int) -> None:
    """Add a message; `depth` is 0 for the file itself and more for messages attached to it."""
    headers = {name: _header_text(message, name) for name in _HEADERS}
    if not depth:
        blocks.title = headers["Subject"]
        blocks.metadata.update({key: headers[name] for name, key in _METADATA_KEYS.items()})
    blocks.add_heading(headers["Subject"], depth + 1)
    blocks.add_paragraph("\n".join(f"{name}: {text}" for name, text in headers.items() if text))
    body = message.get_body(preferencelist=("plain", "html"))
    if body is not None and not _body_text(body).strip():
        body = message.get_body(preferencelist=("html",)) or body
    if body is not None:
        if body.get_content_type() == "text/html":
            read_html(_body_text(body), blocks)
        else:
            read_text(_body_text(body), blocks)
    for part in message.iter_attachments():
        if isinstance(part, EmailMessage):
            _add_attachment(part, blocks, depth)


def _header_text(message: EmailMessage, name: str) -> str:
    """A header as text; the parser raises on some that are badly malformed."""
    try:
        return " ".join(str(message[name] or "").split())
    except (ValueError, IndexError, AttributeError, TypeError, LookupError):
        raw = next((value for key, value in message.raw_items() if key == name), "")
        return " ".join(str(raw).split())


def _body_text(part: MIMEPart) -> str:
    """The decoded text of a body; empty if it has none."""
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return ""
    return decode(payload, part.get_content_charset() or "")


def _add_attachment(part: EmailMessage, blocks: Blocks, depth: int) -> None:
    """Add an attachment under its name as heading, or a warning that it was left out."""
    name = part.get_filename() or part.get_content_type()
    if part.get_content_type() == "message/rfc822" and depth < _MAX_DEPTH:
        inner = part.get_content()
        if isinstance(inner, EmailMessage):
            _add_message(inner, blocks, depth + 1)
        return
    payload = part.get_payload(decode=True)
    if part.get_content_disposition() == "inline" and part.get_content_maintype() == "image":
        return  # A logo in a signature more often than a document.
    if not isinstance(payload, bytes):
        return
    try:
        document = blocks.parse_contained(payload, name)
    except DocumentError as error:
        blocks.warn(f"the attachment {name} was left out: {error.what}")
        return
    blocks.add_heading(name, depth + 2)
    blocks.add_document(document)
