"""Roles of turns, by the names that data sets have for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

from moli.records.messages import Role
from moli.workspace.datasets.fields import RowError, in_yaml

# Moli's roles, each with the names that a user gives for it.
RoleNames = Mapping[Role, Sequence[str]]

# Roles of turns that contain nothing but calls, in ShareGPT's data and in ms-swift's.
CALL_ROLES = ("function_call", "tool_call")
_KNOWN: Mapping[Role, tuple[str, ...]] = {
    "system": ("system", "developer", "系统", "系统提示", "系统提示词"),
    "user": (
        *("user", "human", "prompter", "用户", "人类"),
        *("customer", "client", "visitor", "caller", "buyer", "patient"),
        *("客户", "顾客", "访客", "买家", "患者", "病人"),
        *("question", "asker", "问", "提问", "问题", "提问者"),
    ),
    "assistant": (
        *("assistant", "gpt", "chatgpt", "model", "bot", "chatbot", "ai", "robot", "llm"),
        *("bard", "bing", "claude", "gemini", "助手", "助理", "机器人", "智能助手", "ai助手"),
        *("agent", "support", "customer service", "customer_service", "customer support"),
        *("customer_support", "representative", "operator", "seller", "doctor"),
        *("客服", "人工客服", "在线客服", "智能客服", "客服人员", "坐席", "座席"),
        *("商家", "卖家", "店家", "医生", "大夫"),
        *("answer", "答", "回答", "答案", "回复", "回答者"),
        *CALL_ROLES,
    ),
    "tool": ("tool", "function", "observation", "tool_response", "ipython"),
}
_ROLES: Mapping[str, Role] = {name: role for role, names in _KNOWN.items() for name in names}


def folded_role(name: object) -> str:
    """The name of a role without differences in case, and in spaces and a colon around it."""
    return str(name).strip(" \t\r\n:：").casefold()


def role_of(name: object) -> Role | None:
    """The role that a name stands for; None if it is unknown."""
    return _ROLES.get(str(name)) or _ROLES.get(folded_role(name))


def unknown_role(name: object, names: Iterable[object], where: str) -> RowError:
    """The error for a turn with an unknown role, with the line of a recipe that would name it.

    Args:
        names: the names of all roles in the row. The first unknown one is taken for the user and
            the others for the assistant, unless the row has one of these already.
        where: position of the turn in the row.
    """
    roles = {str(each).strip(): role_of(each) for each in names}
    unknown = [each for each, role in roles.items() if role is None]
    known = set(roles.values())
    users = [] if "user" in known else unknown if "assistant" in known else unknown[:1]
    guessed = {"user": users, "assistant": [each for each in unknown if each not in users]}
    line = in_yaml({role: names for role, names in guessed.items() if names})
    return RowError(
        f"'{where}' has the role \"{name}\"; expected one of {', '.join(get_args(Role))}",
        f"Add this to the recipe, if it is what they are: `roles: {line}`.",
    )
