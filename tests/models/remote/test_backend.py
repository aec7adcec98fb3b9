"""What vLLM and SGLang are asked, what they refuse, and how they fail. See also the conformance
suite of backends, which holds their answers to be those of transformers."""

from __future__ import annotations

import json
import logging
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from models.engine.small import adapt
from models.vllm_stand_in import SGLangStandIn, StandIn, Started
from pydantic import BaseModel

from moli.models.engine.engine import Engine
from moli.models.engine.transformers_runner import load_transformers_runner
from moli.models.engine.worker import EngineWorker
from moli.models.remote.admin import Facts, preflight
from moli.models.remote.backend import RemoteBackend
from moli.models.remote.wire import Kind
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
    """A copy that says something else of itself."""
    shutil.copytree(adapter, folder)
    told = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(told | config))
    return folder


class Place:
    """Makes stand-ins and backends to them; all are closed at the end."""

    def __init__(self, worker: EngineWorker, stack: ExitStack) -> None:
        self._worker, self._stack = worker, stack
        self._made: list[StandIn] = []

    def server(self, make: type[StandIn] = StandIn, **started: Any) -> StandIn:
        server = make(self._worker, load_tokenizer(BASE), "starter", Started(**started))
        self._made.append(server)
        return server

    def url(self, server: StandIn, port: int = 0) -> str:
        return self._stack.enter_context(server.served(port))

    def backend(self, url: str, **options: Any) -> RemoteBackend:
        backend = RemoteBackend(url, "starter", **options)
        self._stack.callback(backend.close)
        return backend

    def wrong(self) -> list[str]:
        return [each for server in self._made for each in server.wrong]


@pytest.fixture
def place(worker: EngineWorker) -> Iterator[Place]:
    with ExitStack() as stack:
        made = Place(worker, stack)
        yield made
        assert made.wrong() == []


