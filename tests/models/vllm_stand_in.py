"""A vLLM server to test against: its HTTP API, with real answers by the engine of this process.

Paths, fields, statuses and messages are those of vLLM 0.33 (vllm/entrypoints/openai, .../serve). It
is stricter in one thing: what vLLM silently ignores, such as a field that it does not know, is
recorded in `mistakes`. `SGLangStandIn` is the same for SGLang 0.5.23, as far as that differs.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException as StarletteHTTPException

from moli.models.engine.worker import EngineWorker
from moli.records.errors import InputError
from moli.records.generation import Delta, OutputConstraint, Sampling
from moli.records.generation import Request as EngineRequest

_DONE = "data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """The options that the server was started with.

    Attributes:
        lora: --enable-lora.
        updating: VLLM_ALLOW_RUNTIME_LORA_UPDATING.
        rank: --max-lora-rank.
        max_model_len: --max-model-len.
        interval: --stream-interval, tokens in one event.
        details: --enable-prompt-tokens-details.
        key: --api-key.
        docs: false for --disable-fastapi-docs.
    """

    lora: bool = True
    updating: bool = True
    rank: int = 16
    max_model_len: int = 256
    interval: int = 1
    details: bool = True
    key: str = ""
    docs: bool = True


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class StreamOptions(_Body):
    include_usage: bool


class StructuredOutputs(_Body):
    json_: str | None = Field(None, alias="json", min_length=1)
    regex: str | None = None
    grammar: Annotated[str, Field(min_length=1)] | None = None


class CompletionBody(_Body):
    """The fields that both servers share. Those without a default must always be sent."""

    model: str
    prompt: list[Annotated[int, Field(ge=0)]]
    max_tokens: Annotated[int, Field(ge=1)]
    temperature: Annotated[float, Field(ge=0, le=2)]
    top_p: Annotated[float, Field(gt=0, le=1)]
    min_p: Annotated[float, Field(ge=0, le=1)]
    repetition_penalty: Annotated[float, Field(gt=0)]
    presence_penalty: Annotated[float, Field(ge=-2, le=2)]
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)]
    seed: Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)] | None = None
    stop: Annotated[list[Annotated[str, Field(min_length=1)]], Field(max_length=4)]
    ignore_eos: bool
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    stream: Literal[True]
    stream_options: StreamOptions
    return_token_ids: Literal[True]
    cache_salt: Annotated[str, Field(pattern=r"^[^@/\\\x00]{1,128}$")] | None = None

    def sampling(self, top_k: int, constraint: OutputConstraint | None) -> Sampling:
        """The sampling for the engine."""
        names = (
            "max_tokens", "temperature", "top_p", "min_p", "repetition_penalty",
            "presence_penalty", "frequency_penalty", "seed", "logprobs",
        )  # fmt: skip
        same = {name: getattr(self, name) for name in names}
        stop = tuple(self.stop)
        return Sampling(
            **same, stop=stop, top_k=top_k, ignore_eos=self.ignore_eos, constraint=constraint
        )


class VLLMCompletionBody(CompletionBody):
    top_k: Annotated[int, Field(ge=-1)]
    return_tokens_as_token_ids: bool | None = None
    structured_outputs: StructuredOutputs | None = None

    def engine_request(self, base: str) -> EngineRequest:
        outputs, constraint = self.structured_outputs, None
        if outputs:
            assert len(outputs.model_fields_set) == 1, "only one kind of constraint"
            constraint = OutputConstraint(
                schema=outputs.json_ or "", regex=outputs.regex or "", lark=outputs.grammar or ""
            )
        adapter = "" if self.model == base else self.model
        sampling = self.sampling(max(self.top_k, 0), constraint)
        return EngineRequest(self.prompt, sampling, adapter, self.cache_salt)

    def token_text(self, token: int, decode: Any) -> str:
        return f"token_id:{token}" if self.return_tokens_as_token_ids else decode([token])


class LoadAdapterBody(_Body):
    lora_name: str
    lora_path: str


class StandIn:
    """A server on a port of its own, while it is entered.

    Args:
        name: name of the base model.
        tokenizer: tokenizer of the base model.

    Attributes:
        mistakes: descriptions of what no client should send.
        load_requests: bodies of all requests to load an adapter.
        adapters: folders of the loaded adapters, by name.
        disconnected: number of answers whose client left before their end.
        failure: how answers break off after two events.
    """

    body: type[CompletionBody] = VLLMCompletionBody
    version = "/version"
    load = "/v1/load_lora_adapter"

    def __init__(
        self, worker: EngineWorker, tokenizer: Any, name: str, options: ServerOptions
    ) -> None:
        self.worker, self.name, self.options = worker, name, options
        self._tokenizer = tokenizer
        self.mistakes: list[str] = []
        self.load_requests: list[dict[str, str]] = []
        self.adapters: dict[str, str] = {}
        self.disconnected = 0
        self.failure: Literal["", "dies", "ends", "errs", "aborts", "hangs"] = ""
        self.app = self._app()

    @contextmanager
    def served(self, port: int = 0) -> Iterator[str]:
        """Listen on a port, and yield the address."""
        config = uvicorn.Config(self.app, port=port, log_level="critical")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        finally:
            server.should_exit = server.force_exit = True
            thread.join()

    # HTTP API

    def _app(self) -> FastAPI:
        described = "/openapi.json" if self.options.docs else None
        app = FastAPI(openapi_url=described, dependencies=[Depends(self._check_key)])
        app.add_exception_handler(RequestValidationError, self._refuse_body)
        app.add_exception_handler(StarletteHTTPException, self._refuse_http)
        body = self.body

        async def complete(request: body, http: Request) -> Any:  # type: ignore[valid-type]
            return await self._complete(request, http)

        # Set by hand: the annotations of this module are strings, where `body` is no global name.
        complete.__annotations__ = {"request": body, "http": Request, "return": Any}
        app.get("/v1/models")(self._models)
        app.get(self.version)(self._version)
        app.post("/v1/completions")(complete)
        if self.options.updating:
            app.post(self.load)(self._load)
        return app

    async def _check_key(self, http: Request) -> None:
        header, key = http.headers.get("authorization"), self.options.key
        if key and http.url.path.startswith("/v1") and header != f"Bearer {key}":
            raise HTTPException(401)

    async def _refuse_body(self, _http: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        self.mistakes += [f"{each['loc']}: {each['msg']}" for each in error.errors()]
        return self.error_response(400, "Bad Request", f"{len(error.errors())} validation errors")

    async def _refuse_http(self, _http: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, StarletteHTTPException)
        if error.status_code == 401:
            return JSONResponse({"error": "Unauthorized"}, 401)
        return self.error_response(error.status_code, error.detail, error.detail)

    async def _version(self) -> dict[str, str]:
        return {"version": "0.33.0"}

    async def _models(self) -> dict[str, Any]:
        base = {"id": self.name, "root": "org/starter", "parent": None}
        cards: list[dict[str, Any]] = [base | {"max_model_len": self.options.max_model_len}]
        for name, path in self.adapters.items():
            cards.append({"id": name, "root": path, "parent": self.name, "max_model_len": None})
        common = {"object": "model", "created": int(time.time()), "owned_by": "vllm"}
        return {"object": "list", "data": [each | common for each in cards]}

    async def _load(self, body: LoadAdapterBody) -> Any:
        self.load_requests.append(body.model_dump())
        name, folder = body.lora_name, Path(body.lora_path)
        if not folder.is_absolute():
            self.mistakes.append(f"{folder} would be taken for a name on the hub")
        if name in self.adapters:
            return self.error_response(
                400, "InvalidUserInput",
                f"The lora adapter '{name}' has already been loaded. If you want to load the "
                "adapter in place, set 'load_inplace' to True.",
            )  # fmt: skip
        failed = "Call to add_lora method failed: "
        if not self.options.lora:
            message = "LoRA is not enabled. Use --enable-lora to enable LoRA."
            return self.error_response(500, "InternalServerError", failed + message)
        if not (folder / "adapter_config.json").is_file():
            message = f"Loading lora {name} failed: No adapter found for {folder}"
            return self.error_response(404, "NotFoundError", message)
        if problem := self.adapter_problem(
            json.loads((folder / "adapter_config.json").read_text())
        ):
            return self.error_response(500, "InternalServerError", failed + problem)
        await self.add_adapter(name, folder)
        return PlainTextResponse(f"Success: LoRA adapter '{name}' added successfully.")

    def adapter_problem(self, config: dict[str, Any]) -> str:
        rank = max([config["r"], *(config.get("rank_pattern") or {}).values()])
        if rank > self.options.rank:
            return f"LoRA rank {rank} is greater than max_lora_rank {self.options.rank}."
        return "vLLM does not yet support DoRA." if config.get("use_dora") else ""

    async def add_adapter(self, name: str, folder: Path) -> None:
        await asyncio.to_thread(self.worker.add_adapter, name, folder)
        self.adapters[name] = str(folder)

    async def _complete(self, body: Any, http: Request) -> Any:
        request = body.engine_request(self.name)
        if request.adapter and request.adapter not in self.adapters:
            return self.refuse_model(request.adapter)
        max_model_len = self.options.max_model_len
        if body.max_tokens > max_model_len or len(request.ids) > max_model_len:
            return self.error_response(
                400, "BadRequestError",
                f"This model's maximum context length is {max_model_len} tokens. However, your "
                f"prompt contains {len(request.ids)} input tokens, which exceeds this limit even "
                "without any output tokens. Please reduce the length of the input prompt.",
                "input_tokens",
            )  # fmt: skip
        return StreamingResponse(self._events(body, request, http), media_type="text/event-stream")

    def refuse_model(self, name: str) -> JSONResponse:
        message = f"The model `{name}` does not exist. Valid aliases: {self.name}."
        return self.error_response(404, "NotFoundError", message, "model")

    def error_response(
        self, status: int, kind: str, message: str, param: str | None = None
    ) -> JSONResponse:
        # Folders are not revealed: "No adapter found for <path>".
        message = re.sub(r"(?:/[\w.-]+){2,}", "<path>", message)
        error = {"message": message, "type": kind, "param": param, "code": status}
        return JSONResponse({"error": error}, status)

    # Answers

    async def _events(self, body: Any, request: EngineRequest, http: Request) -> AsyncIterator[str]:
        head = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": body.model}
        loop, deltas = asyncio.get_running_loop(), asyncio.Queue[Delta]()

        def enqueue(delta: Delta) -> None:
            with suppress(RuntimeError):  # the server may be gone by now
                loop.call_soon_threadsafe(deltas.put_nowait, delta)

        try:
            if (most := max(request.ids)) >= len(self._tokenizer):
                raise InputError(f"Token id {most} is out of vocabulary")
            running = self.worker.submit(request, enqueue)
        except InputError as error:  # vLLM finds out too late for a status
            yield _event({"error": {"message": str(error), "type": "BadRequestError", "code": 400}})
            yield _DONE
            return
        written, number = 0, 0
        try:
            async for delta in self._join_deltas(deltas):
                if await http.is_disconnected():
                    return
                written += len(delta.ids)
                choice = self.choice(body, delta)
                choice["prompt_token_ids"] = None if number else list(request.ids)
                number += 1
                if number == 2 and self.failure:
                    yield await self._broken_event(http, head, choice)
                    return
                yield _event(head | {"choices": [choice]})
        finally:
            self.disconnected += running.reason is None
            running.cancel()
        usage: dict[str, Any] = {
            "prompt_tokens": running.prompt_tokens,
            "completion_tokens": written,
        }
        usage["total_tokens"] = running.prompt_tokens + written
        if self.options.details:
            usage["prompt_tokens_details"] = {"cached_tokens": running.cached_tokens}
        yield _event(head | {"choices": [], "usage": usage})
        yield _DONE

    async def _join_deltas(self, deltas: asyncio.Queue[Delta]) -> AsyncIterator[Delta]:
        """Join deltas: the first comes at once, then as many together as the options say."""
        waiting = [await deltas.get()]
        while True:
            yield _joined(waiting)
            if waiting[-1].reason:
                return
            waiting = [await deltas.get()]
            while len(waiting) < self.options.interval and not waiting[-1].reason:
                waiting.append(await deltas.get())

    async def _broken_event(
        self, http: Request, head: dict[str, Any], choice: dict[str, Any]
    ) -> str:
        """The last event of an answer that breaks off."""
        if self.failure == "dies":
            raise ConnectionError
        if self.failure == "hangs":
            while not await http.is_disconnected():
                await asyncio.sleep(0.01)
        if self.failure == "errs":
            error = {"message": choice["text"], "type": "InternalServerError", "code": 500}
            return _event({"error": error}) + _DONE
        if self.failure == "aborts":
            return _event(head | {"choices": [choice | {"finish_reason": "abort"}]}) + _DONE
        return _event(head | {"choices": [choice]})

    def choice(self, body: Any, delta: Delta) -> dict[str, Any]:
        reason = delta.reason if delta.reason in ("stop", "length") else None
        logprobs = None
        if body.logprobs is not None:
            logprobs = {
                "text_offset": [0 for _ in delta.ids],
                "token_logprobs": list(delta.logprobs),
                "tokens": [body.token_text(each, self._tokenizer.decode) for each in delta.ids],
                "top_logprobs": self._top_logprobs(body, delta),
            }
        fields = {"index": 0, "text": delta.text, "logprobs": logprobs, "finish_reason": reason}
        return fields | {"token_ids": list(delta.ids), "stop_reason": None}

    def _top_logprobs(self, body: Any, delta: Delta) -> list[dict[str, float]]:
        """The chosen token first, then the likeliest."""
        rows = zip(delta.ids, delta.logprobs, delta.alternatives, strict=True)
        pairs = [[(own, value), *((o.id, o.logprob) for o in top)] for own, value, top in rows]
        decode = self._tokenizer.decode
        return [{body.token_text(token, decode): value for token, value in row} for row in pairs]


class SGLangCompletionBody(CompletionBody):
    top_k: int
    json_schema: Annotated[str, Field(min_length=1)] | None = None
    regex: Annotated[str, Field(min_length=1)] | None = None
    lora_path: str | None = None

    def engine_request(self, base: str) -> EngineRequest:
        assert self.model == base
        assert self.top_k == -1 or self.top_k >= 1, "top_k must be -1 (disable) or at least 1"
        constraint = OutputConstraint(schema=self.json_schema or "", regex=self.regex or "")
        is_constrained = constraint != OutputConstraint()
        sampling = self.sampling(max(self.top_k, 0), constraint if is_constrained else None)
        return EngineRequest(self.prompt, sampling, self.lora_path or "", self.cache_salt)

    def token_text(self, token: int, decode: Any) -> str:
        return str(decode([token]))


class SGLangStandIn(StandIn):
    """The same for SGLang, where loading adapters needs --enable-lora and nothing else."""

    body = SGLangCompletionBody
    version = "/server_info"
    load = "/load_lora_adapter"

    async def _version(self) -> dict[str, str]:
        return {"version": "0.5.23"}

    async def _load(self, body: LoadAdapterBody) -> Any:
        self.load_requests.append(body.model_dump())
        name, folder = body.lora_name, Path(body.lora_path)
        problem = ""
        if not self.options.lora:
            problem = "LoRA is not enabled. Please set `--enable-lora` to enable LoRA."
        elif name in self.adapters:
            problem = f"Failed to load LoRA adapter {name} because it is already loaded"
        elif not folder.is_dir():
            problem = (
                f"Repo id must be in the form 'repo_name' or 'namespace/repo_name': '{folder}'"
            )
        else:
            problem = self.adapter_problem(json.loads((folder / "adapter_config.json").read_text()))
        if problem:
            return JSONResponse({"success": False, "error_message": problem}, 400)
        await self.add_adapter(name, folder)
        return {"success": True, "error_message": None, "loaded_adapters": self.adapters}

    def adapter_problem(self, config: dict[str, Any]) -> str:
        if config["r"] <= self.options.rank:
            return ""
        return (
            f"LoRA adapter with rank {config['r']} is incompatible with the current LoRA memory "
            "pool configuration. Please ensure that the LoRA adapter's rank is within the "
            "configured `--max-lora-rank` and that the target modules are included in "
            "`--lora-target-modules`."
        )

    def refuse_model(self, name: str) -> JSONResponse:
        message = f"The following requested LoRA adapters are not loaded: {name}\n"
        return self.error_response(400, "BadRequestError", message)

    def error_response(
        self, status: int, kind: str, message: str, param: str | None = None
    ) -> JSONResponse:
        error = {
            "object": "error",
            "message": message,
            "type": kind,
            "param": param,
            "code": status,
        }
        return JSONResponse(error, status)


def _joined(deltas: list[Delta]) -> Delta:
    return Delta(
        "".join(each.text for each in deltas),
        tuple(token for each in deltas for token in each.ids),
        tuple(value for each in deltas for value in each.logprobs),
        tuple(others for each in deltas for others in each.alternatives),
        deltas[-1].reason,
    )


def _event(value: Any) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"
