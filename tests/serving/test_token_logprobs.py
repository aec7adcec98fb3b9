"""Tokens have the bytes that they add to the text, and their place in it."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moli.models.engine.detokenizer import Detokenizer
from moli.models.tokenizers import load_tokenizer, token_bytes_of
from moli.records.generation import ScoredToken, TokenLogprob
from moli.serving.token_logprobs import PlacedToken, TokenPlacer

TOKENIZER = load_tokenizer("builtin:starter")
END = TOKENIZER.eos_token_id


def place(ids: list[int], stop: tuple[str, ...] = (), *, ended: bool = False) -> Any:
    """The text of tokens as the engine passes it on, and the tokens as they are placed."""
    detokenizer, placer = (
        Detokenizer(TOKENIZER, stop),
        TokenPlacer(TOKENIZER, token_bytes_of(TOKENIZER)),
    )
    text, placed = "", list[PlacedToken]()
    for number, token in enumerate(ids):
        part = detokenizer.push(token) if token != END else ""
        is_last = detokenizer.stopped or number == len(ids) - 1
        part += detokenizer.finish() if is_last else ""
        reason = ("stop" if ended or detokenizer.stopped else "length") if is_last else ""
        text += part
        placed += placer.feed(part, [ScoredToken(token, -1.0)], reason)
        if is_last:
            break
    return text, placed


@given(st.text("aé é你好👋🏽\n ", max_size=20))
def test_the_bytes_are_the_text(text: str) -> None:
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    whole, placed = place(ids)
    assert whole == text and len(placed) == len(ids)
    assert b"".join(each.data for each in placed).decode() == text
    for each in placed:
        assert text.encode().startswith(each.data, len(text[: each.offset].encode())) or (
            b"\\x" in each.token.encode()  # it begins inside a character
        )


def test_a_token_that_ends_the_answer_has_no_bytes() -> None:
    ids = TOKENIZER("the sea", add_special_tokens=False)["input_ids"]
    text, placed = place([*ids, END], ended=True)
    assert [each.data for each in placed[-1:]] == [b""]
    assert placed[-1].token == TOKENIZER.eos_token and placed[-1].offset == len(text) == 7


@pytest.mark.parametrize("stop", ["sea", "ea", " sea and", "好", "nowhere"])
def test_tokens_of_a_stop_sequence_are_left_out(stop: str) -> None:
    ids = TOKENIZER("the sea and 你好 the land", add_special_tokens=False)["input_ids"]
    text, placed = place(ids, (stop,))
    assert b"".join(each.data for each in placed).decode() == text


def test_bytes_that_are_no_text_stay_bytes() -> None:
    ids = TOKENIZER("a你b", add_special_tokens=False)["input_ids"]
    broken = [ids[0], ids[1], *ids[-1:]]  # the first byte of a character alone
    text, placed = place(broken)
    assert text == "a\N{REPLACEMENT CHARACTER}b"
    assert [each.data for each in placed] == [b"a", "你".encode()[:1], b"b"]
    assert placed[1].token == "\\xe4"


def test_a_token_is_among_the_likeliest() -> None:
    [a, b] = (TOKENIZER(text, add_special_tokens=False)["input_ids"][0] for text in "ab")
    placer = TokenPlacer(TOKENIZER, token_bytes_of(TOKENIZER))
    likeliest = (TokenLogprob(b, math.log(0.5)),)
    [placed] = placer.feed("a", [ScoredToken(a, math.log(0.1), likeliest)])
    assert placed.ranked == {"b": math.log(0.5), "a": math.log(0.1)}
    [first] = TokenPlacer(TOKENIZER, token_bytes_of(TOKENIZER)).feed("a", [ScoredToken(a, None)])
    assert first.ranked is None