class Told(list[Delta]):
    """What is told of one request."""

    def until(self, done: Callable[[], bool], seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def end(self) -> str:
        self.until(lambda: bool(self and self[-1].reason))
        return str(self[-1].reason)


def ask(backend: RemoteBackend, request: Request) -> Told:
    told = Told()
    backend.submit(request, told.append)
    return told


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What Moli logs, which is nothing of any conversation and no traceback."""
    records = [each for each in caplog.records if each.name.startswith("moli")]
    assert all(each.exc_info is None for each in records)
    return [each.getMessage() for each in records]


def test_a_look_at_a_server_tells_what_it_has_and_changes_nothing(place: Place) -> None:
    server = place.server(places=99)
    url = place.url(server)
    wanted = Facts("0.33.0", "starter", 99, loads=True)
    for address in (url, f"{url}/", f"{url}/v1", f"{url}/v1/"):
        assert preflight(address, "starter") == wanted
    assert preflight(url, "org/starter") == wanted  # by the path that it was started with
    assert server.loaded == []
    closed = place.url(place.server(updating=False))
    assert preflight(closed, "starter").loads is False
    silent = place.url(place.server(described=False))
    assert preflight(silent, "starter").loads is None
    other = place.url(place.server(SGLangStandIn))
    assert preflight(other, "starter", kind="sglang") == Facts("0.5.23", "starter", 256, loads=True)


class OldCompletion(BaseModel):
    """As it was before vLLM 0.11; what it did not know it ignored."""

    prompt: list[int]


class OldStandIn(StandIn):
    body = OldCompletion  # type: ignore[assignment]


def test_a_server_that_will_not_do_is_refused_with_the_fix(place: Place) -> None:
    def refused(match: str, url: str, base: str = "starter", **options: Any) -> None:
        with pytest.raises(ModelError, match=match) as caught:
            RemoteBackend(url, base, **options)
        assert url in str(caught.value)

    url = place.url(place.server())
    refused("it serves starter, not org/other. Start vLLM with org/other", url, "org/other")
    locked = place.url(place.server(key="sesame"))
    refused("expects a different key. Use the one", locked)
    refused("expects a different key. Use the one", locked, key="wrong")
    refused("the key cannot be used. Correct the key", locked, key="clé\u2028")
    assert preflight(locked, "starter", key="sesame").places == 256

    old = place.url(place.server(OldStandIn))
    missing = "cache_salt, return_token_ids, structured_outputs"
    refused(f"does not support {missing}. Install vLLM 0.11 or newer", old)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
        refused("vLLM cannot be reached .* Is it running?", nobody)
    elsewhere = place.url(place.server(SGLangStandIn))
    refused("answered 404 to /version. Check that vLLM listens there", elsewhere)


@pytest.mark.parametrize(("kind", "make"), [("vllm", StandIn), ("sglang", SGLangStandIn)])
def test_an_adapter_is_pushed_once_under_the_name_of_its_content(
    place: Place, adapter: Path, kind: Kind, make: type[StandIn]
) -> None:
    server = place.server(make)
    url = place.url(server)
    one = place.backend(url, kind=kind)
    with pytest.raises(InputError, match="Add it first"):
        one.submit(Request(IDS, Sampling(), HASH), Told().append)
    for _ in range(2):
        one.add_adapter(HASH, adapter)
    place.backend(url, kind=kind).add_adapter(HASH, adapter)  # which the server has already
    assert server.loaded == [{"lora_name": HASH, "lora_path": str(adapter)}]
    assert ask(one, Request(IDS, Sampling(max_tokens=2, ignore_eos=True), HASH)).end() == "length"


@pytest.mark.parametrize(("kind", "make"), [("vllm", StandIn), ("sglang", SGLangStandIn)])
def test_a_server_that_was_started_anew_is_given_its_adapters_again(
    place: Place, adapter: Path, kind: Kind, make: type[StandIn]
) -> None:
    first, second = place.server(make), place.server(make)
    with first.served() as url:
        backend = place.backend(url, kind=kind)
        backend.add_adapter(HASH, adapter)
    sampling = Sampling(max_tokens=3, ignore_eos=True)
    assert ask(backend, Request(IDS, sampling)).end() == "failed"  # nobody listens
    place.url(second, int(url.rpartition(":")[2]))
    told = [ask(backend, Request(IDS, sampling, HASH)) for _ in range(5)]
    assert {each.end() for each in told} == {"length"}
    assert second.loaded == first.loaded


REFUSALS: list[tuple[type[StandIn], dict[str, Any], dict[str, Any], str]] = [
    (StandIn, {}, {"r": 40}, r"rank 40 is greater .* 16.\). Start vLLM with --max-lora-rank 64"),
    (StandIn, {"lora": False}, {}, "is not enabled.*Start vLLM with --enable-lora"),
    (StandIn, {"updating": False}, {}, "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 and --enable-lora"),
    (StandIn, {}, {"use_dora": True}, "does not yet support DoRA.*See the server's log"),
    (SGLangStandIn, {}, {"r": 40}, "rank 40 is incompatible.*SGLang with .*--max-lora-rank 64"),
    (SGLangStandIn, {"lora": False}, {}, "is not enabled.*Start SGLang with --enable-lora"),
    (SGLangStandIn, {}, {"use_rslora": True}, "ignores 'use_rslora'.*Merge it"),
]


@pytest.mark.parametrize(("make", "started", "config", "match"), REFUSALS)
def test_an_adapter_that_is_refused_is_told_with_the_fix(
    place: Place,
    adapter: Path,
    tmp_path: Path,
    make: type[StandIn],
    started: dict[str, Any],
    config: dict[str, Any],
    match: str,
) -> None:
    kind: Kind = "vllm" if make is StandIn else "sglang"
    backend = place.backend(place.url(place.server(make, **started)), kind=kind)
    folder = changed(adapter, tmp_path / "changed", **config)
    for _ in range(2):  # it is not taken for added
        with pytest.raises(ModelError, match=match):
            backend.add_adapter(HASH, folder)
    with pytest.raises(InputError, match="Add it first"):
        backend.submit(Request(IDS, Sampling(), HASH), Told().append)


@pytest.mark.parametrize(("kind", "make"), [("vllm", StandIn), ("sglang", SGLangStandIn)])
def test_a_folder_that_the_server_does_not_see_is_told(
    place: Place, tmp_path: Path, kind: Kind, make: type[StandIn]
) -> None:
    backend = place.backend(place.url(place.server(make)), kind=kind)
    with pytest.raises(ModelError, match=f"under the same path: mount {tmp_path}/gone there"):
        backend.add_adapter(HASH, tmp_path / "gone")


def test_cancelling_closes_the_connection_and_frees_the_row(
    place: Place, worker: EngineWorker
) -> None:
    server = place.server()
    backend = place.backend(place.url(server))
    told = Told()
    row = backend.submit(Request(IDS, LONG), told.append)
    told.until(lambda: bool(told))
    assert (backend.waiting_requests, backend.running_requests) == (0, 1)
    row.cancel()
    assert told.end() == "cancelled"
    told.until(lambda: server.left == 1)
    told.until(lambda: worker.running_requests == 0)
    assert len(told) < 200
    unbegun = Told()
    backend.submit(Request(IDS, LONG), unbegun.append).cancel()
    assert unbegun.end() == "cancelled"


BREAKS = {
    "dies": "RemoteProtocolError",
    "ends": "the stream ended early",
    "errs": "it stopped with InternalServerError",  # and a message that is not to be logged
    "aborts": "it ended with abort",
    "hangs": "ReadTimeout",
}


@pytest.mark.parametrize(("breaks", "why"), BREAKS.items())
def test_an_answer_that_breaks_off_has_failed(
    place: Place, caplog: pytest.LogCaptureFixture, breaks: Any, why: str
) -> None:
    server = place.server()
    url = place.url(server)
    backend = place.backend(url, timeout=0.3 if breaks == "hangs" else 20.0)
    server.breaks = breaks
    with caplog.at_level(logging.WARNING):
        told = ask(backend, Request(IDS, LONG))
        assert told.end() == "failed"
    assert len(told) > 1  # what came before is not taken back
    assert logged(caplog) == [f"vLLM at {url} did not answer: {why}"]
    server.breaks = ""
    assert ask(backend, Request(IDS, Sampling(max_tokens=2, ignore_eos=True))).end() == "length"


def test_what_the_server_refuses_has_failed(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    first, second = place.server(), place.server(places=40)
    with first.served() as url:
        backend = place.backend(url)
    place.url(second, int(url.rpartition(":")[2]))  # started anew, for less than before
    form = OutputConstraint(schema='{"type": "thing"}')
    with caplog.at_level(logging.WARNING):
        for asked in (
            Request(IDS * 20, Sampling(max_tokens=1)),
            Request([9000], Sampling(max_tokens=1)),
            Request(IDS, Sampling(max_tokens=1, constraint=form)),
        ):
            assert ask(backend, asked).end() == "failed"
    assert [each.partition("answer: ")[2] for each in logged(caplog)] == [
        "it responded with 400, BadRequestError input_tokens",
        "it stopped with BadRequestError",
        "it stopped with BadRequestError",
    ]


def test_a_server_that_is_gone_fails_what_is_asked(place: Place) -> None:
    server = place.server()
    with server.served() as url:
        backend = place.backend(url)
        told = ask(backend, Request(IDS, LONG))
        told.until(lambda: bool(told))
    assert told.end() == "failed"
    assert ask(backend, Request(IDS, LONG)).end() == "failed"
    assert (backend.waiting_requests, backend.running_requests) == (0, 0)
    with pytest.raises(ModelError, match="cannot be reached"):
        backend.add_adapter(HASH, Path("/nowhere"))


def test_what_a_kind_of_server_cannot_do_is_refused_beforehand(place: Place) -> None:
    def refused(match: str, kind: Kind, sampling: Sampling) -> None:
        make = StandIn if kind == "vllm" else SGLangStandIn
        backend = place.backend(place.url(place.server(make)), kind=kind)
        with pytest.raises(InputError, match=match):
            backend.submit(Request(IDS, sampling), Told().append)

    refused("5 stop strings, but vLLM accepts 4. Give fewer", "vllm", Sampling(stop=tuple("abcde")))
    refused("Ask for logprobs without alternatives", "sglang", Sampling(logprobs=2))
    refused(
        "Leave the choice of tools",
        "sglang",
        Sampling(constraint=OutputConstraint(lark='start: "a"')),
    )


def test_a_grammar_is_followed(place: Place) -> None:
    backend = place.backend(place.url(place.server()))
    told = ask(
        backend,
        Request(IDS, Sampling(constraint=OutputConstraint(lark='start: "left" | "right"'))),
    )
    assert told.end() == "stop"
    assert "".join(each.text for each in told) in ("left", "right")


def test_a_server_that_does_not_tell_what_it_had_read_is_believed_to_have_read_nothing(
    place: Place,
) -> None:
    backend = place.backend(place.url(place.server(details=False)))
    for _ in range(2):
        told = Told()
        row = backend.submit(Request(IDS * 20, Sampling(max_tokens=1)), told.append)
        told.end()
        assert (row.cached_tokens, row.prompt_tokens) == (0, 60)
