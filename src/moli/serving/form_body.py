"""Forms, in which requests bring files, read strictly.

A form that repeats a field has one value too many, which would be lost without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, get_origin

from fastapi import Request, Response, UploadFile
from fastapi.routing import APIRoute
from pydantic import ConfigDict
from pydantic.fields import FieldInfo
from starlette.datastructures import FormData

from moli.records.errors import InputError
from moli.serving.bodies import Body
from moli.serving.json_body import check_media_type

_FORM = "multipart/form-data"
_FORM_WITHOUT_FILES = "application/x-www-form-urlencoded"  # lets the error say what is missing


class FormBody(Body):
    """Fields of a form, all of which come as texts or as files."""

    model_config = ConfigDict(strict=False)


class FormRoute(APIRoute):
    """A route whose body is a form, checked before it is read."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle
        model: Any = self.body_field.field_info.annotation
        fields = {each.alias or name: each for name, each in model.model_fields.items()}

        async def handle_form(request: Request) -> Response:
            """Check the form before anything else is done."""
            check_media_type(request, _FORM, _FORM_WITHOUT_FILES)
            async with request.form() as form:
                _check_form(form, fields)
                return await handle(request)

        return handle_form


def _check_form(form: FormData, fields: Mapping[str, FieldInfo]) -> None:
    """Check that no field has too many values, and that files are files.

    Raises:
        InputError: one has, or a file is a text.
    """
    for name, field in fields.items():
        values = form.getlist(name)
        if len(values) > 1 and get_origin(field.annotation) is not list:
            raise InputError(f"is there {len(values)} times", name, fix="Send one in each request.")
        if field.annotation is UploadFile and any(isinstance(each, str) for each in values):
            raise InputError("must be a file", name, fix="Send it with a filename.")
