"""What vLLM and SGLang are sent, and how their responses are read.

Both speak OpenAI's completions, with names of their own for what that API does not have. They are
those of vLLM 0.33 (vllm/entrypoints/openai/completion/protocol.py, vllm/lora/peft_helper.py) and
SGLang 0.5.23 (sglang/srt/entrypoints/openai/protocol.py, sglang/srt/lora/lora_manager.py).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from moli.records.errors import InputError, ModelError
from moli.records.generation import Delta, FinishReason, OutputConstraint, Request, TokenLogprob

Kind = Literal["vllm", "sglang"]

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM can be started with
_STOPS = 4  # that vLLM takes, unless VLLM_MAX_STOP_STRINGS says otherwise
_REASONS: dict[str, FinishReason] = {"stop": "stop", "length": "length"}
_ID = "token_id:"
_PATH = "It has to see the folder under the same path: mount {folder} there as well."
_SGLANG = "Start SGLang with --enable-lora --max-lora-rank {room} --lora-target-modules all."


@dataclass(frozen=True, slots=True)
class Server:
    """A kind of server.

    Attributes:
        name: as people know it.
        version: where it tells its version.
        load: where it takes an adapter.
        oldest: the first version that has every field of `known`.
        known: fields of a completion that older versions silently ignore.
        misread: settings of an adapter's configuration that this server silently ignores.
        lost: what it says if a completion names an adapter that it does not have.
        fixes: what to do about an adapter that was refused with certain words.
        fields: of a completion, what this server has words of its own for. Raises InputError for
            what it cannot do.
    """

    name: str
    version: str
    load: str
    oldest: str
    known: frozenset[str]
    misread: tuple[str, ...]
    lost: str
    fixes: tuple[tuple[str, str], ...]
    fields: Callable[[str, Request], dict[str, Any]]


def _vllm(base: str, request: Request) -> dict[str, Any]:
    """An adapter is a model of its own."""
    sampling = request.sampling
    if len(sampling.stop) > _STOPS:
        raise InputError(
            f"{len(sampling.stop)} stop strings, but vLLM accepts {_STOPS}", fix="Give fewer."
        )
    fields: dict[str, Any] = {"model": request.adapter or base, "top_k": sampling.top_k}
    if sampling.logprobs is not None:
        fields["return_tokens_as_token_ids"] = True
    if form := sampling.constraint:
        ways = {"json": form.schema, "regex": form.regex, "grammar": form.lark}
        fields["structured_outputs"] = {way: text for way, text in ways.items() if text}
    return fields


def _sglang(base: str, request: Request) -> dict[str, Any]:
    """An adapter is named beside the model."""
    sampling = request.sampling
    if sampling.logprobs:
        raise InputError(
            "SGLang identifies other tokens by their text, which several may share",
            fix="Ask for logprobs without alternatives, or serve with vLLM.",
        )
    form = sampling.constraint or OutputConstraint()
    if form.lark:
        raise InputError(
            "SGLang does not support Lark grammars, which tool calls have to follow",
            fix="Leave the choice of tools to the model, or serve with vLLM.",
        )
    told = {"lora_path": request.adapter, "json_schema": form.schema, "regex": form.regex}
    fields: dict[str, Any] = {name: text for name, text in told.items() if text}
    return fields | {"model": base, "top_k": sampling.top_k or -1}


SERVERS: dict[Kind, Server] = {
    "vllm": Server(
        name="vLLM",
        version="/version",
        load="/v1/load_lora_adapter",
        oldest="0.11",
        known=frozenset({"return_token_ids", "structured_outputs", "cache_salt"}),
        misread=(),  # it refuses what it cannot do
        lost="does not exist",
        fixes=(
            ("max_lora_rank", "Start vLLM with --max-lora-rank {room}."),
            ("--enable-lora", "Start vLLM with --enable-lora --max-lora-rank {room}."),
            ("No adapter found", _PATH),
            ("Not Found", "Start vLLM with VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 and --enable-lora."),
        ),
        fields=_vllm,
    ),
    "sglang": Server(
        name="SGLang",
        version="/server_info",
        load="/load_lora_adapter",
        oldest="0.5.23",
        known=frozenset({"return_token_ids", "json_schema", "regex", "lora_path", "cache_salt"}),
        # sglang/srt/lora/lora.py: the scale is lora_alpha / r, whatever else is said.
        misread=("use_rslora", "alpha_pattern", "rank_pattern"),
        lost="LoRA adapters are not loaded",
        fixes=(
            ("--max-lora-rank", _SGLANG),
            ("--enable-lora", _SGLANG),
            ("Repo id", _PATH),  # what is no folder there, it takes for a name on the hub
        ),
        fields=_sglang,
    ),
}


def body(server: Server, base: str, request: Request, room: int, salt: str) -> dict[str, Any]:
    """The body of a completion request.

    Args:
        room: tokens that fit after the prompt.
        salt: cached prompts are shared only with requests of the same salt; "" for none.

    Raises:
        InputError: the server cannot do what is asked.
    """
    sampling = request.sampling
    asked = {
        "prompt": [int(each) for each in request.ids],
        "max_tokens": min(sampling.max_tokens, room),
        # All are sent: what is left out is taken from the model's own generation_config.json.
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "stop": [each for each in sampling.stop if each],
        "ignore_eos": sampling.ignore_eos,
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_token_ids": True,
    }
    besides = {"seed": sampling.seed, "logprobs": sampling.logprobs, "cache_salt": salt or None}
    asked |= {name: value for name, value in besides.items() if value is not None}
    return asked | server.fields(base, request)


def fix_of(server: Server, said: str, config: Mapping[str, Any], folder: str) -> str:
    """What to do about an adapter that was refused."""
    rank = max([config.get("r", 0), *(config.get("rank_pattern") or {}).values()])
    room = next((each for each in RANKS if each >= rank), rank)
    found = (fix for part, fix in server.fixes if part in said)
    return next(found, "See the server's log.").format(room=room, folder=folder)


def error_in(response: httpx.Response) -> dict[str, Any]:
    """A refusal, in any of the shapes that these servers have for it; its "message" is there."""
    try:
        answer = response.json()
    except ValueError:
        answer = response.text[:200]
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    if not isinstance(error, dict):
        return {"message": str(error)}
    words = (error.get(each) for each in ("message", "error_message", "detail"))
    return error | {"message": str(next(filter(None, words), ""))[:500]}


def kind_of(error: Any) -> str:
    """Of an error, what can be logged: its message may have some of the conversation in it."""
    told = (error.get(each) for each in ("type", "param")) if isinstance(error, dict) else ()
    return " ".join(map(str, filter(None, told))) or "no reason"


async def events(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The events of a stream, to its very end, after which the connection can be used again.

    Lines end with a line feed and nothing else: `aiter_lines` would also break them at such
    characters as U+2028, which may stand in an answer.
    """
    rest = b""
    async for piece in response.aiter_bytes():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            name, _, data = line.partition(b":")
            if name != b"data":
                continue  # an empty line, or a comment that keeps the connection alive
            if data.strip() != b"[DONE]":
                yield json.loads(data)


