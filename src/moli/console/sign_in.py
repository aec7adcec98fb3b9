"""The page on which a visitor of a server with keys signs in with theirs."""

from __future__ import annotations

import html
from importlib.resources import files
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from moli.console.translations import Translation, translation_for
from moli.serving.access import COOKIE, SIGN_IN, SIGN_OUT, Authenticator

router = APIRouter(include_in_schema=False)

_DAYS = 30
_PAGE = """<!doctype html>
<html lang="{language}"><head><meta charset="utf-8"><title>Moli</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head>
<body><div class="moli"><header class="top"><span class="brand">Moli</span></header>
<main class="desk"><section class="welcome"><h1>{heading}</h1><p class="quiet">{hint}</p></section>
<form class="ask" method="post" action="{action}"><div class="question">
<input type="password" name="key" aria-label="{label}" placeholder="{label}" required autofocus
 autocomplete="current-password"></div><button class="primary">{enter}</button></form>
<div class="notice" role="alert">{notice}</div></main></div></body></html>
"""


@router.get(SIGN_IN)
def show_form(request: Request) -> HTMLResponse:
    """Ask for a key."""
    return _render(_translation(request))


@router.post(SIGN_IN)
async def sign_in(request: Request, key: Annotated[str, Form(max_length=1000)]) -> Response:
    """Keep a valid key in a cookie that no script can read and no other site can send."""
    authenticator: Authenticator = request.app.state.authenticator
    secret = key.strip()
    await run_in_threadpool(authenticator.refresh)
    if authenticator.authenticate(secret) is None:
        texts = _translation(request)
        return _render(texts, texts.wrong_key, 401)
    response = RedirectResponse("/", 303)
    response.set_cookie(
        COOKIE,
        secret,
        max_age=_DAYS * 86400,
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return response


@router.post(SIGN_OUT)
def sign_out() -> Response:
    """Forget the key that the browser keeps."""
    response = RedirectResponse(SIGN_IN, 303)
    response.delete_cookie(COOKIE, httponly=True, samesite="lax")
    return response


def _translation(request: Request) -> Translation:
    """Texts in the language that the browser prefers."""
    return translation_for(request.headers.get("accept-language", ""))


def _render(texts: Translation, notice: str = "", status: int = 200) -> HTMLResponse:
    """The page, with a notice if there is one."""
    values = {
        "language": texts.language,
        "heading": texts.sign_in,
        "hint": texts.sign_in_hint,
        "label": texts.key_label,
        "enter": texts.sign_in_button,
        "action": SIGN_IN,
    }
    escaped = {name: html.escape(value) for name, value in values.items()}
    style = (files("moli.console") / "page.css").read_text(encoding="utf-8")
    message = f"<p>{html.escape(notice)}</p>" if notice else ""
    return HTMLResponse(_PAGE.format(style=style, notice=message, **escaped), status)
