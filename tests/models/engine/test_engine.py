"""The engine against transformers' own generation, and PEFT's."""

from __future__ import annotations

import random
import weakref
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models.engine.small import KINDS, Letters, adapt, expected, write

from moli.models.engine import transformers_runner
from moli.models.engine.cache_slots import CacheSlots
from moli.models.engine.engine import Engine
from moli.models.engine.kv_cache import TorchKVCache
from moli.models.engine.merged_linear import MergedLinear
from moli.models.engine.transformers_runner import load_transformers_runner
from moli.models.engine.weight_layouts import TransposedProductLayout, WeightLayout
from moli.models.weights.lora import read_adapter
from moli.records.errors import InputError, ModelError
from moli.records.generation import Completion, Delta, Request, Sampling

TOKENS = 20


def prompts(count: int = 9) -> list[list[int]]:
    """Prompts of 1 to 40 tokens, some of which begin alike."""
    draw = random.Random(0)
    common = draw.choices(range(2, 60), k=12)
    rows = [draw.choices(range(2, 60), k=draw.randint(1, 28)) for _ in range(count)]
    return [common + row if n % 3 == 0 else row for n, row in enumerate(rows)]


def engine(base: str, **options: int) -> Engine:
    runner = load_transformers_runner(
        base, adapter_slots=options.pop("adapter_slots", 4), precision="fp32"
    )
    return Engine(runner, Letters(), **{"max_model_len": 128} | options)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_greedy_answers_are_those_of_transformers(tmp_path: Path, kind: str) -> None:
    base = write(tmp_path, kind)
    truth = expected(base, prompts(), TOKENS)
    requests = [Request(ids, Sampling(max_tokens=TOKENS)) for ids in prompts()]
    alone = engine(base, max_num_seqs=1, prefix_slots=0)
    assert [alone.complete([each])[0].ids for each in requests] == truth
    # Together, more than have room at once, prompts read in pieces, and again from what is kept.
    many = engine(base, max_num_seqs=4, prefix_slots=2, max_prefill_tokens=7)
    for _ in range(2):
        answers = many.complete(requests)
        assert [each.ids for each in answers] == truth
    assert sum(each.cached_tokens for each in answers) > 0


@pytest.mark.slow
def test_each_row_has_its_own_adapter(tmp_path: Path) -> None:
    base = write(tmp_path / "base", "llama")
    folders = {
        "a": adapt(base, tmp_path / "a", 1),
        "b": adapt(base, tmp_path / "b", 2, rank=2, use_rslora=True),
        "c": adapt(base, tmp_path / "c", 3, target_modules=["q_proj", "down_proj"]),
    }
    truth = {"": expected(base, prompts(), TOKENS)}
    truth |= {name: expected(base, prompts(), TOKENS, each) for name, each in folders.items()}
    assert len({tuple(each) for each in truth.values()}) == 4
    # With 2 adapter slots for 3 adapters, some have to wait.
    for adapter_slots, rows in ((2, 4), (4, 8)):
        mixed = engine(base, adapter_slots=adapter_slots, max_num_seqs=rows, max_prefill_tokens=30)
        for name, folder in folders.items():
            mixed.add_adapter(read_adapter(folder, name, mixed.runner.dtype))
        names = [["", "a", "b", "c"][n % 4] for n in range(len(prompts()) * 2)]
        requests = [
            Request(ids, Sampling(max_tokens=TOKENS), adapter=name)
            for ids, name in zip(prompts() * 2, names, strict=True)
        ]
        answers = mixed.complete(requests)
        rows_of = [n % len(prompts()) for n in range(len(names))]
        assert [each.ids for each in answers] == [
            truth[name][row] for name, row in zip(names, rows_of, strict=True)
        ]


def test_an_adapter_that_changes_is_not_answered_from_what_was_read(tmp_path: Path) -> None:
    base = write(tmp_path / "base", "llama")
    one, other = adapt(base, tmp_path / "a", 1), adapt(base, tmp_path / "b", 2)
    changing = engine(base, max_num_seqs=2)
    request = Request(prompts()[0], Sampling(max_tokens=TOKENS), adapter="a")
    for folder in (one, other):
        changing.add_adapter(read_adapter(folder, "a", changing.runner.dtype))
        answer = changing.complete([request])[0]
        assert answer.ids == expected(base, prompts()[:1], TOKENS, folder)[0]


