"""The pairs and the settings that both DPO trainers get."""

from __future__ import annotations

from typing import Any

BATCH, LENGTH, RANK, ALPHA, RATE = 8, 512, 16, 32, 1e-5
_LONGEST = 1200  # characters of a prompt and its longer answer, so that nothing is cut at LENGTH
_TURN = "\n\nHuman:"


def pairs_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of HH as turns: a prompt, a chosen and a rejected answer."""
    return [
        {
            "prompt": _turns(row["prompt"]),
            "chosen": [{"role": "assistant", "content": row["chosen"].strip()}],
            "rejected": [{"role": "assistant", "content": row["rejected"].strip()}],
        }
        for row in rows
    ]


def is_usable(row: dict[str, Any]) -> bool:
    """Whether a pair has two answers, and nothing of it would be cut."""
    answers = [row["chosen"].strip(), row["rejected"].strip()]
    return all(answers) and len(row["prompt"]) + max(map(len, answers)) <= _LONGEST


def tokens_of(pairs: list[dict[str, Any]], tokenizer: Any) -> int:
    """Tokens of all texts with prompts counted twice, as trainers read them that share none."""
    texts = [
        "".join(turn["content"] for turn in [*pair["prompt"], *pair[side]])
        for pair in pairs
        for side in ("chosen", "rejected")
    ]
    return sum(map(len, tokenizer(texts, add_special_tokens=False)["input_ids"]))


def _turns(prompt: str) -> list[dict[str, str]]:
    """The turns of a prompt in HH's notation, which ends where the assistant is to answer."""
    turns: list[dict[str, str]] = []
    for part in prompt.split(_TURN)[1:]:
        request, _, reply = part.partition("\n\nAssistant:")
        turns.append({"role": "user", "content": request.strip()})
        turns.append({"role": "assistant", "content": reply.strip()})
    return turns[:-1]
