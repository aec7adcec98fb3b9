"""What every writer of answers has to do: the engine of this process, vLLM and SGLang.

The truth is what transformers and PEFT write by themselves. The servers are stand-ins, see
`models.vllm_stand_in`; each test also holds that they were asked nothing wrong.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from models.engine.small import adapt
from models.vllm_stand_in import ServerOptions, SGLangStandIn, StandIn

from moli.models.engine.engine import Engine
from moli.models.engine.transformers_runner import load_transformers_runner
from moli.models.engine.worker import EngineWorker
from moli.models.protocols.backend import Backend, RunningRequest
from moli.models.remote.backend import RemoteBackend
from moli.models.tokenizers import load_tokenizer
from moli.models.weights.loading import folder_of
from moli.records.errors import InputError
from moli.records.generation import Delta, OutputConstraint, Request, Sampling

BASE = "builtin:starter"
MAX_MODEL_LEN = 256
TEXTS = ("The sea was", "Once there lived a", "A backup runs", "She said to the old", "In the")
LONG = Sampling(max_tokens=100, ignore_eos=True)


def worker() -> EngineWorker:
    runner = load_transformers_runner(BASE, adapter_slots=4, precision="fp32")
    return EngineWorker(Engine(runner, load_tokenizer(BASE), max_model_len=MAX_MODEL_LEN))


class Truth:
    """transformers, in 32 bits."""

    def __init__(self, adapter: Path) -> None:
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        def load() -> Any:
            return AutoModelForCausalLM.from_pretrained(folder_of(BASE), dtype=torch.float32).eval()

        self._models = {"": load(), "a": PeftModel.from_pretrained(load(), str(adapter)).eval()}
        self._known: dict[tuple[str, ...], tuple[int, ...]] = {}

    @torch.inference_mode()
    def greedy(self, ids: list[int], tokens: int, adapter: str = "") -> tuple[int, ...]:
        key = (adapter, *map(str, ids))
        if len(self._known.get(key, ())) < tokens:
            options: Any = {"max_new_tokens": tokens, "do_sample": False, "eos_token_id": None}
            whole = self._models[adapter].generate(input_ids=torch.tensor([ids]), **options)
            self._known[key] = tuple(whole[0, len(ids) :].tolist())
        return self._known[key][:tokens]

    @torch.inference_mode()
    def logprobs(self, ids: list[int], written: tuple[int, ...]) -> torch.Tensor:
        """Of every token at every place of an answer, [tokens, V]."""
        logits = self._models[""](input_ids=torch.tensor([[*ids, *written]])).logits[0]
        return logits[len(ids) - 1 : -1].log_softmax(-1)


@dataclass
class Case:
    """A backend of a kind."""

    kind: str
    backend: Backend


@dataclass
class Heard:
    """What is told of one request."""

    deltas: list[Delta] = field(default_factory=list)
    begun: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def __call__(self, delta: Delta) -> None:
        self.deltas.append(delta)
        self.begun.set()
        if delta.reason:
            self.ended.set()

    @property
    def text(self) -> str:
        return "".join(each.text for each in self.deltas)

    @property
    def ids(self) -> tuple[int, ...]:
        return tuple(token for each in self.deltas for token in each.ids)


def until(done: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def answered(backend: Backend, *requests: Request) -> list[tuple[Heard, RunningRequest]]:
    """All of these, asked at once."""
    told = [Heard() for _ in requests]
    rows = [backend.submit(each, heard) for each, heard in zip(requests, told, strict=True)]
    for heard in told:
        assert heard.ended.wait(30)
        assert all(not each.reason for each in heard.deltas[:-1])
    return list(zip(told, rows, strict=True))


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return adapt(folder_of(BASE), tmp_path_factory.mktemp("adapter"), seed=1)


@pytest.fixture(scope="module")
def truth(adapter: Path) -> Truth:
    return Truth(adapter)


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    return [load_tokenizer(BASE)(each)["input_ids"] for each in TEXTS]


@pytest.fixture(scope="module", params=["engine", "vllm", "vllm by threes", "sglang"])
def case(request: pytest.FixtureRequest, adapter: Path) -> Iterator[Case]:
    kind = request.param
    local = worker()
    with ExitStack() as stack:
        stack.callback(local.close)
        if kind == "engine":
            made = Case(kind, local)
        else:
            make = SGLangStandIn if kind == "sglang" else StandIn
            started = ServerOptions(
                max_model_len=MAX_MODEL_LEN, interval=3 if "threes" in kind else 1
            )
            server = make(local, load_tokenizer(BASE), "starter", started)
            url = stack.enter_context(server.served())
            remote = RemoteBackend(url, "starter", kind="sglang" if kind == "sglang" else "vllm")
            stack.callback(remote.close)
            made = Case(kind, remote)
        made.backend.add_adapter("a", adapter)
        yield made
        assert kind == "engine" or server.mistakes == []


def test_greedy_answers_are_those_of_transformers(
    case: Case, truth: Truth, prompts: list[list[int]]
) -> None:
    asked = [(ids, adapter) for ids in prompts for adapter in ("", "a")]
    sampling = Sampling(max_tokens=12, ignore_eos=True)
    told = answered(case.backend, *(Request(ids, sampling, adapter) for ids, adapter in asked))
    assert [heard.ids for heard, _ in told] == [truth.greedy(ids, 12, a) for ids, a in asked]
    assert len({heard.ids for heard, _ in told}) > len(prompts)  # the adapter makes a difference
    tokenizer = load_tokenizer(BASE)
    for (heard, row), (ids, _) in zip(told, asked, strict=True):
        assert heard.text == tokenizer.decode(heard.ids, skip_special_tokens=True)
        assert (heard.deltas[-1].reason, row.reason, row.prompt_tokens) == (
            "length",
            "length",
            len(ids),
        )


def test_a_hundred_at_once(case: Case, truth: Truth, prompts: list[list[int]]) -> None:
    asked = [(prompts[n % 5], 2 + n % 4, "a" if n % 3 else "") for n in range(100)]
    requests = [Request(ids, Sampling(max_tokens=n, ignore_eos=True), a) for ids, n, a in asked]
    told = answered(case.backend, *requests)
    assert [heard.ids for heard, _ in told] == [truth.greedy(*each) for each in asked]


def test_a_stop_text_ends_an_answer_and_is_not_in_it(case: Case, prompts: list[list[int]]) -> None:
    [(whole, _)] = answered(
        case.backend, Request(prompts[0], Sampling(max_tokens=30, ignore_eos=True))
    )
    stop = whole.text[14:19]
    sampling = Sampling(max_tokens=30, ignore_eos=True, stop=("nowhere to be found", stop))
    [(heard, row)] = answered(case.backend, Request(prompts[0], sampling))
    assert heard.text == whole.text[: whole.text.index(stop)]
    assert heard.ids == whole.ids[: len(heard.ids)]
    assert row.reason == "stop"


def test_a_seed_repeats_an_answer(case: Case, prompts: list[list[int]]) -> None:
    def asked(seed: int) -> Request:
        sampling = Sampling(
            max_tokens=16, temperature=1.0, top_k=200, top_p=0.95, min_p=0.001, seed=seed,
            repetition_penalty=1.1, presence_penalty=0.1, frequency_penalty=0.1, ignore_eos=True,
        )  # fmt: skip
        return Request(prompts[1], sampling)

    told = answered(case.backend, *(asked(seed) for seed in (1, 2, 1, 3, 2)))
    one, two, again, three, twice = (heard.ids for heard, _ in told)
    assert (one, two) == (again, twice)
    assert len({one, two, three}) == 3


def test_logprobs_are_those_of_transformers(
    case: Case, truth: Truth, prompts: list[list[int]]
) -> None:
    several = 0 if case.kind == "sglang" else 3
    sampling = Sampling(
        max_tokens=10,
        temperature=1.5,
        seed=5,
        repetition_penalty=1.3,
        logprobs=several,
        ignore_eos=True,
    )
    [(heard, _)] = answered(case.backend, Request(prompts[2], sampling))
    wanted = truth.logprobs(prompts[2], heard.ids)
    told = torch.tensor([value for each in heard.deltas for value in each.logprobs])
    own = wanted[range(len(heard.ids)), list(heard.ids)]
    torch.testing.assert_close(told, own, atol=1e-4, rtol=0)
    others = [row for each in heard.deltas for row in each.alternatives]
    top = wanted.topk(several)
    assert [[each.id for each in row] for row in others] == top.indices.tolist()
    values = torch.tensor([[each.logprob for each in row] for row in others])
    torch.testing.assert_close(values, top.values, atol=1e-4, rtol=0)
    assert not torch.equal(own, wanted.max(-1).values)  # not all of them were the likeliest


def test_an_answer_has_the_form_that_was_asked_for(case: Case, prompts: list[list[int]]) -> None:
    schema = {
        "type": "object",
        "properties": {"sound": {"enum": ["loud", "quiet"]}, "often": {"type": "boolean"}},
        "required": ["sound", "often"],
        "additionalProperties": False,
    }
    told = answered(
        case.backend,
        Request(prompts[0], Sampling(40, constraint=OutputConstraint(schema=json.dumps(schema)))),
        Request(
            prompts[0],
            Sampling(40, constraint=OutputConstraint(regex="[0-9]{4}-(spring|autumn)")),
        ),
        # These break lines for some readers of streams, and stand in JSON as they are.
        Request(prompts[0], Sampling(40, constraint=OutputConstraint(regex="\u2028a\u0085b"))),
    )
    (said, _), (dated, _), (broken, row) = told
    assert set(json.loads(said.text)) == {"sound", "often"}
    assert re.fullmatch("[0-9]{4}-(spring|autumn)", dated.text)
    assert broken.text == "\u2028a\u0085b"
    assert row.reason == "stop"  # by the token that ends a text, which is among the ids
    assert load_tokenizer(BASE).decode(broken.ids[-1:], skip_special_tokens=True) == ""


def test_what_was_read_is_shared_within_a_space_only(case: Case, prompts: list[list[int]]) -> None:
    ids = [token for each in prompts for token in each] * 3

    def cached(space: Any) -> int:
        [(_, row)] = answered(
            case.backend, Request(ids, Sampling(max_tokens=1), cache_namespace=space)
        )
        return row.cached_tokens

    assert cached("mine") == 0
    assert cached("mine") > 0
    assert cached("yours") == 0
    assert cached(("mine", 1)) == 0
    assert cached("mine") > 0


def test_a_cancelled_request_ends_and_others_go_on(
    case: Case, truth: Truth, prompts: list[list[int]]
) -> None:
    left, kept = Heard(), Heard()
    rows = [case.backend.submit(Request(prompts[0], LONG), each) for each in (left, kept)]
    assert left.begun.wait(30)
    for _ in range(2):
        rows[0].cancel()
    assert left.ended.wait(30)
    assert (left.deltas[-1].reason, rows[0].reason) == ("cancelled", "cancelled")
    assert [each.reason for each in left.deltas].count("cancelled") == 1
    assert len(left.ids) < 100
    assert kept.ended.wait(30)
    assert kept.ids == truth.greedy(prompts[0], 100)
    rows[1].cancel()  # is of no consequence any more
    assert rows[1].reason == "length"
    until(lambda: (case.backend.waiting_requests, case.backend.running_requests) == (0, 0))


def test_what_cannot_be_answered_is_refused(case: Case, prompts: list[list[int]]) -> None:
    def refused(match: str, request: Request) -> None:
        with pytest.raises(InputError, match=match):
            case.backend.submit(request, Heard())

    refused("no tokens", Request([], Sampling()))
    refused(
        rf"has {MAX_MODEL_LEN} tokens.* room for {MAX_MODEL_LEN}",
        Request([5] * MAX_MODEL_LEN, Sampling()),
    )
    refused("no adapter is called 'b'", Request(prompts[0], Sampling(), "b"))
    [(heard, row)] = answered(case.backend, Request([5] * (MAX_MODEL_LEN - 1), LONG))
    assert (len(heard.ids), row.reason) == (1, "length")


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_closing_ends_what_is_under_way(case: Case, prompts: list[list[int]]) -> None:
    if case.kind == "engine":
        backend: Backend = worker()
    else:
        assert isinstance(case.backend, RemoteBackend)
        url = case.backend.url
        backend = RemoteBackend(url, "starter", kind="sglang" if case.kind == "sglang" else "vllm")
    told = [Heard() for _ in range(20)]  # more than the engine has rows, so some are not begun
    rows = [backend.submit(Request(prompts[0], LONG), each) for each in told]
    assert told[0].begun.wait(30)
    backend.close()
    assert {row.reason for row in rows} == {"cancelled"}
    assert {each.deltas[-1].reason for each in told} == {"cancelled"}