@pytest.mark.slow
def test_an_adapter_that_was_let_go_is_read_again(tmp_path: Path) -> None:
    base = write(tmp_path / "base", "llama")
    folders = {name: adapt(base, tmp_path / name, seed) for seed, name in enumerate("abcd")}
    mixed = Engine(
        load_transformers_runner(base, adapter_slots=1, precision="fp32"), Letters(), max_num_seqs=3
    )
    mixed._adapters._max_bytes = 1
    for name, folder in folders.items():
        mixed.add_adapter(read_adapter(folder, name, torch.float32))
    assert len(mixed._adapters._in_memory) == 1
    requests = {
        name: Request(prompts()[0], Sampling(max_tokens=TOKENS), adapter=name) for name in folders
    }
    alone = {}
    for name, folder in folders.items():
        single = engine(base, max_num_seqs=1)
        single.add_adapter(read_adapter(folder, name, torch.float32))
        [alone[name]] = single.complete([requests[name]])
    answers = mixed.complete([requests[name] for name in "abcdabcd"])
    assert [each.ids for each in answers] == [alone[name].ids for name in "abcdabcd"]
    (folders["a"] / "adapter_model.safetensors").unlink()
    deltas: list[Delta] = []
    mixed.submit(requests["a"], deltas.append)
    [answer] = mixed.complete([requests["b"]])
    assert answer.ids == alone["b"].ids
    assert [each.reason for each in deltas] == ["failed"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "what"),
    [({"use_dora": True}, "with DoRA"), ({"bias": "all"}, "with biases")],
)
def test_an_adapter_that_cannot_share_a_pass_is_refused(
    tmp_path: Path, options: dict[str, object], what: str
) -> None:
    base = write(tmp_path / "base", "gpt_neox")
    folder = adapt(base, tmp_path / "a", 1, **options)
    with pytest.raises(ModelError, match=what):
        read_adapter(folder, "a", load_transformers_runner(base).dtype)


def test_an_adapter_of_another_base_is_refused(tmp_path: Path) -> None:
    folder = adapt(write(tmp_path / "phi", "phi"), tmp_path / "a", 1)
    other = engine(write(tmp_path / "llama", "llama"))
    with pytest.raises(ModelError, match="made for another base"):
        other.add_adapter(read_adapter(folder, "a", other.runner.dtype))


def test_what_a_row_shares_depends_on_its_space(tmp_path: Path) -> None:
    base = write(tmp_path, "llama")
    shared = engine(base, max_num_seqs=2, prefix_slots=2)
    ids = prompts()[0]
    few = Sampling(max_tokens=2)
    assert shared.complete([Request(ids, few, cache_namespace="one")])[0].cached_tokens == 0
    assert shared.complete([Request(ids, few, cache_namespace="other")])[0].cached_tokens == 0
    assert (
        shared.complete([Request(ids, few, cache_namespace="one")])[0].cached_tokens == len(ids) - 1
    )


def test_a_cancelled_row_gives_its_slot_back_within_a_step(tmp_path: Path) -> None:
    busy = engine(write(tmp_path, "llama"), max_num_seqs=1)
    deltas: list[Delta] = []
    later: list[Delta] = []
    endless = Sampling(max_tokens=60, ignore_eos=True)
    row = busy.submit(Request(prompts()[0], endless), deltas.append)
    busy.submit(Request(prompts()[1], Sampling(max_tokens=1)), later.append)
    for _ in range(3):
        busy.step()
    assert len(deltas) == 3 and not later
    row.cancel()
    busy.step()
    assert deltas[-1].reason == "cancelled" and later[-1].reason == "length"
    assert not busy.step()


def test_adapters_take_turns(tmp_path: Path) -> None:
    """One adapter's crowd does not keep another waiting."""
    base = write(tmp_path / "base", "llama")
    fair = engine(base, max_num_seqs=2)
    for name, seed in (("crowd", 1), ("one", 2)):
        fair.add_adapter(read_adapter(adapt(base, tmp_path / name, seed), name, fair.runner.dtype))
    order: list[str] = []

    def record(name: str) -> None:
        order.append(name)

    few = Sampling(max_tokens=3, ignore_eos=True)
    for _ in range(6):
        fair.submit(Request([5, 6], few, adapter="crowd"), lambda d: d.reason and record("crowd"))
    fair.submit(Request([5, 6], few, adapter="one"), lambda d: d.reason and record("one"))
    while fair.step():
        pass
    assert order.index("one") <= 1 and len(order) == 7


