"""GGUF files against transformers: the same weights in 32 bits, and llama.cpp in this process."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conformance.served import TALK, serving
from openai import OpenAI

from moli.models.chat.load import load_chat
from moli.models.encoders.load import load_encoder
from moli.models.engine.engine import Engine
from moli.models.tokenizers import load_tokenizer, max_model_len_of
from moli.models.weights.loading import folder_of, runs_locally
from moli.models.weights.lora import read_adapter
from moli.models.weights.reference import ModelReference
from moli.records.errors import InputError, ModelError
from moli.records.generation import Delta, OutputConstraint, Request, Sampling
from moli.records.messages import Message
from moli.workspace import Workspace

pytest.importorskip("llama_cpp", reason="pip install 'moli[gguf]'")

from models.engine.small import adapt
from models.gguf_files import write_gguf

from moli.models.gguf.runner import load_llama_cpp_runner

STARTER = "builtin:starter"
KINDS = ("starter", "grouped", "mamba")
TOKENS = 20
TEXTS = (
    "The sea was calm, and 27 boats lay in the harbour.",
    "  two spaces,\n\n\tand it's not \"I'll\"   done ",
    "北京的冬天很冷，但是没有下雪。「你好」",
    "naïve façade 🙂🙃 Ünïcödé 12,345.67",
    "<|im_start|>user\nHello<|im_end|>\n<|endoftext|><|im_start",
    "",
)


class Truth:
    """transformers, in 32 bits."""

    def __init__(self, folder: str) -> None:
        from transformers import AutoModelForCausalLM

        self._model: Any = AutoModelForCausalLM.from_pretrained(folder).float().eval()
        self._known: dict[tuple[int, ...], list[int]] = {}

    @torch.inference_mode()
    def greedy(self, ids: list[int], tokens: int = TOKENS) -> tuple[int, ...]:
        """The next tokens, with no end at stop tokens."""
        known = self._known.setdefault(tuple(ids), [])
        if len(known) < tokens:
            options: Any = {"max_new_tokens": tokens, "do_sample": False, "eos_token_id": None}
            whole = self._model.generate(torch.tensor([ids]), pad_token_id=0, **options)
            known[:] = whole[0, len(ids) :].tolist()
        return tuple(known[:tokens])

    @torch.inference_mode()
    def logprobs(self, ids: list[int], written: tuple[int, ...]) -> torch.Tensor:
        """Log probabilities of every token at every position of an answer, [tokens, V]."""
        logits = self._model(torch.tensor([[*ids, *written]])).logits[0]
        return logits[len(ids) - 1 : -1].log_softmax(-1)


class Case:
    """A model as a file and as transformers has it."""

    def __init__(self, folder: str, file: Path) -> None:
        self.folder, self.name = folder, str(write_gguf(folder, file))
        self.reference = f"gguf:{self.name}"
        self.truth = Truth(folder)

    def engine(self, **options: Any) -> Engine:
        tokenizer = load_tokenizer(self.reference)
        return Engine(
            load_llama_cpp_runner(self.name), tokenizer, **{"max_model_len": 256} | options
        )


def random_model(kind: str, folder: Path) -> str:
    """A small one with the starter's tokenizer; weights larger than at a training's start."""
    import transformers

    torch.manual_seed(0)
    shape: Any = {"vocab_size": 8192, "hidden_size": 32, "num_hidden_layers": 2}
    if kind == "mamba":
        config: Any = transformers.MambaConfig(
            **shape, state_size=8, eos_token_id=2, bos_token_id=0
        )
    else:
        config = transformers.LlamaConfig(
            **shape, intermediate_size=48, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=4096, rope_theta=500.0, eos_token_id=2, bos_token_id=0,
        )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1 and "norm" not in name and "A_log" not in name:
                weight.normal_(0, 0.25)
    model.save_pretrained(folder)
    load_tokenizer(STARTER).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def case_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    made: dict[str, Case] = {}

    def case(kind: str) -> Case:
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            base = folder_of(STARTER) if kind == "starter" else random_model(kind, folder)
            made[kind] = Case(base, folder / f"{kind}.gguf")
        return made[kind]

    return case


@pytest.fixture
def starter(case_of: Callable[[str], Case]) -> Case:
    return case_of("starter")


def prompts(count: int = 9) -> list[list[int]]:
    """Prompts of 1 to 40 tokens, some of which begin alike."""
    draw = random.Random(0)
    common = draw.choices(range(4, 8192), k=12)
    rows = [draw.choices(range(4, 8192), k=draw.randint(1, 28)) for _ in range(count)]
    return [common + row if n % 3 == 0 else row for n, row in enumerate(rows)]


def greedy(ids: list[int], tokens: int = TOKENS) -> Request:
    return Request(ids, Sampling(max_tokens=tokens, ignore_eos=True))


def written(deltas: list[Delta]) -> tuple[int, ...]:
    return tuple(token for each in deltas for token in each.ids)


# The tokenizer


@pytest.mark.slow
@pytest.mark.parametrize("text", TEXTS)
def test_tokens_are_those_of_transformers(starter: Case, text: str) -> None:
    ours, theirs = load_tokenizer(starter.reference), load_tokenizer(STARTER)
    ids = ours(text, add_special_tokens=False, verbose=False)["input_ids"]
    assert ids == theirs(text, add_special_tokens=False)["input_ids"]
    for skip in (False, True):
        assert ours.decode(ids, skip_special_tokens=skip) == theirs.decode(
            ids, skip_special_tokens=skip
        )
    # As in an answer that is cut within a character.
    assert ours.decode(ids[:-1]) == theirs.decode(ids[:-1])


def test_a_conversation_is_written_as_transformers_writes_it(starter: Case) -> None:
    ours, theirs = load_tokenizer(starter.reference), load_tokenizer(STARTER)
    talk = [{"role": "user", "content": "你好, sea"}, {"role": "assistant", "content": "Hm."}]
    options: Any = {"tokenize": False, "add_generation_prompt": True}
    assert ours.apply_chat_template(talk, **options) == theirs.apply_chat_template(talk, **options)
    assert ours.get_chat_template(tools=[{}]) == theirs.get_chat_template(tools=[{}])
    for name in ("eos_token", "eos_token_id", "bos_token", "bos_token_id", "pad_token_id"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert len(ours) == len(theirs)
    assert ours.get_added_vocab() == theirs.get_added_vocab()
    assert max_model_len_of(starter.reference, ours) == 2048


# The engine


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_greedy_answers_are_those_of_transformers(
    case_of: Callable[[str], Case], kind: str
) -> None:
    case = case_of(kind)
    expected = [case.truth.greedy(ids) for ids in prompts()]
    requests = [greedy(ids) for ids in prompts()]
    alone = case.engine(max_num_seqs=1, prefix_slots=0)
    assert [alone.complete([each])[0].ids for each in requests] == expected
    # Together, more than have room at once, prompts read in pieces, and again from what is kept.
    many = case.engine(max_num_seqs=4, prefix_slots=2, max_prefill_tokens=7)
    for _ in range(2):
        answers = many.complete(requests)
        assert [each.ids for each in answers] == expected
    # What came after the beginning of another row cannot be taken out of a state of Mamba's.
    assert (sum(each.cached_tokens for each in answers) > 0) == (kind != "mamba")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_conversation_that_goes_on_is_not_read_anew(
    case_of: Callable[[str], Case], kind: str
) -> None:
    case = case_of(kind)
    engine = case.engine(max_num_seqs=2, prefix_slots=2)
    ids = prompts()[0]
    [answer] = engine.complete([greedy(ids)])
    longer = [*ids, *answer.ids, 17, 18, 19]
    [more] = engine.complete([greedy(longer)])
    assert more.cached_tokens == len(ids) + TOKENS - 1  # the last token was told, and not read
    assert more.ids == case.truth.greedy(longer)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["grouped", "mamba"])
def test_a_long_row_among_short_ones(case_of: Callable[[str], Case], kind: str) -> None:
    """More memory is taken for it, into which what the others have read goes along."""
    case = case_of(kind)
    engine = case.engine(max_num_seqs=4, prefix_slots=2, max_model_len=4096)
    long = [token for row in prompts(200) for token in row][:2200]
    short = [greedy(ids, 60) for ids in prompts()[:3]]
    deltas_of: list[list[Delta]] = [[] for _ in short]
    for request, deltas in zip(short, deltas_of, strict=True):
        engine.submit(request, deltas.append)
    for _ in range(10):
        engine.step()
    [answer] = engine.complete([greedy(long)])
    assert answer.ids == case.truth.greedy(long)
    while engine.step():
        pass
    assert [written(deltas) for deltas in deltas_of] == [
        case.truth.greedy(list(request.ids), 60) for request in short
    ]
    again = engine.complete([greedy(long)])[0]
    assert again.ids == answer.ids


@pytest.mark.slow
def test_rows_wait_for_memory_and_answer_the_same(starter: Case) -> None:
    place = starter.engine().runner.kv_bytes_per_token
    assert 0 <= place - 2 * 5 * 4 * 64 * 4 < 64  # keys and values, layers, heads, sizes, float32
    tight = starter.engine(max_num_seqs=8, prefix_slots=4, kv_cache_bytes=3 * 256 * place)
    deltas_of: list[list[Delta]] = [[] for _ in prompts()]
    for ids, deltas in zip(prompts(), deltas_of, strict=True):
        tight.submit(greedy(ids), deltas.append)
    most = 0
    while tight.step():
        most = max(most, tight.running_requests)
    assert most == 3
    assert [written(deltas) for deltas in deltas_of] == [
        starter.truth.greedy(ids) for ids in prompts()
    ]
    with pytest.raises(InputError, match="do not fit in the memory"):
        starter.engine(kv_cache_bytes=255 * place).submit(greedy([5]), [].append)


@pytest.mark.slow
def test_a_row_may_need_the_memory_of_all_that_is_kept(case_of: Callable[[str], Case]) -> None:
    case = case_of("grouped")
    place = case.engine().runner.kv_bytes_per_token
    engine = case.engine(max_num_seqs=4, max_model_len=1024, kv_cache_bytes=1024 * place)
    many = [token for row in prompts(200) for token in row]
    short = [many[at : at + 230] for at in range(0, 920, 230)]
    long = many[920:1920]
    for rows in (short, [long], short):
        answers = engine.complete([greedy(ids) for ids in rows])
        assert [each.ids for each in answers] == [case.truth.greedy(ids) for ids in rows]


@pytest.mark.slow
def test_rows_that_come_and_go_harm_no_others(case_of: Callable[[str], Case]) -> None:
    case, draw = case_of("grouped"), random.Random(1)
    engine = case.engine(max_num_seqs=3, prefix_slots=2, max_model_len=600, max_prefill_tokens=16)
    rows: list[tuple[Any, list[int], list[Delta]]] = []
    for _ in range(60):
        ids = draw.choice(prompts()) + draw.choices(range(4, 9), k=draw.randint(0, 2))
        deltas: list[Delta] = []
        rows.append((engine.submit(greedy(ids, draw.choice((3, 20))), deltas.append), ids, deltas))
        for _ in range(draw.randint(0, 6)):
            engine.step()
        if draw.random() < 0.3:
            draw.choice(rows)[0].cancel()
    while engine.step():
        pass
    reasons = [row.reason for row, _, _ in rows]
    assert reasons.count("cancelled") > 5 and reasons.count("length") > 20
    for _, ids, deltas in rows:
        got = written(deltas)
        assert got == case.truth.greedy(ids)[: len(got)]


def test_logprobs_are_those_of_transformers(starter: Case) -> None:
    ids = load_tokenizer(STARTER)("Once there lived a")["input_ids"]
    sampling = Sampling(10, 1.5, seed=5, repetition_penalty=1.3, logprobs=3, ignore_eos=True)
    [answer] = starter.engine().complete([Request(ids, sampling)])
    expected = starter.truth.logprobs(ids, answer.ids)
    own = expected[range(len(answer.ids)), list(answer.ids)]
    torch.testing.assert_close(torch.tensor(answer.logprobs), own, atol=1e-4, rtol=0)
    top = expected.topk(3)
    assert [[each.id for each in row] for row in answer.alternatives] == top.indices.tolist()


@pytest.mark.slow
def test_a_seed_gives_the_same_answer_alone_and_in_company(starter: Case) -> None:
    drawing = starter.engine(max_num_seqs=4)
    seeded = Request(prompts()[0], Sampling(TOKENS, 1.0, seed=7, ignore_eos=True))
    others = [Request(ids, Sampling(9, 2.0)) for ids in prompts()]
    alone = drawing.complete([seeded])[0].ids
    assert drawing.complete([*others, seeded, seeded])[-1].ids == alone
    assert drawing.complete([Request(seeded.ids, Sampling(TOKENS, 1.0, seed=8))])[0].ids != alone


def test_stop_texts_and_stop_tokens_end_an_answer(starter: Case) -> None:
    engine, tokenizer = starter.engine(), load_tokenizer(STARTER)
    ids = tokenizer("The sea was")["input_ids"]
    [whole] = engine.complete([greedy(ids)])
    assert whole.text == tokenizer.decode(whole.ids, skip_special_tokens=True)
    stop = whole.text[14:19]
    [cut] = engine.complete([Request(ids, Sampling(TOKENS, stop=(stop,), ignore_eos=True))])
    assert cut.text == whole.text[: whole.text.index(stop)] and cut.reason == "stop"
    # As the starter's settings for generation have them.
    assert engine.runner.stop_token_ids == {0, 2}
    ended = Sampling(TOKENS, constraint=OutputConstraint(regex="yes"))
    [answer] = engine.complete([Request(ids, ended)])
    assert (answer.text, answer.reason) == ("yes", "stop") and answer.ids[-1] in (0, 2)


def test_an_answer_has_the_form_that_was_asked_for(starter: Case) -> None:
    schema = {
        "type": "object",
        "properties": {"sound": {"enum": ["loud", "quiet"]}, "often": {"type": "boolean"}},
        "required": ["sound", "often"],
        "additionalProperties": False,
    }
    ids = prompts()[0]
    forms = (
        OutputConstraint(schema=json.dumps(schema)),
        OutputConstraint(regex="[0-9]{4}-(spring|autumn) 北京"),
    )
    described, dated = starter.engine().complete(
        [Request(ids, Sampling(60, constraint=f)) for f in forms]
    )
    assert set(json.loads(described.text)) == {"sound", "often"}
    assert dated.text[4:] in ("-spring 北京", "-autumn 北京")
    assert (described.reason, dated.reason) == ("stop", "stop")


def test_adapters_and_other_weights_are_refused(
    case_of: Callable[[str], Case], tmp_path: Path
) -> None:
    case = case_of("grouped")
    engine = case.engine()
    adapter = read_adapter(adapt(case.folder, tmp_path, seed=1), "bear", engine.runner.dtype)
    with pytest.raises(ModelError, match="takes no adapters"):
        engine.add_adapter(adapter)
    with pytest.raises(ModelError, match="cannot be changed"):
        engine.update_weights({})


# Models by their references


def test_a_reference_names_a_file() -> None:
    assert ModelReference.parse("gguf:a b/c:1.gguf") == ModelReference("gguf", "a b/c:1.gguf")


@pytest.mark.slow
def test_a_chat_model_answers(starter: Case) -> None:
    chat = load_chat(starter.reference)
    answer = chat.complete((Message("user", TALK[0]["content"]),), max_tokens=12)
    tokenizer = load_tokenizer(STARTER)
    talk = tokenizer.apply_chat_template(TALK, tokenize=False, add_generation_prompt=True)
    expected = starter.truth.greedy(tokenizer(talk)["input_ids"], 12)
    assert answer == tokenizer.decode(expected, skip_special_tokens=True).strip()
    assert chat.template_sha256 == load_chat(STARTER).template_sha256


def test_a_file_that_cannot_be_run_is_refused(starter: Case, tmp_path: Path) -> None:
    def refused(what: str, name: Path | str) -> None:
        for load in (load_chat, runs_locally):
            with pytest.raises(ModelError, match=what):
                load(f"gguf:{name}")

    refused("no such file", tmp_path / "none.gguf")
    refused("a folder", tmp_path)
    text = tmp_path / "text.gguf"
    text.write_text("GGML")
    refused("not a GGUF file", text)
    half = tmp_path / "half.gguf"
    half.write_bytes(Path(starter.name).read_bytes()[: 1 << 20])
    with pytest.raises(ModelError, match="cannot load it"):
        load_chat(f"gguf:{half}")
    huge = tmp_path / "huge.gguf"  # it takes no place: nothing is written to most of it
    with huge.open("wb") as file:
        file.write(Path(starter.name).read_bytes())
        file.truncate(1 << 43)
    with pytest.raises(ModelError, match=r"needs 8796\.1 GB of memory"):
        load_chat(f"gguf:{huge}")
    with pytest.raises(ModelError, match="not a folder of transformers"):
        folder_of(starter.reference)
    with pytest.raises(ModelError, match="encoders run locally"):
        load_encoder(starter.reference)


def test_without_llama_cpp_python_it_is_said_how_to_have_it(
    starter: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp", None)  # as if it were not installed
    with pytest.raises(ModelError, match=r"pip install 'moli\[gguf\]'.*C\+\+ compiler"):
        runs_locally(starter.reference)


# Over the API


@pytest.fixture(scope="module")
def client(case_of: Callable[[str], Case], tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("served")
    model = case_of("starter").reference
    (folder / "moli.toml").write_text(f'encoder = "scripted:hash"\nmodel = "{model}"\n')
    with Workspace.init(folder) as made, serving(made) as address:
        yield OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)


@pytest.mark.slow
def test_it_is_served(starter: Case, client: OpenAI) -> None:
    body: Any = {"model": starter.reference, "messages": TALK, "temperature": 0, "max_tokens": 20}
    assert starter.reference in [each.id for each in client.models.list()]
    whole = client.chat.completions.create(**body, logprobs=True)
    tokenizer = load_tokenizer(STARTER)
    talk = tokenizer.apply_chat_template(TALK, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(talk)["input_ids"]
    expected = starter.truth.greedy(ids)
    text = tokenizer.decode(expected, skip_special_tokens=True)
    assert whole.choices[0].message.content == text
    assert whole.usage and whole.usage.prompt_tokens == len(ids)
    logprobs = whole.choices[0].logprobs
    assert (
        logprobs and logprobs.content and "".join(each.token for each in logprobs.content) == text
    )
    parts = list(client.chat.completions.create(**body, stream=True))
    assert "".join(each.choices[0].delta.content or "" for each in parts) == text


@pytest.mark.slow
def test_several_answers_of_a_form_from_a_seed(starter: Case, client: OpenAI) -> None:
    schema: Any = {
        "type": "json_schema",
        "json_schema": {"name": "mood", "schema": {"enum": ["glad", "sad", "calm", "wild"]}},
    }
    body: Any = {"model": starter.reference, "messages": TALK, "n": 2, "seed": 3, "max_tokens": 30}
    for form in ({}, {"response_format": schema}):
        one, again = (client.chat.completions.create(**body, **form) for _ in range(2))
        contents = [each.message.content for each in one.choices]
        assert contents == [each.message.content for each in again.choices]
        assert len(contents) == 2
    assert all(json.loads(str(each)) in ("glad", "sad", "calm", "wild") for each in contents)
