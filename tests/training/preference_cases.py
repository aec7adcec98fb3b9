"""Small sets of preferences, and rules that models can learn from them."""

from __future__ import annotations

import json
import random
from pathlib import Path

from training.small_models import WORDS

from moli.records.examples import Preference
from moli.records.messages import Message


def preferences(count: int, *, words: tuple[int, int] = (1, 8)) -> list[Preference]:
    """Questions with answers of random words; the chosen ones are of the first half of words."""
    draw = random.Random(0)

    def text(options: list[str], low: int, high: int) -> str:
        return " ".join(draw.choices(options, k=draw.randint(low, high)))

    half = len(WORDS) // 2
    return [
        Preference(
            (Message("user", text(WORDS, 3, 12)),),
            (Message("assistant", text(WORDS[:half], *words)),),
            (Message("assistant", text(WORDS[half:], *words)),),
        )
        for _ in range(count)
    ]


def write_preferences(path: Path, count: int = 40) -> Path:
    """The same as rows with a prompt, a chosen and a rejected answer."""
    rows = [
        {
            "prompt": each.prompt[0].content,
            "chosen": each.chosen[0].content,
            "rejected": each.rejected[0].content,
        }
        for each in preferences(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