def test_stop_texts_and_ends(tmp_path: Path) -> None:
    base = write(tmp_path, "llama")
    stopping = engine(base, max_num_seqs=2)
    ids = prompts()[1]
    whole = stopping.complete([Request(ids, Sampling(max_tokens=TOKENS, ignore_eos=True))])[0]
    assert len(whole.text) == TOKENS and whole.reason == "length"
    stop = whole.text[5:8]
    cut = stopping.complete([Request(ids, Sampling(max_tokens=TOKENS, stop=(stop,)))])[0]
    assert cut.text == whole.text[: whole.text.index(stop)] and cut.reason == "stop"


def test_logprobs_are_those_of_the_model(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    base = write(tmp_path, "qwen3")
    ids = prompts()[2]
    answer = engine(base).complete([Request(ids, Sampling(max_tokens=5, logprobs=3))])[0]
    model = AutoModelForCausalLM.from_pretrained(base).eval().double()
    with torch.no_grad():
        whole = model(torch.tensor([[*ids, *answer.ids]])).logits[0].log_softmax(-1)
    for position, token in enumerate(answer.ids):
        scores = whole[len(ids) - 1 + position]
        assert answer.logprobs[position] == pytest.approx(float(scores[token]), abs=1e-4)
        top = scores.topk(3)
        assert [each.id for each in answer.alternatives[position]] == top.indices.tolist()


def test_processed_logprobs_are_those_of_the_distribution_that_is_drawn_from(
    tmp_path: Path,
) -> None:
    base, ids = write(tmp_path, "llama"), prompts()[0]
    sampling = Sampling(
        max_tokens=6, temperature=0.6, top_k=5, repetition_penalty=1.3, seed=3, ignore_eos=True,
        logprobs=5, processed_logprobs=True,
    )  # fmt: skip
    answer = engine(base).complete([Request(ids, sampling)])[0]
    raw = engine(base).complete([Request(ids, replace(sampling, processed_logprobs=False))])[0]
    assert raw.ids == answer.ids and raw.logprobs != answer.logprobs
    model = transformers_runner.load_model("AutoModelForCausalLM", base, dtype=torch.float32)
    for position, token in enumerate(answer.ids):
        before = [*ids, *answer.ids[:position]]
        with torch.no_grad():
            logits = model(torch.tensor([before])).logits[0, -1]  # type: ignore[operator]
        seen = torch.tensor(sorted(set(before)))
        logits[seen] = torch.where(logits[seen] < 0, logits[seen] * 1.3, logits[seen] / 1.3)
        kept = (logits / 0.6).topk(5)
        expected_logprobs = kept.values.log_softmax(-1).tolist()
        alternatives = answer.alternatives[position]
        assert [each.id for each in alternatives] == kept.indices.tolist()
        assert [each.logprob for each in alternatives] == pytest.approx(expected_logprobs, abs=1e-4)
        own = dict(zip(kept.indices.tolist(), expected_logprobs, strict=True))[token]
        assert answer.logprobs[position] == pytest.approx(own, abs=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() != "AVX512", reason="other kernels round differently"
)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "gpt2"])
def test_answers_have_the_same_bits_whatever_is_beside_them(tmp_path: Path, kind: str) -> None:
    """Log probabilities are compared as well: a token hides what changes its logit by a little."""
    base = write(tmp_path / "base", kind)
    folders = [adapt(base, tmp_path / name, n, rank=n + 3) for n, name in enumerate("ab")]

    def start(**options: Any) -> Engine:
        """An engine that has computed nothing yet."""
        started = engine(base, **options)
        for folder in folders:
            started.add_adapter(read_adapter(folder, folder.name, torch.float32))
        return started

    draw = random.Random(0)
    requests = [
        Request(
            [draw.randrange(1, 60) for _ in range(length)],
            Sampling(9, temperature=1.0, seed=number, logprobs=2, ignore_eos=True),
            ("", "a", "b")[number % 3],
        )
        for number, length in enumerate((1, 20, 3, 70, 5, 17, 2, 40, 9))
    ]
    alone = [start().complete([each])[0] for each in requests]
    company = start(max_num_seqs=16)
    assert _bits(company.complete(requests)) == _bits(alone)
    assert _bits(company.complete(requests[::-1])) == _bits(alone[::-1])  # from cached prompts
    assert _bits(start(max_num_seqs=4, max_prefill_tokens=7).complete(requests)) == _bits(alone)
    longer = [
        Request((*each.ids, *answer.ids), Sampling(5, logprobs=2), each.adapter)
        for each, answer in zip(requests, alone, strict=True)
    ]
    again = company.complete(longer)
    assert any(each.cached_tokens for each in again)
    assert _bits(again) == _bits(start().complete([each])[0] for each in longer)
    other = replace(requests[1], sampling=replace(requests[1].sampling, seed=99))
    assert company.complete([other])[0].ids != alone[1].ids


