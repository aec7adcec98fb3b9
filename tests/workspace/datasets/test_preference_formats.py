"""Layouts in which data sets compare or rate answers, and what is wrong with malformed rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from moli.records.errors import InputError
from moli.records.examples import Conversation, Example, Preference, RatedAnswer
from moli.records.messages import Message
from moli.workspace.datasets import read_dataset

KINDS = (Preference, RatedAnswer)
ASK, GOOD, BAD = "Is the shop open?", "Yes, until six.", "No idea."
USER, YES, NO = Message("user", ASK), Message("assistant", GOOD), Message("assistant", BAD)
PAIR = Preference((USER,), (YES,), (NO,))


def turn(role: str, content: str) -> dict[str, str]:
    """A turn as OpenAI writes it."""
    return {"role": role, "content": content}


def said(name: str, value: str) -> dict[str, str]:
    """A turn as ShareGPT writes it."""
    return {"from": name, "value": value}


U, G, B = turn("user", ASK), turn("assistant", GOOD), turn("assistant", BAD)
HH = f"\n\nHuman: {ASK}\n\nAssistant:"
PAIRS: dict[str, dict[str, Any]] = {
    "TRL": {"prompt": ASK, "chosen": GOOD, "rejected": BAD},
    "TRL turns": {"prompt": [U], "chosen": [G], "rejected": [B]},
    "TRL implicit": {"chosen": [U, G], "rejected": [U, B]},
    "HH": {"chosen": f"{HH} {GOOD}", "rejected": f"{HH} {BAD}"},
    "HH prompt": {"prompt": HH, "chosen": GOOD, "rejected": BAD},
    "UltraFeedback": {"prompt": ASK, "prompt_id": "x", "chosen": [U, G], "rejected": [U, B],
                      "messages": [U, G]},
    "LLaMA-Factory": {"conversations": [said("human", ASK)], "chosen": said("gpt", GOOD),
                      "rejected": said("gpt", BAD)},
    "LLaMA-Factory Alpaca": {"instruction": ASK, "input": "", "chosen": GOOD, "rejected": BAD},
    "ms-swift": {"messages": [U, G], "rejected_response": BAD},
    "ms-swift messages": {"messages": [U, G], "rejected_messages": [U, B]},
    "OpenAI": {"input": {"messages": [U], "tools": [], "parallel_tool_calls": True},
               "preferred_output": [G], "non_preferred_output": [B]},
    "Orca": {"question": ASK, "chosen": GOOD, "rejected": BAD},
    "Orca of Argilla": {"input": ASK, "chosen": GOOD, "rejected": BAD, "generations": [GOOD, BAD]},
    "Argilla": {"instruction": ASK, "chosen_response": GOOD, "rejected_response": BAD},
    "AlpacaEval": {"instruction": ASK, "output_1": BAD, "output_2": GOOD, "preference": 2.0},
    "Arena": {"conversation_a": [U, B], "conversation_b": [U, G], "winner": "model_b"},
    "JSON in a cell": {"chosen": json.dumps([U, G]), "rejected": json.dumps([U, B])},
}  # fmt: skip


def read(tmp_path: Path, *rows: dict[str, Any], **options: Any) -> list[Example]:
    """The examples in a file with these rows, all of which are well-formed."""
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    dataset = read_dataset(path, **{"kinds": KINDS, **options})
    assert dataset.malformed == ()
    return [each.example for each in dataset.examples]


@pytest.mark.parametrize("name", PAIRS)
def test_pairs(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, PAIRS[name]) == [PAIR]


def test_pairs_share_what_their_sides_begin_with(tmp_path: Path) -> None:
    first, last = turn("user", "Hi"), turn("user", "And on Sunday?")
    row = {"chosen": [first, B, U, G], "rejected": [first, B, U, B]}
    assert read(tmp_path, row) == [Preference((Message("user", "Hi"), NO, USER), (YES,), (NO,))]
    longer = {"chosen": [U, G, last, G], "rejected": [U, B, last, B]}  # they differ early
    [pair] = read(tmp_path, longer)
    assert isinstance(pair, Preference)
    assert pair.prompt == (USER,)
    assert pair.chosen == (YES, Message("user", "And on Sunday?"), YES)


def test_a_conversation_of_exchanges_may_be_the_prompt(tmp_path: Path) -> None:
    exchange = {"human": "Hi", "assistant": "Hello."}
    row = {"conversation": [exchange, U], "chosen": G, "rejected": B}
    [pair] = read(tmp_path, row)
    assert isinstance(pair, Preference)
    assert pair.prompt == (Message("user", "Hi"), Message("assistant", "Hello."), USER)


def test_dialogues_in_one_text(tmp_path: Path) -> None:
    earlier = f"Hi\n\nAssistant: Hello.\n\nHuman: {ASK}"  # as in HHH: the first speaker is unnamed
    [pair] = read(tmp_path, {"prompt": earlier, "chosen": GOOD, "rejected": BAD})
    assert isinstance(pair, Preference)
    assert pair.prompt == (Message("user", "Hi"), Message("assistant", "Hello."), USER)


def test_system_history_and_tools_belong_to_the_prompt(tmp_path: Path) -> None:
    row = {"system": "Be brief.", "instruction": "Reply", "input": ASK, "chosen": GOOD,
           "rejected": BAD, "history": [["Hi", "Hello"]]}  # fmt: skip
    [pair] = read(tmp_path, row)
    assert isinstance(pair, Preference)
    contents = [each.content for each in pair.prompt]
    assert contents == ["Be brief.", "Hi", "Hello", f"Reply\n{ASK}"]
    call = {"role": "assistant", "tool_calls": [{"name": "hours", "arguments": {"day": "today"}}]}
    tools = [{"type": "function", "function": {"name": "hours", "parameters": {}}}]
    row = {"input": {"messages": [U], "tools": tools}, "preferred_output": [call],
           "non_preferred_output": [B]}  # fmt: skip
    [pair] = read(tmp_path, row)
    assert isinstance(pair, Preference)
    assert [each.name for each in pair.tools] == ["hours"]
    assert pair.chosen[0].calls[0].arguments == '{"day": "today"}'


SAFE = {"prompt": ASK, "response_0": BAD, "response_1": GOOD, "is_response_0_safe": False,
        "is_response_1_safe": True, "better_response_id": 0, "safer_response_id": 1}  # fmt: skip


def test_safety_tags(tmp_path: Path) -> None:
    assert read(tmp_path, SAFE) == [Preference((USER,), (NO,), (YES,), 0.0, False, True)]
    [pair] = read(tmp_path, SAFE, columns={"better": "safer_response_id"})
    assert pair == Preference((USER,), (YES,), (NO,), 0.0, True, False)
    row = PAIRS["TRL"] | {"chosen_safe": "safe", "rejected_safe": 0, "prompt_is_unsafe": "unsafe"}
    assert read(tmp_path, row) == [Preference((USER,), (YES,), (NO,), 0.0, True, False, True)]


def test_margins(tmp_path: Path) -> None:
    scores = PAIRS["UltraFeedback"] | {"score_chosen": 8.5, "score_rejected": 6}
    margin = PAIRS["TRL"] | {"margin": "0.5"}
    assert read(tmp_path, scores) == [Preference((USER,), (YES,), (NO,), 2.5)]
    assert read(tmp_path, margin) == [Preference((USER,), (YES,), (NO,), 0.5)]


def test_scored_answers_are_all_pairs_with_their_difference_as_margin(tmp_path: Path) -> None:
    answers = [(BAD, 1), (GOOD, 4), ("Perhaps.", 4)]
    entries = [{"response": text, "overall_score": score, "model": "m"} for text, score in answers]
    perhaps = Message("assistant", "Perhaps.")
    expected = [
        Preference((USER,), (YES,), (NO,), 3.0),
        Preference((USER,), (perhaps,), (NO,), 3.0),
    ]
    assert read(tmp_path, {"instruction": ASK, "completions": entries}) == expected
    texts, scores = zip(*answers, strict=True)
    assert read(tmp_path, {"prompt": ASK, "responses": texts, "scores": scores}) == expected
    path = tmp_path / "pairs.jsonl"
    dataset = read_dataset(path, kinds=KINDS)
    assert [each.where for each in dataset.examples] == [f"{path}:1", f"{path}:1"]
    assert dataset.row_count == 2  # each pair is accounted for


@pytest.mark.parametrize("label", [True, 1, "true", "up", "👍", "safe", "是"])
@pytest.mark.parametrize("name", ["label", "kto_tag", "rating"])
def test_rated_answers(tmp_path: Path, name: str, label: Any) -> None:
    good = RatedAnswer((USER,), (YES,), is_good=True)
    for row in (
        {"prompt": ASK, "completion": GOOD},
        {"prompt": [U], "completion": [G]},
        {"messages": [U, G]},
        {"conversations": [said("human", ASK), said("gpt", GOOD)]},
        {"instruction": ASK, "input": "", "output": GOOD},
    ):
        assert read(tmp_path, row | {name: label}) == [good]
    bad = RatedAnswer((USER,), (NO,), is_good=False)
    assert read(tmp_path, {"prompt": ASK, "response": BAD, "safe": False}) == [bad]


def test_files_of_several_layouts_are_one_data_set(tmp_path: Path) -> None:
    pairs, ratings = tmp_path / "pairs.jsonl", tmp_path / "ratings.jsonl"
    pairs.write_text(json.dumps(PAIRS["TRL"]))
    ratings.write_text(json.dumps({"prompt": ASK, "response": GOOD, "safe": True, "id": 1}))
    dataset = read_dataset([pairs, ratings], kinds=KINDS)
    rated = RatedAnswer((USER,), (YES,), is_good=True)
    assert [each.example for each in dataset.examples] == [PAIR, rated]
    assert dataset.unused == ("id",)


MALFORMED: list[tuple[dict[str, Any], str]] = [
    ({"prompt": ASK, "chosen": GOOD}, "'rejected' is missing"),
    ({"prompt": ASK, "chosen": None, "rejected": BAD}, "'chosen' is empty"),
    ({"prompt": ASK, "chosen": GOOD, "rejected": " \n"}, "'rejected' is empty"),
    ({"prompt": ASK, "chosen": [], "rejected": BAD}, "'chosen' is empty"),
    ({"prompt": ASK, "chosen": [GOOD], "rejected": BAD},
     "'chosen' is a list of texts, not one answer"),
    ({"prompt": ASK, "chosen": GOOD, "rejected": f" {GOOD}"}, "'chosen' and 'rejected' are equal"),
    ({"chosen": [U, G], "rejected": [U, G]}, "'chosen' and 'rejected' are equal"),
    ({"prompt": "", "chosen": GOOD, "rejected": BAD}, "'prompt' is empty"),
    ({"prompt": [turn("user", " ")], "chosen": [G], "rejected": [B]}, "the prompt is empty"),
    ({"prompt": [turn("system", "Hi")], "chosen": [G], "rejected": [B]}, "the prompt is empty"),
    ({"chosen": GOOD, "rejected": BAD}, "the row has no prompt"),
    ({"chosen": [U, G], "rejected": [U, B, U]},
     "'rejected' does not end with the assistant's turn"),
    ({"prompt": [U, G], "chosen": [G], "rejected": [B]},
     "'prompt' has two assistant turns in a row, after turn 2"),
    ({"chosen": f"{HH} {GOOD}", "rejected": HH}, "'rejected' has an empty answer"),
    ({**PAIRS["TRL"], "margin": -1}, "'margin' is below 0"),
    ({**PAIRS["TRL"], "margin": "wide"}, "'margin' is 'wide', not a number"),
    ({**PAIRS["TRL"], "score_chosen": 1, "score_rejected": 2},
     "'score_chosen' is below 'score_rejected'"),
    ({**PAIRS["TRL"], "chosen_safe": "perhaps"},
     "'chosen_safe' is \"perhaps\", neither yes nor no"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "what"), MALFORMED)
def test_malformed_pairs_are_named(tmp_path: Path, row: dict[str, Any], what: str) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, [PAIRS["TRL"], row])))
    dataset = read_dataset(path, kinds=KINDS)
    assert [each.example for each in dataset.examples] == [PAIR]
    [malformed] = dataset.malformed
    assert (malformed.where, malformed.what) == (f"{path}:2", what)
    assert malformed.fix.endswith(".")


@pytest.mark.parametrize(
    ("good", "row", "what"),
    [
        (SAFE, SAFE | {"better_response_id": 2}, "'better_response_id' is \"2\", which names no"),
        (PAIRS["Arena"], PAIRS["Arena"] | {"winner": "tie"}, "'winner' is \"tie\": neither answer"),
        ({"prompt": ASK, "completion": GOOD, "label": True},
         {"prompt": ASK, "completion": GOOD, "label": 3}, "'label' is \"3\", neither yes nor no"),
        ({"messages": [U, G], "label": True}, {"messages": [U, G, U], "label": True},
         "'messages' does not end with the assistant's turn"),
        ({"prompt": ASK, "responses": [GOOD, BAD], "scores": [2, 1]},
         {"prompt": ASK, "responses": [GOOD, BAD], "scores": [1, 1]},
         "no answer in 'responses' is"),
    ],
)  # fmt: skip
def test_malformed_comparisons_and_ratings_are_named(
    tmp_path: Path, good: dict[str, Any], row: dict[str, Any], what: str
) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, [good, row])))
    [malformed] = read_dataset(path, kinds=KINDS).malformed
    assert malformed.where == f"{path}:2"
    assert malformed.what.startswith(what)


def test_other_tasks_refuse_preferences_and_name_the_tasks_for_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Use task: dpo, or task: reward"):
        read(tmp_path, PAIRS["TRL"], kinds=(Conversation,))
    with pytest.raises(InputError, match=r"Use task: kto, or task: reward"):
        read(tmp_path, {"messages": [U, G], "label": False}, kinds=(Conversation,))


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ({"request": ASK, "better_answer": GOOD, "worse_answer": BAD},
         "chosen: better_answer, rejected: worse_answer, prompt: request"),
        ({"prompt": ASK, "best": GOOD, "worst": BAD}, "chosen: best, rejected: worst"),
        ({"prompt": ASK, "choosen": GOOD, "rejected": BAD}, "chosen: choosen"),
        ({"提问": "几点开门？", "好回答": "九点。", "坏回答": "不知道。"},
         "chosen: 好回答, rejected: 坏回答, prompt: 提问"),
        ({"指令": "几点开门？", "被选回答": "九点。", "被拒回答": "不知道。"},
         "chosen: 被选回答, rejected: 被拒回答, prompt: 指令"),
    ],
)  # fmt: skip
def test_columns_of_other_names_are_suggested(
    tmp_path: Path, row: dict[str, str], line: str
) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, row, kinds=(Preference,))
    assert f"`columns: {{{line}}}`" in caught.value.fix
    columns = dict(part.split(": ") for part in line.split(", "))
    [pair] = read(tmp_path, row, kinds=(Preference,), columns=columns)
    assert isinstance(pair, Preference)
    texts = [messages[0].content for messages in (pair.prompt, pair.chosen, pair.rejected)]
    assert texts == list(row.values())


@pytest.mark.parametrize(
    "row",
    [
        {"post_id": "z1", "history": ASK, "human_ref_A": GOOD, "human_ref_B": BAD, "labels": 1},
        {"prompt": ASK, "response_a": GOOD, "response_b": BAD, "winner_model_a": 1},
        {"question": ASK, "response_j": GOOD, "response_k": BAD},
    ],
)
def test_which_answer_is_better_is_never_guessed(tmp_path: Path, row: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, row, kinds=(Preference,))
    assert "columns: {" not in caught.value.fix


def test_the_column_of_a_rating_is_the_one_with_few_values(tmp_path: Path) -> None:
    path = tmp_path / "rated.jsonl"
    rows = [
        {"问题": f"第{number}个问题是什么？", "回答": f"第{number}个。", "评价": rating}
        for number, rating in enumerate(["满意", "不满意"] * 6)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(
        InputError, match=r"columns: \{completion: 回答, label: 评价, prompt: 问题\}"
    ):
        read_dataset(path, kinds=(RatedAnswer,))
    columns = {"completion": "回答", "label": "评价", "prompt": "问题"}
    examples = read_dataset(path, kinds=(RatedAnswer,), columns=columns).examples
    assert [each.example.is_good for each in examples] == [True, False] * 6  # type: ignore[attr-defined]


def test_rated_answers_are_named_where_pairs_are_needed(tmp_path: Path) -> None:
    row = {"prompt": ASK, "completion": GOOD, "label": True}
    [example] = read(tmp_path, row, kinds=(Preference,))
    assert isinstance(example, RatedAnswer)


SHARED = Path(__file__).parents[4] / "shared" / "data"


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("pku_saferlhf/safe_pairs_test", 1158),
        ("hhh_alignment/test", 221),
        ("llamafactory_demos/dpo_zh_demo", 300),
        ("llamafactory_demos/kto_en_demo", 300),
    ],
)
@pytest.mark.slow
def test_published_sets_load_by_path(name: str, count: int) -> None:
    path = SHARED / f"{name}.jsonl.gz"
    if not path.exists():
        pytest.skip("the shared data are not here")
    assert len(read_dataset(path, kinds=KINDS).examples) == count
