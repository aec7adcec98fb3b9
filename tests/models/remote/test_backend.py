"""Requests to vLLM and SGLang, what they refuse, and how they fail. See also the conformance suite
of backends, which compares their answers with those of transformers."""

from __future__ import annotations

import json
import logging
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from models.engine.small import adapt
from models.vllm_stand_in import ServerOptions, SGLangStandIn, StandIn
from pydantic import BaseModel

from moli.models.engine.engine import Engine
from moli.models.engine.transformers_runner import load_transformers_runner
from moli.models.engine.worker import EngineWorker
from moli.models.remote.admin import ServerAdmin, ServerInfo
from moli.models.remote.backend import RemoteBackend
from moli.models.remote.servers import ServerKind
from moli.models.tokenizers import load_tokenizer
from moli.models.weights.loading import folder_of
from moli.records.errors import InputError, ModelError
from moli.records.generation import Delta, OutputConstraint, Request, Sampling

BASE = "builtin:starter"
HASH = "3f9c" * 16
LONG = Sampling(max_tokens=200, ignore_eos=True)
IDS = [476, 1238, 310]


@pytest.fixture(scope="module")
def worker() -> Iterator[EngineWorker]:
    runner = load_transformers_runner(BASE, adapter_slots=4, precision="fp32")
    made = EngineWorker(Engine(runner, load_tokenizer(BASE), max_model_len=256))
    yield made
    made.close()


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return adapt(folder_of(BASE), tmp_path_factory.mktemp("adapter"), seed=1)


def changed(adapter: Path, folder: Path, **config: Any) -> Path:
    """A copy of an adapter with changes of its configuration."""
    shutil.copytree(adapter, folder)
    config_on_disk = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config_on_disk | config))
    return folder


class Servers:
    """Makes stand-ins and backends to them; all are closed at the end."""

    def __init__(self, worker: EngineWorker, stack: ExitStack) -> None:
        self._worker, self._stack = worker, stack
        self._made: list[StandIn] = []

    def server(self, make: type[StandIn] = StandIn, **options: Any) -> StandIn:
        server = make(self._worker, load_tokenizer(BASE), "starter", ServerOptions(**options))
        self._made.append(server)
        return server

    def url(self, server: StandIn, port: int = 0) -> str:
        return self._stack.enter_context(server.served(port))

    def backend(self, url: str, **options: Any) -> RemoteBackend:
        backend = RemoteBackend(url, "starter", **options)
        self._stack.callback(backend.close)
        return backend

    def mistakes(self) -> list[str]:
        return [each for server in self._made for each in server.mistakes]


@pytest.fixture
def servers(worker: EngineWorker) -> Iterator[Servers]:
    with ExitStack() as stack:
        made = Servers(worker, stack)
        yield made
        assert made.mistakes() == []


