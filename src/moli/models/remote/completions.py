"""Requests to the completions API of vLLM and SGLang, and the parsing of its responses."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal

import httpx

from moli.models.remote.servers import ServerSpec
from moli.records.errors import InputError, ModelError
from moli.records.generation import Delta, FinishReason, Request, TokenLogprob

_FINISH_REASONS: dict[str, FinishReason] = {"stop": "stop", "length": "length"}
_TOKEN_ID_PREFIX = "token_id:"  # noqa: S105 - of vLLM's `return_tokens_as_token_ids`


def request_body(
    server: ServerSpec, base: str, request: Request, max_tokens: int, cache_salt: str
) -> dict[str, Any]:
    """The body of a completion request.

    Args:
        base: the name of the base model on the server.
        max_tokens: tokens that fit after the prompt.
        cache_salt: cached prompts are shared only with requests of the same salt; "" for no salt.

    Raises:
        InputError: the server cannot do what is requested.
    """
    sampling = request.sampling
    if sampling.prompt_logprobs or not sampling.max_tokens:
        raise InputError(
            f"{server.name} only reports what it generates, not the tokens of a prompt",
            fix="Ask for at least one token and no echo, or run the model here.",
        )
    body = {
        "prompt": [int(token) for token in request.ids],
        "max_tokens": min(sampling.max_tokens, max_tokens),
        # All are sent, since a server takes those that are missing from the model's own
        # generation_config.json.
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "stop": [text for text in sampling.stop if text],
        "ignore_eos": sampling.ignore_eos,
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_token_ids": True,
    }
    optional = {
        "seed": sampling.seed,
        "logprobs": sampling.logprobs,
        "logit_bias": {str(token): value for token, value in sampling.logit_bias} or None,
        "cache_salt": cache_salt or None,
    }
    body |= {name: value for name, value in optional.items() if value is not None}
    return body | server.request_fields(base, request)


def parse_error(response: httpx.Response) -> dict[str, Any]:
    """The error in a response, from any of the formats that these servers use.

    Returns:
        The fields of the error, always with "message".
    """
    try:
        body = response.json()
    except ValueError:
        body = response.text[:200]
    error = body.get("error", body) if isinstance(body, dict) else body
    if not isinstance(error, dict):
        return {"message": str(error)}
    messages = (error.get(name) for name in ("message", "error_message", "detail"))
    return error | {"message": str(next(filter(None, messages), ""))[:500]}


def loggable_error(error: Any) -> str:
    """The part of an error that may be logged: its message may quote the conversation."""
    fields = (error.get(name) for name in ("type", "param")) if isinstance(error, dict) else ()
    return " ".join(map(str, filter(None, fields))) or "no reason"


async def stream_events(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The server-sent events of a response, to its very end: then its connection can be reused.

    Lines end with a line feed only. `aiter_lines` would also end them at characters such as U+2028,
    which an answer may contain.
    """
    rest = b""
    async for chunk in response.aiter_bytes():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            name, _, data = line.partition(b":")
            if name != b"data":
                continue  # an empty line, or a comment that keeps the connection alive
            if data.strip() != b"[DONE]":
                yield json.loads(data)


def cached_prompt_tokens(usage: Mapping[str, Any] | None) -> int:
    """Number of prompt tokens that the server had cached; 0 if it does not report it."""
    details = (usage or {}).get("prompt_tokens_details") or {}
    return int(details.get("cached_tokens") or 0)


def parse_delta(choice: Mapping[str, Any], logprobs: int | None) -> Delta:
    """The part of an answer that one event adds.

    Args:
        choice: the choice in the event.
        logprobs: number of alternatives that were requested; None for no logprobs.

    Raises:
        ModelError: the server gave up.
        KeyError, TypeError, ValueError: the choice is not one that a server of this kind sends.
    """
    ids = tuple(int(token) for token in choice["token_ids"])
    finish_reason = choice.get("finish_reason")
    if finish_reason and finish_reason not in _FINISH_REASONS:
        raise ModelError(f"it ended with {finish_reason}")
    reason: FinishReason | Literal[""] = _FINISH_REASONS[finish_reason] if finish_reason else ""
    if logprobs is None or not ids:
        return Delta(choice["text"], ids, reason=reason)
    own = tuple(float(value) for value in choice["logprobs"]["token_logprobs"])
    if len(own) != len(ids):
        raise ValueError("not every token has its logprob")
    alternatives: tuple[tuple[TokenLogprob, ...], ...] = ((),) * len(ids)
    if logprobs:
        top = choice["logprobs"]["top_logprobs"]
        alternatives = tuple(_most_likely(values, logprobs) for values in top)
    return Delta(choice["text"], ids, own, alternatives, reason)


def _most_likely(logprobs: Mapping[str, float], count: int) -> tuple[TokenLogprob, ...]:
    """The `count` most likely tokens, most likely first.

    Args:
        logprobs: by token; the first is the generated token, even if it is not among the likeliest.
    """
    pairs = [
        TokenLogprob(int(token.removeprefix(_TOKEN_ID_PREFIX)), value)
        for token, value in logprobs.items()
    ]
    return tuple(sorted(pairs, key=lambda pair: -pair.logprob)[:count])
