"""Tests of examples that compare or rate answers."""

from dataclasses import replace

from moli.records.examples import Preference, RatedAnswer
from moli.records.messages import Message

PROMPT = (Message("system", "Be brief."), Message("user", "Is the shop open on Sunday?"))
YES, NO = (Message("assistant", "Yes."),), (Message("assistant", "No."),)


def test_opposite_preferences_have_one_input_and_two_outputs() -> None:
    one, other = Preference(PROMPT, YES, NO), Preference(PROMPT, NO, YES)
    assert one.model_input == other.model_input
    assert one.model_input.endswith("assistant: No.\nassistant: Yes.")
    assert (one.expected_output, other.expected_output) == ("assistant: Yes.", "assistant: No.")
    assert one.identity != other.identity


def test_a_repetition_may_have_another_margin_and_other_tags() -> None:
    pair = Preference(PROMPT, YES, NO)
    assert replace(pair, margin=2.0, rejected_is_safe=False).identity == pair.identity


def test_all_answers_to_a_prompt_have_one_subject() -> None:
    assert Preference(PROMPT, YES, NO).subject == RatedAnswer(PROMPT, YES, True).subject == PROMPT
    assert Preference(PROMPT, YES, NO).summary == "Is the shop open on Sunday?"


def test_ratings_are_classes() -> None:
    good, bad = RatedAnswer(PROMPT, YES, True), RatedAnswer(PROMPT, YES, False)
    assert good.model_input == bad.model_input
    assert (good.class_labels, bad.class_labels) == (("good",), ("bad",))
    assert (good.expected_output, bad.expected_output) == ("good", "bad")
