"""JSON bodies of requests, read strictly.

What JSON permits and nothing behind it can use is refused with the place where it is: a field that
occurs twice, numbers that are not finite, text that cannot be stored, and nesting without end.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from email.message import Message
from typing import Any

from fastapi import Request, Response
from fastapi.params import Form
from fastapi.routing import APIRoute

from moli.records.errors import InputError

Path = tuple[str | int, ...]  # names and indices that lead to a place in a body

_JSON = "application/json"
MAX_DEPTH = 100  # levels of objects and lists
_SHOWN_LEVELS = 6  # of a place that is too deep
_TOO_DEEP = f"is nested deeper than {MAX_DEPTH} levels"
_MAX_DIGITS = 300  # of a whole number; more are no longer a finite float
# Escapes of null characters and of halves of surrogate pairs, which may be in any text.
_ESCAPES = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")


class JsonRoute(APIRoute):
    """A route whose JSON body is read by `parse_json`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        if self.body_field is None or isinstance(self.body_field.field_info, Form):
            return handle

        async def handle_json(request: Request) -> Response:
            """Read the body before anything else is done."""
            body = await request.body()
            check_media_type(request, _JSON)
            return await handle(_ParsedRequest(request, body, parse_json(body)))

        return handle_json


class _ParsedRequest(Request):
    """A request whose body has been read."""

    def __init__(self, request: Request, raw: bytes, value: Any) -> None:
        super().__init__(request.scope, request.receive)
        self._raw, self._value = raw, value

    async def body(self) -> bytes:
        return self._raw

    async def json(self) -> Any:
        return self._value


def parse_json(body: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        InputError: it is no JSON in UTF-8, or holds something that cannot be used.
    """
    if not body.strip():
        raise InputError("the body is empty", fix="Send a JSON object.")
    try:
        text = body.decode("utf-8-sig")  # some programs begin with a byte order mark
    except UnicodeDecodeError as error:
        raise InputError(
            f"the body is not UTF-8: byte {error.start} is wrong", fix="Encode it in UTF-8."
        ) from error
    decoder = _Decoder()
    try:
        value = decoder.decode(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"the body is not JSON ({error.msg} at line {error.lineno}, column {error.colno})",
            fix="Correct it there.",
        ) from error
    except RecursionError:
        raise _invalid((), _TOO_DEEP) from None
    # To look at every value takes a while, and few bodies give a reason to.
    may_be_deep = body.count(b"[") + body.count(b"{") > MAX_DEPTH
    if decoder.has_problem or may_be_deep or _ESCAPES.search(body):
        decoder.check(value, ())
    return value


def join_path(parts: Sequence[str | int]) -> str:
    """A place in a body as OpenAI's errors write it, such as `messages[0].content`."""
    steps = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return "".join(steps).removeprefix(".")


def is_storable(text: str) -> bool:
    """Whether a text has no half of a surrogate pair and no null character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


class _Decoder:
    """A decoder of one JSON text that notes what is wrong without being a mistake in JSON.

    Attributes:
        has_problem: whether there is a field that occurs twice or a number that is not finite.
    """

    def __init__(self) -> None:
        self.has_problem = False
        self._repeated: dict[int, str] = {}  # the field that occurs twice, by the object's id
        self._decoder = json.JSONDecoder(
            object_pairs_hook=self._object,
            parse_float=self._float,
            parse_int=self._int,
            parse_constant=self._float,
        )

    def decode(self, text: str) -> Any:
        """The value of a JSON text."""
        return self._decoder.decode(text)

    def check(self, value: Any, path: Path) -> None:
        """Check a value at a place in the body, and all that it holds.

        Raises:
            InputError: there is something that cannot be used.
        """
        if len(path) > MAX_DEPTH:
            raise _invalid(path[:_SHOWN_LEVELS], _TOO_DEEP)
        if isinstance(value, str) and not is_storable(value):
            raise _invalid(path, "has a character that cannot be stored")
        if isinstance(value, float) and not math.isfinite(value):
            raise _invalid(path, "is not a number in the range that can be used")
        if isinstance(value, dict):
            if name := self._repeated.get(id(value)):
                raise _invalid((*path, name), "occurs twice")
            for name, part in value.items():
                if not is_storable(name):
                    problem = f"has a field ({name!a}) with a character that cannot be stored"
                    raise _invalid(path, problem)
                self.check(part, (*path, name))
        if isinstance(value, list):
            for index, part in enumerate(value):
                self.check(part, (*path, index))

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """An object, whose repeated field is noted."""
        value = dict(pairs)
        if len(value) < len(pairs):
            counts = Counter(name for name, _ in pairs)
            self._repeated[id(value)] = counts.most_common(1)[0][0]
            self.has_problem = True
        return value

    def _float(self, text: str) -> float:
        """A number, or one of NaN, Infinity and -Infinity."""
        value = float(text)
        self.has_problem |= not math.isfinite(value)
        return value

    def _int(self, text: str) -> float:
        """A whole number; infinity if it has too many digits."""
        if len(text) <= _MAX_DIGITS:
            return int(text)
        self.has_problem = True
        return math.inf


def check_media_type(request: Request, expected: str, *others: str) -> None:
    """Check that the body of a request is declared as what it has to be, and not compressed.

    Args:
        expected: the media type to send; a kind of JSON will do for JSON.
        others: media types that are read as well.

    Raises:
        InputError: it is declared as something else.
    """
    content_type = request.headers.get("content-type", "")
    message = Message()
    message["content-type"] = content_type
    declared = message.get_content_type() if content_type else ""
    is_json = expected == _JSON and declared.endswith("+json")
    if declared not in (expected, *others) and not is_json:
        shown = ascii(content_type)[1:-1] or "nothing"
        raise InputError(
            f"the body is declared as {shown}, not as {expected}",
            fix=f"Send the header 'Content-Type: {expected}'.",
        )
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise InputError(
            f"the body is compressed ({ascii(encoding)[1:-1]})",
            fix="Send it uncompressed, without Content-Encoding.",
        )


def _invalid(path: Path, problem: str) -> InputError:
    """The error for something in the body that cannot be used."""
    where = join_path(path) if path and path[0] else ""
    return InputError(problem, where or "the body", fix="Correct it.")
