"""Answers have the form that was asked for, whatever the model would have said."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from moli.models.engine.engine import Engine
from moli.models.engine.transformers_runner import load_transformers_runner
from moli.models.templates.json_schema import lark_json
from moli.models.tokenizers import load_tokenizer
from moli.records.errors import InputError
from moli.records.generation import OutputConstraint, Request, Sampling

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "mood": {"enum": ["glad", "sad"]},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
    },
    "required": ["name", "mood", "age"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def starter() -> Engine:
    name = "builtin:starter"
    return Engine(load_transformers_runner(name), load_tokenizer(name), max_num_seqs=8)


def answers(engine: Engine, form: OutputConstraint, tokens: int = 80) -> list[str]:
    ids = load_tokenizer("builtin:starter")("The old man said:")["input_ids"]
    drawn = [Sampling(tokens, 1.0, seed=n, constraint=form) for n in range(6)]
    requests = [Request(ids, each) for each in (Sampling(tokens, constraint=form), *drawn)]
    completions = engine.complete([*requests, Request(ids, Sampling(5))])[:-1]
    assert all(each.reason == "stop" for each in completions)
    return [each.text for each in completions]


@pytest.mark.slow
def test_a_schema_is_kept(starter: Engine) -> None:
    for text in answers(starter, OutputConstraint(schema=json.dumps(SCHEMA))):
        value = json.loads(text)
        assert set(value) == {"name", "mood", "age"}
        assert len(value["name"]) <= 8 and value["mood"] in ("glad", "sad")
        assert isinstance(value["age"], int) and 0 <= value["age"] <= 120


def test_an_expression_is_kept(starter: Engine) -> None:
    pattern = r"(Mr|Mrs) [A-Z][a-z]{2,6}, aged [1-9][0-9]?"
    texts = answers(starter, OutputConstraint(regex=pattern))
    assert all(re.fullmatch(pattern, text) for text in texts)
    assert len(set(texts)) > 1


@pytest.mark.slow
def test_a_grammar_is_kept_and_a_schema_in_it(starter: Engine) -> None:
    bits = {"type": "array", "items": {"enum": [0, 1]}, "minItems": 2, "maxItems": 3}
    schema = {"properties": {"a": bits, "b": bits}, "required": ["a", "b"]}
    closed = {"type": "object", **schema, "additionalProperties": False}
    for text in answers(
        starter, OutputConstraint(lark=f'start: ("1: " | "2: ") {lark_json(closed)} "!"')
    ):
        head, body = text[:3], text[3:-1]
        assert head in ("1: ", "2: ") and text[-1] == "!"
        value = json.loads(body)
        assert body == json.dumps(value)  # its spaces, too
        assert list(value) == ["a", "b"]
        assert all(2 <= len(each) <= 3 and set(each) <= {0, 1} for each in value.values())


@pytest.mark.parametrize(
    "form",
    [
        OutputConstraint(schema='{"type": "thing"}'),
        OutputConstraint(schema="{"),
        OutputConstraint(regex="(unclosed"),
        OutputConstraint(lark="start: nothing"),
        OutputConstraint(lark='start: %json {"type": "thing"}'),
    ],
)
def test_a_form_that_is_none_is_refused(starter: Engine, form: OutputConstraint) -> None:
    with pytest.raises(InputError, match="cannot be followed"):
        starter.submit(Request([5], Sampling(constraint=form)), lambda _: None)


def test_an_answer_that_has_no_room_for_its_form_is_cut(tmp_path: Path, starter: Engine) -> None:
    sampling = Sampling(3, constraint=OutputConstraint(schema=json.dumps(SCHEMA)))
    [answer] = starter.complete([Request([5, 6], sampling)])
    assert answer.reason == "length" and answer.text.startswith("{")