def _bits(answers: Iterable[Completion]) -> list[Any]:
    """Tokens and log probabilities."""
    return [(each.ids, each.logprobs, each.alternatives) for each in answers]


def test_what_cannot_be_answered_is_refused(tmp_path: Path) -> None:
    small = engine(write(tmp_path, "llama"), max_num_seqs=1)
    for ids, what in (([], "no tokens"), ([5] * 128, "128 tokens")):
        with pytest.raises(InputError, match=what):
            small.submit(Request(ids, Sampling()), lambda _: None)
    with pytest.raises(InputError, match="no adapter is called 'x'"):
        small.submit(Request([5], Sampling(), "x"), lambda _: None)


@pytest.mark.slow
def test_rows_wait_for_memory_and_answer_the_same(tmp_path: Path) -> None:
    base = write(tmp_path, "llama")
    truth = expected(base, prompts(), TOKENS)
    place = engine(base).runner.kv_bytes_per_token
    assert place == 2 * 2 * 2 * 8 * 4  # keys and values, layers, heads, dimensions, float32
    tight = engine(base, max_num_seqs=8, prefix_slots=4, kv_cache_bytes=3 * 128 * place)
    requests = [Request(ids, Sampling(max_tokens=TOKENS)) for ids in prompts()]
    most = 0
    deltas: list[Delta] = []
    rows = [tight.submit(each, deltas.append) for each in requests]
    while tight.step():
        most = max(most, tight.running_requests)
    assert most == 3
    ids = [tuple(row.token_ids[row.prompt_tokens : row.length].tolist()) for row in rows]
    assert ids == truth
    with pytest.raises(InputError, match="do not fit in the memory"):
        engine(base, kv_cache_bytes=127 * place).submit(requests[0], deltas.append)


def test_a_long_row_has_others_wait_only_as_long_as_it_is_there() -> None:
    """256 places at first: of 4 rows with so many there is room for one with 1,024."""
    cache = TorchKVCache(4, 1024, max_tokens=1024)
    slots = CacheSlots(cache)
    assert (cache.slots, cache.slots_for(256), cache.slots_for(257), cache.slots_for(1000)) == (
        4, 4, 2, 1
    )  # fmt: skip
    slots.reserve(1000)
    assert (cache.slots, cache.slot_length, cache.has_fewer_slots) == (1, 1024, True)
    allocation = slots.allocate("space", np.array([1, 2, 3], np.int32))
    slots.free(allocation.slot)
    slots.forget_prefixes()
    assert (cache.slots, cache.slot_length, cache.has_fewer_slots) == (4, 256, False)


