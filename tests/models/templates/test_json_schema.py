"""Schemas are rewritten so that more of them can be followed, and values still fit the original."""

from __future__ import annotations

import json
from typing import Any

import pytest
from llguidance import LLMatcher
from llguidance.hf import from_tokenizer

from moli.models.engine.grammar import GrammarCompiler
from moli.models.templates.json_schema import JSON_WHITESPACE, arguments_schema, followable_schema
from moli.models.tokenizers import load_tokenizer
from moli.records.errors import InputError
from moli.records.generation import OutputConstraint
from moli.records.messages import Tool

WHOLE = {"type": "integer"}
CAT = {"type": "object", "properties": {"kind": {"const": "cat"}, "lives": WHOLE}}
NAMED = {"kind": {"enum": ["dog", "wolf"]}, "name": {"type": "string"}}
DEFINED = {"cat": CAT, "dog": {"type": "object", "properties": NAMED}}
PETS = {"oneOf": [{"$ref": "#/$defs/cat"}, {"$ref": "#/$defs/dog"}], "$defs": DEFINED}
SMALL = {"type": "integer", "minimum": 0, "maximum": 9}
LARGE = {"type": "integer", "minimum": 100, "maximum": 199}
BELOW_TEN = {"type": "number", "exclusiveMaximum": 10}
OPEN = {"type": "object", "properties": {"a": WHOLE}, "additionalProperties": True}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer("builtin:starter")


def accepts(tokenizer: Any, schema: Any, value: Any, *, strict: bool = False) -> bool:
    """Whether a value can be written by the rewritten schema."""
    own = from_tokenizer(tokenizer)
    rewritten = json.dumps(followable_schema(schema, strict=strict))
    matcher = LLMatcher(own, LLMatcher.grammar_from_json_schema(rewritten, JSON_WHITESPACE))
    assert not matcher.is_error(), matcher.get_error()
    tokens = own.tokenize_str(json.dumps(value, ensure_ascii=False))
    return bool(matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        (PETS, {"kind": "cat", "lives": 9}, {"kind": "dog", "lives": 9}),
        (PETS, {"kind": "wolf", "name": "Ida"}, {"name": "Ida"}),  # which of them would it be?
        ({"properties": {"pet": PETS}, "$defs": DEFINED}, {"pet": {"kind": "cat"}}, {"pet": 1}),
        ({"oneOf": [WHOLE, {"type": "null"}]}, None, "x"),
        ({"oneOf": [SMALL, LARGE]}, 150, 50),
        ({"oneOf": [LARGE, SMALL]}, 9, 10),
        ({"oneOf": [BELOW_TEN, {"type": "number", "minimum": 10}]}, 10, "x"),
        ({"oneOf": [{"const": "a"}, {"const": "b"}]}, "b", "c"),
        ({"type": "array", "items": WHOLE, "uniqueItems": False}, [1, 1], ["x"]),
        ({"type": "string", "format": "password"}, "x", 1),
        ({"properties": {"format": WHOLE, "uniqueItems": WHOLE}}, {"format": 1}, {"format": "x"}),
        ({"type": "object"}, {"a": 1}, 1),
        ({"properties": {"a": WHOLE}}, {"a": 1}, {"a": 1, "b": 1}),
        ({"properties": {"a": WHOLE}, "additionalProperties": True}, {"b": 1}, {"a": "x"}),
        ({"properties": {"a": {"properties": {"b": WHOLE}}}}, {"a": {}}, {"a": {"c": 1}}),
        (
            {"allOf": [{"properties": {"a": WHOLE}}, {"properties": {"b": WHOLE}}]},
            {"a": 1, "b": 2},
            {"a": "x"},
        ),
        (
            {"properties": {"a": WHOLE}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
            {"a": 1},
            {"a": "x"},
        ),
    ],
)  # fmt: skip
def test_values_fit_the_schema(tokenizer: Any, schema: Any, right: Any, wrong: Any) -> None:
    assert accepts(tokenizer, schema, right)
    assert not accepts(tokenizer, schema, wrong)


@pytest.mark.slow
def test_strict_objects_have_what_is_listed_and_nothing_else(tokenizer: Any) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "object"}, "b": {"anyOf": [CAT, WHOLE]}},
    }
    assert accepts(tokenizer, schema, {"a": {"any": 1}})
    assert not accepts(tokenizer, schema, {"a": {"any": 1}}, strict=True)
    assert accepts(tokenizer, schema, {"a": {}, "b": {"kind": "cat"}}, strict=True)
    assert not accepts(tokenizer, schema, {"b": {"kind": "cat", "age": 1}}, strict=True)


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "array", "contains": WHOLE}, "contains"),
        ({"not": WHOLE}, "not"),
        ({"if": WHOLE}, "if"),
        ({"type": "object", "propertyNames": {"pattern": "a"}}, "propertyNames"),
        ({"type": "object", "dependentRequired": {"a": ["b"]}}, "dependentRequired"),
        ({"type": "object", "unevaluatedProperties": False}, "unevaluatedProperties"),
        ({**OPEN, "minProperties": 1}, "min/maxProperties"),
        ({"oneOf": [WHOLE, {"type": "number"}]}, "oneOf"),
        ({"oneOf": [SMALL, {"type": "integer", "minimum": 9}]}, "oneOf"),
        ({"type": "string", "pattern": "(?=a)b"}, "look-ahead"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_name(
    tokenizer: Any, schema: Any, named: str
) -> None:
    text = json.dumps(followable_schema(schema))
    grammars = GrammarCompiler(tokenizer, [tokenizer.eos_token_id])
    with pytest.raises(InputError, match=named):
        grammars.start(OutputConstraint(schema=text))


def test_a_tool_says_whether_it_is_strict() -> None:
    free = {"properties": {"a": {"type": "object"}}}
    inner = arguments_schema(Tool("look", "", free))["properties"]["a"]
    assert "additionalProperties" not in inner
    assert arguments_schema(Tool("look", "", free, strict=True))["properties"]["a"] == {
        "type": "object",
        "additionalProperties": False,
    }