class Deltas(list[Delta]):
    """The deltas of one request."""

    def until(self, done: Callable[[], bool], seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def end(self) -> str:
        self.until(lambda: bool(self and self[-1].reason))
        return str(self[-1].reason)


def ask(backend: RemoteBackend, request: Request) -> Deltas:
    deltas = Deltas()
    backend.submit(request, deltas.append)
    return deltas


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The messages that Moli logged, none of which has a traceback."""
    records = [each for each in caplog.records if each.name.startswith("moli")]
    assert all(each.exc_info is None for each in records)
    return [each.getMessage() for each in records]


def inspect(url: str, base: str, *, kind: ServerKind = "vllm", key: str = "") -> ServerInfo:
    with closing(ServerAdmin(url, kind, key)) as admin:
        return admin.inspect(base)


@pytest.mark.slow
def test_a_look_at_a_server_tells_what_it_has_and_changes_nothing(servers: Servers) -> None:
    server = servers.server(max_model_len=99)
    url = servers.url(server)
    expected = ServerInfo("0.33.0", "starter", 99, loads_adapters=True)
    for address in (url, f"{url}/", f"{url}/v1", f"{url}/v1/"):
        assert inspect(address, "starter") == expected
    assert inspect(url, "org/starter") == expected  # by the path that it was started with
    assert server.load_requests == []
    closed = servers.url(servers.server(updating=False))
    assert inspect(closed, "starter").loads_adapters is False
    silent = servers.url(servers.server(docs=False))
    assert inspect(silent, "starter").loads_adapters is None
    other = servers.url(servers.server(SGLangStandIn))
    assert inspect(other, "starter", kind="sglang") == ServerInfo(
        "0.5.23", "starter", 256, loads_adapters=True
    )


class OldCompletion(BaseModel):
    """As it was before vLLM 0.11; what it did not know it ignored."""

    prompt: list[int]


class OldStandIn(StandIn):
    body = OldCompletion  # type: ignore[assignment]


@pytest.mark.slow
def test_a_server_that_will_not_do_is_refused_with_the_fix(servers: Servers) -> None:
    def refused(match: str, url: str, base: str = "starter", **options: Any) -> None:
        with pytest.raises(ModelError, match=match) as caught:
            RemoteBackend(url, base, **options)
        assert url in str(caught.value)

    url = servers.url(servers.server())
    refused("it serves starter, not org/other. Start vLLM with org/other", url, "org/other")
    locked = servers.url(servers.server(key="sesame"))
    refused("expects a different key. Use the one", locked)
    refused("expects a different key. Use the one", locked, key="wrong")
    refused("the key cannot be used. Correct the key", locked, key="clé\u2028")
    assert inspect(locked, "starter", key="sesame").max_model_len == 256

    old = servers.url(servers.server(OldStandIn))
    missing = "cache_salt, return_token_ids, structured_outputs"
    refused(f"does not support {missing}. Install vLLM 0.11 or newer", old)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
        refused("vLLM cannot be reached .* Is it running?", nobody)
    elsewhere = servers.url(servers.server(SGLangStandIn))
    refused("answered 404 to /version. Check that vLLM listens there", elsewhere)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "make"), [("vllm", StandIn), ("sglang", SGLangStandIn)])
def test_an_adapter_is_pushed_once_under_the_name_of_its_content(
    servers: Servers, adapter: Path, kind: ServerKind, make: type[StandIn]
) -> None:
    server = servers.server(make)
    url = servers.url(server)
    one = servers.backend(url, kind=kind)
    with pytest.raises(InputError, match="Add it first"):
        one.submit(Request(IDS, Sampling(), HASH), Deltas().append)
    for _ in range(2):
        one.add_adapter(HASH, adapter)
    servers.backend(url, kind=kind).add_adapter(HASH, adapter)  # which the server has already
    assert server.load_requests == [{"lora_name": HASH, "lora_path": str(adapter)}]
    assert ask(one, Request(IDS, Sampling(max_tokens=2, ignore_eos=True), HASH)).end() == "length"


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "make"), [("vllm", StandIn), ("sglang", SGLangStandIn)])
def test_a_server_that_was_started_anew_is_given_its_adapters_again(
    servers: Servers, adapter: Path, kind: ServerKind, make: type[StandIn]
) -> None:
    first, second = servers.server(make), servers.server(make)
    with first.served() as url:
        backend = servers.backend(url, kind=kind)
        backend.add_adapter(HASH, adapter)
    sampling = Sampling(max_tokens=3, ignore_eos=True)
    assert ask(backend, Request(IDS, sampling)).end() == "failed"  # nobody listens
    servers.url(second, int(url.rpartition(":")[2]))
    deltas = [ask(backend, Request(IDS, sampling, HASH)) for _ in range(5)]
    assert {each.end() for each in deltas} == {"length"}
    assert second.load_requests == first.load_requests


REFUSALS: list[tuple[type[StandIn], dict[str, Any], dict[str, Any], str]] = [
    (StandIn, {}, {"r": 40}, r"rank 40 is greater .* 16.\). Start vLLM with --max-lora-rank 64"),
    (StandIn, {"lora": False}, {}, "is not enabled.*Start vLLM with --enable-lora"),
    (StandIn, {"updating": False}, {}, "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 and --enable-lora"),
    (StandIn, {}, {"use_dora": True}, "does not yet support DoRA.*See the server's log"),
    (SGLangStandIn, {}, {"r": 40}, "rank 40 is incompatible.*SGLang with .*--max-lora-rank 64"),
    (SGLangStandIn, {"lora": False}, {}, "is not enabled.*Start SGLang with --enable-lora"),
    (SGLangStandIn, {}, {"use_rslora": True}, "ignores 'use_rslora'.*Merge it"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("make", "options", "config", "match"), REFUSALS)
def test_an_adapter_that_is_refused_is_told_with_the_fix(
    servers: Servers,
    adapter: Path,
    tmp_path: Path,
    make: type[StandIn],
    options: dict[str, Any],
    config: dict[str, Any],
    match: str,
) -> None:
    kind: ServerKind = "vllm" if make is StandIn else "sglang"
    backend = servers.backend(servers.url(servers.server(make, **options)), kind=kind)
    folder = changed(adapter, tmp_path / "changed", **config)
    for _ in range(2):  # it is not taken for added
        with pytest.raises(ModelError, match=match):
            backend.add_adapter(HASH, folder)
    with pytest.raises(InputError, match="Add it first"):
        backend.submit(Request(IDS, Sampling(), HASH), Deltas().append)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "make"), [("vllm", StandIn), ("sglang", SGLangStandIn)])
def test_a_folder_that_the_server_does_not_see_is_told(
    servers: Servers, tmp_path: Path, kind: ServerKind, make: type[StandIn]
) -> None:
    backend = servers.backend(servers.url(servers.server(make)), kind=kind)
    with pytest.raises(ModelError, match=f"under the same path: mount {tmp_path}/gone there"):
        backend.add_adapter(HASH, tmp_path / "gone")


def test_cancelling_closes_the_connection_and_frees_the_row(
    servers: Servers, worker: EngineWorker
) -> None:
    server = servers.server()
    backend = servers.backend(servers.url(server))
    deltas = Deltas()
    running = backend.submit(Request(IDS, LONG), deltas.append)
    deltas.until(lambda: bool(deltas))
    assert (backend.waiting_requests, backend.running_requests) == (0, 1)
    running.cancel()
    assert deltas.end() == "cancelled"
    deltas.until(lambda: server.disconnected == 1)
    deltas.until(lambda: worker.running_requests == 0)
    assert len(deltas) < 200
    unbegun = Deltas()
    backend.submit(Request(IDS, LONG), unbegun.append).cancel()
    assert unbegun.end() == "cancelled"


FAILURES = {
    "dies": "RemoteProtocolError",
    "ends": "the stream ended early",
    "errs": "it stopped with InternalServerError",  # and a message that is not to be logged
    "aborts": "it ended with abort",
    "hangs": "ReadTimeout",
}


@pytest.mark.slow
@pytest.mark.parametrize(("failure", "why"), FAILURES.items())
def test_an_answer_that_breaks_off_has_failed(
    servers: Servers, caplog: pytest.LogCaptureFixture, failure: Any, why: str
) -> None:
    server = servers.server()
    url = servers.url(server)
    backend = servers.backend(url, timeout=0.3 if failure == "hangs" else 20.0)
    server.failure = failure
    with caplog.at_level(logging.WARNING):
        deltas = ask(backend, Request(IDS, LONG))
        assert deltas.end() == "failed"
    assert len(deltas) > 1  # what came before is not taken back
    assert logged(caplog) == [f"vLLM at {url} did not answer: {why}"]
    server.failure = ""
    assert ask(backend, Request(IDS, Sampling(max_tokens=2, ignore_eos=True))).end() == "length"


@pytest.mark.slow
def test_what_the_server_refuses_has_no_answer(
    servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = servers.server(), servers.server(max_model_len=40)
    with first.served() as url:
        backend = servers.backend(url)
    servers.url(second, int(url.rpartition(":")[2]))  # started anew, for less than before
    form = OutputConstraint(schema='{"type": "thing"}')
    with caplog.at_level(logging.WARNING):
        ends = [
            ask(backend, request).end()
            for request in (
                Request(IDS * 20, Sampling(max_tokens=1)),
                Request([9000], Sampling(max_tokens=1)),
                Request(IDS, Sampling(max_tokens=1, constraint=form)),
            )
        ]
    assert ends == ["refused", "failed", "failed"]
    assert [each.partition("answer: ")[2] for each in logged(caplog)] == [
        "it responded with 400, BadRequestError input_tokens",
        "it stopped with BadRequestError",
        "it stopped with BadRequestError",
    ]


def test_a_server_that_is_gone_fails_what_is_asked(servers: Servers) -> None:
    server = servers.server()
    with server.served() as url:
        backend = servers.backend(url)
        deltas = ask(backend, Request(IDS, LONG))
        deltas.until(lambda: bool(deltas))
    assert deltas.end() == "failed"
    assert ask(backend, Request(IDS, LONG)).end() == "failed"
    assert (backend.waiting_requests, backend.running_requests) == (0, 0)
    with pytest.raises(ModelError, match="cannot be reached"):
        backend.add_adapter(HASH, Path("/nowhere"))


@pytest.mark.slow
def test_what_a_kind_of_server_cannot_do_is_refused_beforehand(servers: Servers) -> None:
    def refused(match: str, kind: ServerKind, sampling: Sampling) -> None:
        make = StandIn if kind == "vllm" else SGLangStandIn
        backend = servers.backend(servers.url(servers.server(make)), kind=kind)
        with pytest.raises(InputError, match=match):
            backend.submit(Request(IDS, sampling), Deltas().append)

    refused("5 stop strings, but vLLM accepts 4. Give fewer", "vllm", Sampling(stop=tuple("abcde")))
    refused("Ask for logprobs without alternatives", "sglang", Sampling(logprobs=2))
    refused(
        "Leave the choice of tools",
        "sglang",
        Sampling(constraint=OutputConstraint(lark='start: "a"')),
    )


def test_a_grammar_is_followed(servers: Servers) -> None:
    backend = servers.backend(servers.url(servers.server()))
    deltas = ask(
        backend,
        Request(IDS, Sampling(constraint=OutputConstraint(lark='start: "left" | "right"'))),
    )
    assert deltas.end() == "stop"
    assert "".join(each.text for each in deltas) in ("left", "right")


@pytest.mark.slow
def test_a_server_that_does_not_tell_what_it_had_read_is_believed_to_have_read_nothing(
    servers: Servers,
) -> None:
    backend = servers.backend(servers.url(servers.server(details=False)))
    for _ in range(2):
        deltas = Deltas()
        running = backend.submit(Request(IDS * 20, Sampling(max_tokens=1)), deltas.append)
        deltas.end()
        assert (running.cached_tokens, running.prompt_tokens) == (0, 60)
