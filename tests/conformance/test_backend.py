"""What every backend has to do: the engine in this process, vLLM and SGLang.

Answers are compared with those of transformers and PEFT. The servers are stand-ins, see
`models.vllm_stand_in`; every test also checks that no request to them was wrong.
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


class Reference:
    """Answers of transformers and PEFT, in 32 bits."""

    def __init__(self, adapter: Path) -> None:
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        def load() -> Any:
            return AutoModelForCausalLM.from_pretrained(folder_of(BASE), dtype=torch.float32).eval()

        self._models = {"": load(), "a": PeftModel.from_pretrained(load(), str(adapter)).eval()}
        self._answers: dict[tuple[str, ...], tuple[int, ...]] = {}

    @torch.inference_mode()
    def greedy(self, ids: list[int], tokens: int, adapter: str = "") -> tuple[int, ...]:
        key = (adapter, *map(str, ids))
        if len(self._answers.get(key, ())) < tokens:
            options: Any = {"max_new_tokens": tokens, "do_sample": False, "eos_token_id": None}
            whole = self._models[adapter].generate(input_ids=torch.tensor([ids]), **options)
            self._answers[key] = tuple(whole[0, len(ids) :].tolist())
        return self._answers[key][:tokens]

    @torch.inference_mode()
    def logprobs(self, ids: list[int], answer_ids: tuple[int, ...]) -> torch.Tensor:
        """Log probabilities of every token at every position of an answer, [tokens, vocabulary]."""
        logits = self._models[""](input_ids=torch.tensor([[*ids, *answer_ids]])).logits[0]
        return logits[len(ids) - 1 : -1].log_softmax(-1)


@dataclass
class Case:
    """A backend and its kind."""

    kind: str
    backend: Backend


@dataclass
class Answer:
    """The deltas of one answer."""

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


def answer_all(backend: Backend, *requests: Request) -> list[tuple[Answer, RunningRequest]]:
    """The answers to requests that are submitted at once."""
    answers = [Answer() for _ in requests]
    running = [backend.submit(each, answer) for each, answer in zip(requests, answers, strict=True)]
    for answer in answers:
        assert answer.ended.wait(30)
        assert all(not each.reason for each in answer.deltas[:-1])
    return list(zip(answers, running, strict=True))


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return adapt(folder_of(BASE), tmp_path_factory.mktemp("adapter"), seed=1)


@pytest.fixture(scope="module")
def reference(adapter: Path) -> Reference:
    return Reference(adapter)


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
            options = ServerOptions(
                max_model_len=MAX_MODEL_LEN, interval=3 if "threes" in kind else 1
            )
            server = make(local, load_tokenizer(BASE), "starter", options)
            url = stack.enter_context(server.served())
            remote = RemoteBackend(url, "starter", kind="sglang" if kind == "sglang" else "vllm")
            stack.callback(remote.close)
            made = Case(kind, remote)
        made.backend.add_adapter("a", adapter)
        yield made
        assert kind == "engine" or server.mistakes == []


@pytest.mark.slow
def test_greedy_answers_are_those_of_transformers(
    case: Case, reference: Reference, prompts: list[list[int]]
) -> None:
    asked = [(ids, adapter) for ids in prompts for adapter in ("", "a")]
    sampling = Sampling(max_tokens=12, ignore_eos=True)
    answers = answer_all(case.backend, *(Request(ids, sampling, adapter) for ids, adapter in asked))
    assert [answer.ids for answer, _ in answers] == [
        reference.greedy(ids, 12, a) for ids, a in asked
    ]
    assert len({answer.ids for answer, _ in answers}) > len(
        prompts
    )  # the adapter makes a difference
    tokenizer = load_tokenizer(BASE)
    for (answer, request), (ids, _) in zip(answers, asked, strict=True):
        assert answer.text == tokenizer.decode(answer.ids, skip_special_tokens=True)
        assert (answer.deltas[-1].reason, request.reason, request.prompt_tokens) == (
            "length",
            "length",
            len(ids),
        )


@pytest.mark.slow
def test_a_hundred_at_once(case: Case, reference: Reference, prompts: list[list[int]]) -> None:
    asked = [(prompts[n % 5], 2 + n % 4, "a" if n % 3 else "") for n in range(100)]
    requests = [Request(ids, Sampling(max_tokens=n, ignore_eos=True), a) for ids, n, a in asked]
    answers = answer_all(case.backend, *requests)
    assert [answer.ids for answer, _ in answers] == [reference.greedy(*each) for each in asked]


@pytest.mark.slow
def test_a_stop_text_ends_an_answer_and_is_not_in_it(case: Case, prompts: list[list[int]]) -> None:
    [(whole, _)] = answer_all(
        case.backend, Request(prompts[0], Sampling(max_tokens=30, ignore_eos=True))
    )
    stop = whole.text[14:19]
    sampling = Sampling(max_tokens=30, ignore_eos=True, stop=("nowhere to be found", stop))
    [(answer, request)] = answer_all(case.backend, Request(prompts[0], sampling))
    assert answer.text == whole.text[: whole.text.index(stop)]
    assert answer.ids == whole.ids[: len(answer.ids)]
    assert request.reason == "stop"


@pytest.mark.slow
def test_a_seed_repeats_an_answer(case: Case, prompts: list[list[int]]) -> None:
    def asked(seed: int) -> Request:
        sampling = Sampling(
            max_tokens=16, temperature=1.0, top_k=200, top_p=0.95, min_p=0.001, seed=seed,
            repetition_penalty=1.1, presence_penalty=0.1, frequency_penalty=0.1, ignore_eos=True,
        )  # fmt: skip
        return Request(prompts[1], sampling)

    answers = answer_all(case.backend, *(asked(seed) for seed in (1, 2, 1, 3, 2)))
    one, two, again, three, twice = (answer.ids for answer, _ in answers)
    assert (one, two) == (again, twice)
    assert len({one, two, three}) == 3


@pytest.mark.slow
def test_logprobs_are_those_of_transformers(
    case: Case, reference: Reference, prompts: list[list[int]]
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
    [(answer, _)] = answer_all(case.backend, Request(prompts[2], sampling))
    expected = reference.logprobs(prompts[2], answer.ids)
    answers = torch.tensor([value for each in answer.deltas for value in each.logprobs])
    own = expected[range(len(answer.ids)), list(answer.ids)]
    torch.testing.assert_close(answers, own, atol=1e-4, rtol=0)
    others = [row for each in answer.deltas for row in each.alternatives]
    top = expected.topk(several)
    assert [[each.id for each in row] for row in others] == top.indices.tolist()
    values = torch.tensor([[each.logprob for each in row] for row in others])
    torch.testing.assert_close(values, top.values, atol=1e-4, rtol=0)
    assert not torch.equal(own, expected.max(-1).values)  # not all of them were the likeliest


@pytest.mark.slow
def test_an_answer_has_the_form_that_was_asked_for(case: Case, prompts: list[list[int]]) -> None:
    schema = {
        "type": "object",
        "properties": {"sound": {"enum": ["loud", "quiet"]}, "often": {"type": "boolean"}},
        "required": ["sound", "often"],
        "additionalProperties": False,
    }
    answers = answer_all(
        case.backend,
        Request(prompts[0], Sampling(40, constraint=OutputConstraint(schema=json.dumps(schema)))),
        Request(
            prompts[0],
            Sampling(40, constraint=OutputConstraint(regex="[0-9]{4}-(spring|autumn)")),
        ),
        # These break lines for some readers of streams, and stand in JSON as they are.
        Request(prompts[0], Sampling(40, constraint=OutputConstraint(regex="\u2028a\u0085b"))),
    )
    (said, _), (dated, _), (broken, request) = answers
    assert set(json.loads(said.text)) == {"sound", "often"}
    assert re.fullmatch("[0-9]{4}-(spring|autumn)", dated.text)
    assert broken.text == "\u2028a\u0085b"
    assert request.reason == "stop"  # by the token that ends a text, which is among the ids
    assert load_tokenizer(BASE).decode(broken.ids[-1:], skip_special_tokens=True) == ""


def test_what_was_read_is_shared_within_a_space_only(case: Case, prompts: list[list[int]]) -> None:
    ids = [token for each in prompts for token in each] * 3

    def cached(space: Any) -> int:
        [(_, request)] = answer_all(
            case.backend, Request(ids, Sampling(max_tokens=1), cache_namespace=space)
        )
        return request.cached_tokens

    assert cached("mine") == 0
    assert cached("mine") > 0
    assert cached("yours") == 0
    assert cached(("mine", 1)) == 0
    assert cached("mine") > 0


@pytest.mark.slow
def test_a_cancelled_request_ends_and_others_go_on(
    case: Case, reference: Reference, prompts: list[list[int]]
) -> None:
    left, kept = Answer(), Answer()
    running = [case.backend.submit(Request(prompts[0], LONG), each) for each in (left, kept)]
    assert left.begun.wait(30)
    for _ in range(2):
        running[0].cancel()
    assert left.ended.wait(30)
    assert (left.deltas[-1].reason, running[0].reason) == ("cancelled", "cancelled")
    assert [each.reason for each in left.deltas].count("cancelled") == 1
    assert len(left.ids) < 100
    assert kept.ended.wait(30)
    assert kept.ids == reference.greedy(prompts[0], 100)
    running[1].cancel()  # is of no consequence any more
    assert running[1].reason == "length"
    until(lambda: (case.backend.waiting_requests, case.backend.running_requests) == (0, 0))


def test_what_cannot_be_answered_is_refused(case: Case, prompts: list[list[int]]) -> None:
    def refused(match: str, request: Request) -> None:
        with pytest.raises(InputError, match=match):
            case.backend.submit(request, Answer())

    refused("no tokens", Request([], Sampling()))
    refused(
        rf"has {MAX_MODEL_LEN} tokens.* room for {MAX_MODEL_LEN}",
        Request([5] * MAX_MODEL_LEN, Sampling()),
    )
    refused("no adapter is called 'b'", Request(prompts[0], Sampling(), "b"))
    [(answer, request)] = answer_all(case.backend, Request([5] * (MAX_MODEL_LEN - 1), LONG))
    assert (len(answer.ids), request.reason) == (1, "length")


@pytest.mark.slow
@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_closing_ends_what_is_under_way(case: Case, prompts: list[list[int]]) -> None:
    if case.kind == "engine":
        backend: Backend = worker()
    else:
        assert isinstance(case.backend, RemoteBackend)
        url = case.backend.url
        backend = RemoteBackend(url, "starter", kind="sglang" if case.kind == "sglang" else "vllm")
    answers = [Answer() for _ in range(20)]  # more than the engine has rows, so some are not begun
    running = [backend.submit(Request(prompts[0], LONG), each) for each in answers]
    assert answers[0].begun.wait(30)
    backend.close()
    assert {request.reason for request in running} == {"cancelled"}
    assert {each.deltas[-1].reason for each in answers} == {"cancelled"}
