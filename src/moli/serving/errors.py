"""Error responses, all in one shape: {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

import re
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match, Mount

from moli.records.errors import (
    AccessError,
    BusyError,
    InputError,
    ModelError,
    MoliError,
    NotFoundError,
    SettingsError,
    WorkspaceError,
)
from moli.serving.headers import HEADERS
from moli.serving.validation import describe_errors
from moli.translations.catalogue import load_catalogue
from moli.translations.preference import requested_language

_STATUS: dict[type[MoliError], int] = {
    InputError: 400,
    AccessError: 403,
    BusyError: 429,
    NotFoundError: 404,
    SettingsError: 500,
    ModelError: 502,
    WorkspaceError: 503,
}

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


RETRY_SECONDS = 2  # after which a server that is not available is worth another try
_CLIENT_LEFT = 499  # in the log only, since nobody receives it


def error_response(
    headers: Headers, status: int, message: str, *, code: str, param: str | None = None
) -> JSONResponse:
    """Error response in the shape of OpenAI's API.

    Args:
        headers: the request's, which prefers a language for the message.
        message: in English.
    """
    language = requested_language(headers.get("accept-language", ""))
    if language != "en":
        message = load_catalogue(language).translate(message)
    error = error_object(status, message, code, param)
    return JSONResponse({"error": error}, status, headers=HEADERS)


def error_object(
    status: int, message: str, code: str, param: str | None = None
) -> dict[str, str | None]:
    """The `error` of an error response."""
    default = "invalid_request_error" if status < 500 else "api_error"
    kind = _TYPES.get(status, default)
    return {"message": message, "type": kind, "param": param, "code": code}


def add_error_handlers(app: FastAPI) -> None:
    """Have every failure of an app answered in the shape of `error_response`."""
    app.add_exception_handler(MoliError, _handle_moli_error)
    app.add_exception_handler(RequestValidationError, _handle_validation_error)
    app.add_exception_handler(HTTPException, _handle_http_error)
    app.add_exception_handler(ClientDisconnect, _handle_disconnect)
    app.add_exception_handler(Exception, _handle_server_error)


def _handle_moli_error(request: Request, error: Exception) -> JSONResponse:
    """The response to a MoliError, with the HTTP status of its class."""
    assert isinstance(error, MoliError)  # noqa: S101 - what it is registered for
    status = next((s for kind, s in _STATUS.items() if isinstance(error, kind)), 400)
    param = error.where if _names_field(request, error.where) else ""
    _note(request, error.code, param)
    response = error_response(
        request.headers, status, str(error), code=error.code, param=param or None
    )
    if isinstance(error, BusyError):
        response.headers["Retry-After"] = str(error.seconds)
    elif status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = str(RETRY_SECONDS)
    return response


def _names_field(request: Request, where: str) -> bool:
    """Whether the place of an error is in the body of the request."""
    field = getattr(request.scope.get("route"), "body_field", None)
    model = field.field_info.annotation if field else None
    fields = getattr(model, "model_fields", {})
    return re.split(r"[.\[]", where)[0] in fields


def _note(request: Request, code: str, param: str) -> None:
    """Note the error for the log: its code and the field of the body, but no word of the client."""
    field = re.split(r"[.\[]", param)[0]
    request.state.error = {"error": code, "field": field if _names_field(request, field) else ""}


def _handle_validation_error(request: Request, error: Exception) -> JSONResponse:
    """The response to a request whose fields are not valid."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what it is registered for
    problem = describe_errors(error.errors(), error.body)
    _note(request, problem.code, problem.param)
    return error_response(
        request.headers, 400, problem.message, code=problem.code, param=problem.param or None
    )


def _handle_http_error(request: Request, error: Exception) -> JSONResponse:
    """The response to an error of the framework, such as an unknown path."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    phrase = HTTPStatus(status).phrase
    detail = str(error.detail) if isinstance(error, HTTPException) else phrase
    path, allowed = ascii(request.url.path)[1:-1], ""
    if status == HTTPStatus.NOT_FOUND:
        detail = f"there is no {path}. The API is under /v1, and /v1/openapi.json describes it."
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = ", ".join(sorted(_methods(request)))
        detail = f"{path} has no {request.method}. It has {allowed}."
    code = phrase.lower().replace(" ", "_")
    response = error_response(request.headers, status, detail, code=code)
    response.headers.update(getattr(error, "headers", None) or {})
    if allowed:
        response.headers["Allow"] = allowed
    return response


def _methods(request: Request) -> set[str]:
    """The methods that the path of a request has."""
    routes = [each for each in request.app.routes if not isinstance(each, Mount)]

    def has_route(method: str) -> bool:
        """Whether there is an endpoint of this path for a method."""
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in routes)

    methods = set(filter(has_route, ("DELETE", "GET", "PATCH", "POST", "PUT")))
    return methods | ({"HEAD"} if "GET" in methods else set())


def _handle_disconnect(_request: Request, _error: Exception) -> Response:
    """The response to a client that has left, with the status by which logs know that."""
    return Response(status_code=_CLIENT_LEFT)


def _handle_server_error(request: Request, _error: Exception) -> JSONResponse:
    """The response to any other error, which says nothing about it."""
    message = "the server failed; its log says why"
    return error_response(request.headers, 500, message, code="internal_error")