def cached_of(usage: Mapping[str, Any] | None) -> int:
    """Tokens of the prompt that had been read before, where the server tells."""
    details = (usage or {}).get("prompt_tokens_details") or {}
    return int(details.get("cached_tokens") or 0)


def delta_of(choice: Mapping[str, Any], logprobs: int | None) -> Delta:
    """What one event adds to an answer.

    Args:
        logprobs: how many alternatives were asked for.

    Raises:
        ModelError: the server gave up.
        KeyError, TypeError, ValueError: it is not what a server of this kind sends.
    """
    ids = tuple(int(each) for each in choice["token_ids"])
    told = choice.get("finish_reason")
    if told and told not in _REASONS:
        raise ModelError(f"it ended with {told}")
    reason: FinishReason | Literal[""] = _REASONS[told] if told else ""
    if logprobs is None or not ids:
        return Delta(choice["text"], ids, reason=reason)
    own = tuple(float(each) for each in choice["logprobs"]["token_logprobs"])
    if len(own) != len(ids):
        raise ValueError("not every token has its logprob")
    others: tuple[tuple[TokenLogprob, ...], ...] = ((),) * len(ids)
    if logprobs:
        others = tuple(_likeliest(each, logprobs) for each in choice["logprobs"]["top_logprobs"])
    return Delta(choice["text"], ids, own, others, reason)


def _likeliest(told: Mapping[str, float], count: int) -> tuple[TokenLogprob, ...]:
    """The token itself comes first, also where it is not among the likeliest."""
    pairs = [TokenLogprob(int(name.removeprefix(_ID)), value) for name, value in told.items()]
    return tuple(sorted(pairs, key=lambda each: -each.logprob)[:count])
