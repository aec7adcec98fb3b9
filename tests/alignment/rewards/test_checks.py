"""Checks of answers, with answers that pass and that must not."""

from __future__ import annotations

from decimal import Decimal

import pytest

from moli.alignment.rewards.checks import (
    exact_match_reward,
    final_number,
    json_reward,
    number_reward,
    regex_reward,
)
from moli.alignment.rewards.protocol import Reward
from moli.alignment.rollouts.buffer import SampledAnswer, TrainingPrompt
from moli.records.errors import InputError


def scores(reward: Reward, reference: str, *texts: str) -> list[float]:
    prompts = [TrainingPrompt((1,), reference=reference)] * len(texts)
    return list(reward(prompts, [SampledAnswer((2,), (0.0,), text=text) for text in texts]))


def test_exact_matches_in_english_and_chinese() -> None:
    reward = exact_match_reward()
    assert scores(reward, "The Eiffel Tower", "eiffel tower.", "the tower", "") == [1, 0, 0]
    assert scores(reward, "埃菲尔铁塔", "埃菲尔铁塔。", "铁塔") == [1, 0]
    assert scores(reward, "!", "", "!") == [0, 1]


SOLUTION = "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\nIn all 48+24 = 1,072.\n#### 1,072"


def test_numbers_as_in_gsm8k() -> None:
    answers = ("#### 1072", "so it is 1,072.", "I get 1072.0 of them", "#### 72", "none", "")
    assert scores(number_reward(), SOLUTION, *answers) == [1, 1, 1, 0, 0, 0]
    assert scores(number_reward(), SOLUTION, "1072 first, then 3", "#### 1072 and 3") == [0, 1]


@pytest.mark.parametrize(
    ("text", "number"),
    [("-3.50", "-3.5"), ("it costs $1,234.50.", "1234.5"), (".5", "0.5"), ("2024-11", "-11")],
)
def test_the_final_number_of_a_text(text: str, number: str) -> None:
    assert final_number(text) == Decimal(number)


def test_expressions_match_whole_answers() -> None:
    reward = regex_reward(r"yes|no")
    assert scores(reward, "", " yes\n", "no", "yes, but", "maybe") == [1, 1, 0, 0]


def test_json_by_a_schema_in_any_order_and_nothing_around_it() -> None:
    reward = json_reward(
        {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
            "required": ["city", "days"],
        }
    )
    good = ('{"city": "Oslo", "days": 2}', ' {"days":2,\n"city":"Oslo"} ')
    bad = ('{"city": "Oslo", "days": 0}', '{"city": "Oslo"}', "```{}```", "[" * 5000, "NaN", "")
    assert scores(reward, "", *good, *bad) == [1, 1, 0, 0, 0, 0, 0, 0]


def test_what_cannot_be_checked_is_said_at_once() -> None:
    with pytest.raises(InputError, match="no reference"):
        scores(exact_match_reward(), "", "yes")
    with pytest.raises(InputError, match="has no number"):
        scores(number_reward(), "many", "3")
    with pytest.raises(InputError, match="no regular expression"):
        regex_reward("(")
    with pytest.raises(InputError, match="malformed"):
        json_reward({"type": "strange"})
