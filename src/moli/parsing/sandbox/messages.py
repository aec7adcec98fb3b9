"""The messages between a sandbox and its worker: JSON behind a four-byte length."""

import dataclasses
import json
import struct
from typing import IO, Any

from moli.records.documents import Heading, ParsedDocument, Timestamp
from moli.records.errors import DocumentError

_LENGTH = struct.Struct(">I")

Message = dict[str, Any]


def send(stream: IO[bytes], message: Message) -> None:
    """Write one message and flush it."""
    body = json.dumps(message, ensure_ascii=False).encode()
    stream.write(_LENGTH.pack(len(body)) + body)
    stream.flush()


def receive(stream: IO[bytes]) -> Message | None:
    """The next message, or None once the other side has gone."""
    header = stream.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(header)
    body = stream.read(length)
    if len(body) < length:
        return None
    message: Message = json.loads(body)
    return message


def document_message(document: ParsedDocument) -> Message:
    """A message to the sandbox with a parsed document."""
    return {"document": {
        "text": document.text,
        "pages": document.pages,
        "headings": [dataclasses.astuple(heading) for heading in document.headings],
        "title": document.title,
        "metadata": dict(document.metadata),
        "warnings": document.warnings,
        "times": [dataclasses.astuple(time) for time in document.times],
    }}  # fmt: skip


def error_message(error: DocumentError) -> Message:
    """A message to the sandbox with an error."""
    return {"error": {
        "reason": error.reason, "what": error.what, "where": error.where, "fix": error.fix,
    }}  # fmt: skip


def document_in(message: Message) -> ParsedDocument:
    """The document in a message; an error in it is raised."""
    if "error" in message:
        error = message["error"]
        raise DocumentError(error["reason"], error["what"], where=error["where"], fix=error["fix"])
    fields = message["document"]
    return ParsedDocument(
        text=fields["text"],
        pages=tuple(fields["pages"]),
        headings=tuple(Heading(*heading) for heading in fields["headings"]),
        title=fields["title"],
        metadata={
            key: tuple(value) if isinstance(value, list) else value
            for key, value in fields["metadata"].items()
        },
        warnings=tuple(fields["warnings"]),
        times=tuple(Timestamp(*time) for time in fields["times"]),
    )