def other_weights(base: str, folder: Path) -> dict[str, torch.Tensor]:
    """State dict of another model of the same shape, which is saved in the folder."""
    from transformers import AutoModelForCausalLM

    other = AutoModelForCausalLM.from_pretrained(base)
    torch.manual_seed(5)
    with torch.no_grad():
        for weight in other.parameters():
            if weight.dim() > 1:
                weight.normal_(0, 0.3)
    other.save_pretrained(folder)
    state: dict[str, torch.Tensor] = other.state_dict()
    return state


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_other_weights_are_taken_between_calls(tmp_path: Path, kind: str) -> None:
    """Reinforcement learning changes them; nothing cached with the old ones is used."""
    base = write(tmp_path / "one", kind)
    changing = engine(base, max_num_seqs=3)
    requests = [Request(ids, Sampling(max_tokens=TOKENS)) for ids in prompts()]
    assert [each.ids for each in changing.complete(requests)] == expected(base, prompts(), TOKENS)
    changing.update_weights(other_weights(base, tmp_path / "other"))
    truth = expected(str(tmp_path / "other"), prompts(), TOKENS)
    assert [each.ids for each in changing.complete(requests)] == truth


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"nothing.weight": torch.zeros(1)}, "has no nothing"),
        ({"model.norm.weight": torch.zeros(3)}, "must be"),
        ({"model.layers.0.self_attn.k_proj.weight": None}, "others are not"),
        ({"model.layers.1.self_attn.o_proj.weight": torch.zeros(2, 2)}, "must be"),
    ],
)
def test_weights_that_do_not_fit_change_nothing(
    tmp_path: Path, wrong: dict[str, torch.Tensor | None], words: str
) -> None:
    base = write(tmp_path / "one", "llama")
    changing = engine(base, max_num_seqs=3)
    requests = [Request(ids, Sampling(max_tokens=TOKENS)) for ids in prompts()]
    weights = other_weights(base, tmp_path / "other") | wrong
    with pytest.raises(ModelError, match=words):
        changing.update_weights(
            {name: value for name, value in weights.items() if value is not None}
        )
    assert [each.ids for each in changing.complete(requests)] == expected(base, prompts(), TOKENS)


def test_rows_at_work_pass_nothing_on_when_the_weights_change(tmp_path: Path) -> None:
    base = write(tmp_path / "one", "llama")
    changing = engine(base, max_num_seqs=2)
    long = Request(prompts()[0], Sampling(max_tokens=60, ignore_eos=True))
    changing.submit(long, [].append)
    for _ in range(3):
        changing.step()
    changing.update_weights(other_weights(base, tmp_path / "other"))
    [answer] = changing.complete([Request(prompts()[0], Sampling(max_tokens=TOKENS))])
    assert answer.cached_tokens == 0
    assert answer.ids == expected(str(tmp_path / "other"), prompts()[:1], TOKENS)[0]


def test_no_weight_is_in_memory_twice_while_layouts_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier: list[weakref.ref[WeightLayout]] = []
    alive = []
    use_layout = MergedLinear.use_layout

    def counted(linear: MergedLinear, layout: type[WeightLayout]) -> None:
        earlier.append(weakref.ref(linear.layout))
        use_layout(linear, layout)
        alive.append(sum(layout() is not None for layout in earlier))

    monkeypatch.setattr(MergedLinear, "use_layout", counted)
    monkeypatch.setattr(transformers_runner, "fastest_layout", lambda _: TransposedProductLayout)
    load_transformers_runner(write(tmp_path, "llama"), adapter_slots=1, precision="fp32")
    assert len(alive) > 4 and set(alive) == {0}


@pytest.mark.parametrize("max_prefill_tokens", [5, 512])
def test_the_tokens_of_a_prompt_are_scored(tmp_path: Path, max_prefill_tokens: int) -> None:
    """Beside other requests, in pieces, and although the prompt is cached."""
    from transformers import AutoModelForCausalLM

    base, rows = write(tmp_path, "llama"), prompts(4)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    scoring = engine(base, max_num_seqs=3, max_prefill_tokens=max_prefill_tokens)
    scoring.complete([Request(ids, Sampling(max_tokens=2)) for ids in rows])
    deltas: list[list[Delta]] = [[] for _ in rows]
    sequences = []
    for number, ids in enumerate(rows):
        sampling = Sampling(max_tokens=number % 2, logprobs=2, prompt_logprobs=True)
        sequences.append(scoring.submit(Request(ids, sampling), deltas[number].append))
        scoring.submit(Request(ids, Sampling(max_tokens=3)), lambda _: None)
    while any(sequence.reason is None for sequence in sequences):
        scoring.step()
    for number, (ids, received) in enumerate(zip(rows, deltas, strict=True)):
        scored = [token for delta in received for token in delta.prompt]
        with torch.no_grad():
            truth = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        assert [token.id for token in scored] == ids[1:]
        for place, token in enumerate(scored):
            assert token.logprob == pytest.approx(float(truth[place, token.id]), abs=1e-4)
            top = truth[place].topk(2)
            assert [other.id for other in token.alternatives] == top.indices.tolist()
        assert [len(delta.ids) for delta in received if delta.reason] == [number % 2]
        assert received[-1].reason == "length"
