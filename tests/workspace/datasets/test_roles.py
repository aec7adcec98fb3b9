"""Names of roles in data sets: the usual ones, those of a recipe, and the advice on others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from moli.records.examples import Conversation
from moli.records.messages import Message
from moli.training.recipes.yaml_values import load_yaml
from moli.workspace.datasets import Row, read_dataset, read_questions

CHAT = Conversation((Message("user", "Hi"), Message("assistant", "Hello")))


def turns(*names: object) -> list[dict[str, Any]]:
    return [{"role": name, "content": text} for name, text in zip(names, TEXTS, strict=False)]


TEXTS = ("Hi", "Hello", "Bye", "Goodbye")


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in rows))
    return path


@pytest.mark.parametrize(
    ("user", "assistant"),
    [("客户", "客服"), ("顾客", "坐席"), ("顾客：", "座席"), ("customer", "agent"), ("问", "答"),
     ("Customer", "Agent"), ("用户", "机器人"), ("患者", "医生"), ("买家", "卖家"),
     ("client", "customer_service"), ("Question", "Answer"), ("访客", "人工客服")],
)  # fmt: skip
def test_everyday_names_are_known(tmp_path: Path, user: str, assistant: str) -> None:
    rows = [
        {"messages": turns(user, assistant)},
        {"conversations": [{"from": user, "value": "Hi"}, {"from": assistant, "value": "Hello"}]},
    ]
    dataset = read_dataset(write(tmp_path / "a.jsonl", *rows))
    assert [each.example for each in dataset.examples] == [CHAT, CHAT]


@pytest.mark.parametrize(("user", "assistant"), [("问", "答"), ("客户", "客服")])
def test_a_request_and_its_answer_may_be_one_turn(
    tmp_path: Path, user: str, assistant: str
) -> None:
    row = {"conversation": [{user: "Hi", assistant: "Hello"}]}
    dataset = read_dataset(write(tmp_path / "a.jsonl", row))
    assert [each.example for each in dataset.examples] == [CHAT]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": turns("甲", "乙")},
        {"messages": turns(" 甲 ", "乙：")},
        {"messages": json.dumps(turns("甲", "乙"), ensure_ascii=False)},
        {"prompt": turns("甲"), "completion": [{"role": "乙", "content": "Hello"}]},
        {"prompt": turns("甲")[0], "completion": "Hello"},
        {"messages": turns("user", "乙")},
        {"messages": turns(0, "乙")},
        {"messages": turns("甲", "System")},
    ],
)
def test_a_mapping_names_other_roles(tmp_path: Path, row: dict[str, Any]) -> None:
    roles: Any = {"user": ["甲", "0"], "assistant": ["乙", "system"]}
    dataset = read_dataset(write(tmp_path / "a.jsonl", row), roles=roles)
    assert dataset.malformed == ()
    assert [each.example for each in dataset.examples] == [CHAT]
    assert dataset.rows[0].values == row  # as it is in the file


def test_a_mapping_goes_before_the_usual_meaning(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"messages": turns("agent", "customer")})
    dataset = read_dataset(path, roles={"user": ["agent"], "assistant": ["customer"]})
    assert [each.example for each in dataset.examples] == [CHAT]


def test_a_question_has_the_roles_of_the_data() -> None:
    rows = [Row("a:1", {"messages": turns("甲")}), Row("a:2", {"messages": turns("user")})]
    dataset = read_questions(
        rows, {"messages": {}}, path=Path("a"), roles={"user": ["甲"], "assistant": ["乙"]}
    )
    asked = Conversation((Message("user", "Hi"), Message("assistant", "?")))
    assert [each.example for each in dataset.examples] == [asked, asked]


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (("店主", "路人"), "roles: {user: 店主, assistant: 路人}"),
        (("user", "店主"), "roles: {assistant: 店主}"),
        (("店主", "assistant"), "roles: {user: 店主}"),
        (("路人", "店主 A", "路人", "店主 A"), 'roles: {user: 路人, assistant: "店主 A"}'),
        (("路人", "店主", "店员", "店主"), "roles: {user: 路人, assistant: [店主, 店员]}"),
        (("路人甲", "assistant", "路人乙", "assistant"), "roles: {user: [路人甲, 路人乙]}"),
    ],
)
def test_an_unknown_role_is_told_with_the_line_that_names_it(
    tmp_path: Path, names: tuple[str, ...], line: str
) -> None:
    path = write(tmp_path / "a.jsonl", {"messages": turns(*names)})
    [malformed] = read_dataset(path).malformed
    unknown = next(each for each in names if each not in ("user", "assistant"))
    assert f'has the role "{unknown}"; expected one of system, user, assistant, tool' in str(
        malformed
    )
    assert f"`{line}`" in malformed.fix


def test_the_line_that_is_advised_makes_the_rows_readable(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"messages": turns("路人: 1", "true", "路人: 1", "true")})
    [malformed] = read_dataset(path).malformed
    line = malformed.fix.partition("`")[2].partition("`")[0]
    roles = load_yaml(line, "")["roles"]
    assert roles == {"user": "路人: 1", "assistant": "true"}
    mapped = {role: [name] for role, name in roles.items()}
    assert len(read_dataset(path, roles=mapped).examples) == 1


def test_an_assistant_that_is_named_system_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"messages": turns("user", "system", "user", "system")})
    [malformed] = read_dataset(path).malformed
    assert "`roles: {assistant: system}`" in malformed.fix
    assert len(read_dataset(path, roles={"assistant": ["system"]}).examples) == 1
