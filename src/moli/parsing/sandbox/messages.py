"""The messages between a sandbox and its worker: JSON, and perhaps the samples of a recording.

Both stand behind their lengths in bytes.
"""

import dataclasses
import json
import struct
from typing import IO, Any

from moli.records.documents import Heading, ParsedDocument, Timestamp
from moli.records.errors import DocumentError

_LENGTHS = struct.Struct(">IQ")

Message = dict[str, Any]


def send(stream: IO[bytes], message: Message) -> None:
    """Write one message and flush it; its `samples`, if any, are bytes."""
    samples = message.get("samples", b"")
    rest = {key: value for key, value in message.items() if key != "samples"}
    body = json.dumps(rest, ensure_ascii=False).encode()
    stream.write(_LENGTHS.pack(len(body), len(samples)) + body)
    stream.write(samples)
    stream.flush()


def receive(stream: IO[bytes]) -> Message | None:
    """The next message, or None once the other side has gone."""
    header = stream.read(_LENGTHS.size)
    if len(header) < _LENGTHS.size:
        return None
    length, samples_length = _LENGTHS.unpack(header)
    body, samples = stream.read(length), stream.read(samples_length)
    if len(body) < length or len(samples) < samples_length:
        return None
    message: Message = json.loads(body)
    if samples:
        message["samples"] = samples
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


def raise_error(message: Message) -> None:
    """Raise the error in a message, if there is one."""
    if "error" in message:
        error = message["error"]
        raise DocumentError(error["reason"], error["what"], where=error["where"], fix=error["fix"])


def document_in(message: Message) -> ParsedDocument:
    """The document in a message."""
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
