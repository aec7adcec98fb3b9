"""Text as it comes adds up to the text as a whole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from moli.models.engine.detokenizer import Detokenizer
from moli.models.tokenizers import load_tokenizer

TOKENIZER = load_tokenizer("builtin:starter")


@given(st.text(max_size=40))
def test_what_is_told_adds_up_to_the_text(text: str) -> None:
    ids = TOKENIZER(text)["input_ids"]
    detokenizer = Detokenizer(TOKENIZER)
    text_so_far = [detokenizer.push(token_id) for token_id in ids]
    assert "".join(text_so_far) + detokenizer.finish() == TOKENIZER.decode(
        ids, skip_special_tokens=True
    )
    assert not any("\N{REPLACEMENT CHARACTER}" in each for each in text_so_far) or "\ufffd" in text


@given(st.text("ab", max_size=12), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3))
def test_nothing_of_a_stop_text_is_told(text: str, stops: list[str]) -> None:
    ids = TOKENIZER(text)["input_ids"]
    detokenizer = Detokenizer(TOKENIZER, stops)
    text_so_far = ""
    for token_id in ids:
        text_so_far += detokenizer.push(token_id)
        if detokenizer.stopped:
            break
    text_so_far += detokenizer.finish()
    whole = TOKENIZER.decode(ids)
    ends = [at for at in map(whole.find, stops) if at >= 0]
    if not ends:
        assert text_so_far == whole and not detokenizer.stopped
        return
    # A longer stop text may begin before a shorter one that is complete first.
    assert detokenizer.stopped and whole.startswith(text_so_far)
    assert any(whole.startswith(stop, len(text_so_far)) for stop in stops)
    assert not any(stop in text_so_far for stop in stops)
