"""What tuned language models write to rows: the same as transformers and peft, one at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from training import small_models
from training.stored_models import train_and_store

from moli.models.hardware.probe import Machine
from moli.records.errors import InputError
from moli.records.examples import Conversation, Text
from moli.records.messages import Message
from moli.training.inference import Progress
from moli.training.trained.load import load_trained
from moli.training.trained.predict import loaded_model, predict, read_text, read_unanswered
from moli.workspace.content import StoredModel
from moli.workspace.shipped import shipped

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def in_full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bfloat16, which some machines are faster with, close calls would go either way."""
    slow = Machine("cpu", 1, {"bf16": 1.0, "fp32": 1.0}, 1 << 34)
    monkeypatch.setattr("moli.models.engine.transformers_runner.probe", lambda: slow)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("writing")
    small_models.write_model(root / "base", "llama")
    small_models.write_conversations(root / "data.jsonl", 40)
    return root


@pytest.fixture(scope="module", params=["lora", "full"])
def stored(root: Path, request: pytest.FixtureRequest) -> StoredModel:
    return train_and_store(
        root / "home",
        root / "data.jsonl",
        str(root / "base"),
        task="instruction",
        method=request.param,
        epochs=4,
    )


def talks(root: Path) -> list[list[dict[str, str]]]:
    lines = (root / "data.jsonl").read_text().splitlines()
    return [json.loads(line)["messages"] for line in lines]


def turns_of(talk: list[dict[str, str]]) -> list[Message]:
    return [Message("user", each["content"]) for each in talk]


def token_by_token(stored: StoredModel, example: Conversation, most: int) -> str:
    trained = load_trained(stored)
    task: Any = trained.task
    ids = task.prompt_tokens(example)
    begun = len(ids)
    while len(ids) < begun + most and (begun == len(ids) or ids[-1] != task.tokenizer.eos_token_id):
        with torch.inference_mode():
            ids.append(int(trained.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    return str(task.tokenizer.decode(ids[begun:], skip_special_tokens=True)).strip()


def by_hand(stored: StoredModel, base: Path, talk: list[dict[str, str]], most: int) -> str:
    """The answer to a conversation by plain transformers and peft."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(stored.folder)
    full = stored.manifest.method == "full"
    model: Any = AutoModelForCausalLM.from_pretrained(stored.folder if full else base)
    if not full:
        model = PeftModel.from_pretrained(model, str(stored.folder))
    text = tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        answers = model.eval().generate(input_ids=ids, max_new_tokens=most, do_sample=False)
    return str(tokenizer.decode(answers[0, ids.shape[1] :], skip_special_tokens=True)).strip()


def test_answers_are_those_of_transformers(root: Path, stored: StoredModel) -> None:
    prompts = [talk[:-1] for talk in talks(root)[:20]]
    rows = root / "asked.jsonl"
    rows.write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in prompts))
    progress: list[Progress] = []
    with loaded_model(stored) as generator:
        read = read_unanswered(generator, rows)
        assert len(read.examples) == len(prompts) and not read.malformed
        examples = [each.example for each in read.examples]
        answers = predict(generator, examples, max_tokens=8, on_progress=progress.append)
        # One that has its answer is asked the same.
        again = predict(
            generator,
            [
                each.example
                for each in read_unanswered(generator, root / "data.jsonl").examples[:20]
            ],
            max_tokens=8,
        )
    assert [each["answer"] for each in answers] == [
        by_hand(stored, root / "base", talk, 8) for talk in prompts
    ]
    assert again == answers
    assert {each["finish_reason"] for each in answers} <= {"stop", "length"}
    assert progress[-1].share == 1 and progress[-1].tokens >= len(answers)


@pytest.mark.parametrize("method", ["dora", "adapter", "prefix", "prompt"])
def test_what_the_engine_does_not_run_writes_too(root: Path, method: str) -> None:
    data = root / "data.jsonl"
    settings = {"task": "instruction", "method": method, "epochs": 4}
    kept = train_and_store(root / "home", data, str(root / "base"), **settings)
    prompts = [talk[:-1] for talk in talks(root)[:3]]
    examples = [Conversation((*turns_of(talk), Message("assistant", "?"))) for talk in prompts]
    progress: list[Progress] = []
    with loaded_model(kept) as generator:
        answers = predict(generator, examples, max_tokens=6, on_progress=progress.append)
    # PEFT does not know bottlenecks: they are asked for each token by itself.
    expected = [
        token_by_token(kept, example, 6)
        if method == "adapter"
        else by_hand(kept, root / "base", talk, 6)
        for example, talk in zip(examples, prompts, strict=True)
    ]
    assert [each["answer"] for each in answers] == expected
    assert {each["finish_reason"] for each in answers} <= {"stop", "length"}
    assert progress[-1].share == 1


def test_other_shapes_of_rows_are_asked_too(root: Path, stored: StoredModel) -> None:
    words = talks(root)[0][0]["content"]
    turns = [{"from": "human", "value": words}]
    (root / "pairs.csv").write_text(f"prompt\n{words}\n")
    (root / "lines.txt").write_text(f"{words}\n")
    (root / "alpaca.jsonl").write_text(json.dumps({"instruction": words}) + "\n")
    (root / "sharegpt.jsonl").write_text(json.dumps({"conversations": turns}) + "\n")
    (root / "bad.jsonl").write_text(
        "".join(
            json.dumps({"messages": each}) + "\n"
            for each in ([{"role": "user", "content": words}], [{"role": "user"}], [])
        )
    )
    with loaded_model(stored) as generator:
        expected = predict(generator, [read_text(generator, words)], max_tokens=6)
        for name in ("pairs.csv", "lines.txt", "alpaca.jsonl", "sharegpt.jsonl"):
            [output] = read_unanswered(generator, root / name).examples
            assert predict(generator, [output.example], max_tokens=6) == expected, name
        read = read_unanswered(generator, root / "bad.jsonl")
        assert predict(generator, [read.examples[0].example], max_tokens=6) == expected
        assert [each.where.rpartition(":")[2] for each in read.malformed] == ["2", "3"]
        # Of what is too long for the model's 64 places the end is kept.
        [long] = predict(generator, [read_text(generator, " ".join(["w1"] * 100))], max_tokens=50)
        assert long["cut"] == 100 + 3 - 32
        with pytest.raises(InputError, match="no rows to answer"):
            (root / "none.jsonl").write_text("")
            read_unanswered(generator, root / "none.jsonl")


def test_a_text_is_gone_on_with() -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    stored = shipped("builtin:starter")
    text = "It was a dark and stormy night, and"
    with loaded_model(stored) as generator:
        assert read_text(generator, text) == Text(text)
        [answers] = predict(generator, [Text(text)], max_tokens=16)
    tokenizer = AutoTokenizer.from_pretrained(stored.folder)
    model: Any = AutoModelForCausalLM.from_pretrained(stored.folder)
    marked = tokenizer(tokenizer.bos_token + text, add_special_tokens=False, return_tensors="pt")
    ids = marked["input_ids"]
    output = model.generate(input_ids=ids, max_new_tokens=16, do_sample=False)[0, ids.shape[1] :]
    assert answers["answer"] == tokenizer.decode(output, skip_special_tokens=True).strip()
    assert answers["finish_reason"] == "length"
