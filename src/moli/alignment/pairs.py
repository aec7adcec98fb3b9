"""New preferences: the best and the worst of a policy's answers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from moli.alignment.rollouts.buffer import SampledAnswer, TrainingPrompt
from moli.records.files import whole_file
from moli.records.messages import Message, message_row, tool_row


def new_pairs(
    prompts: Sequence[TrainingPrompt],
    answers: Sequence[SampledAnswer],
    scores: Sequence[float],
    count: int,
) -> Iterator[dict[str, Any]]:
    """Rows with a preference for each prompt to which one answer is better than another.

    They have the format of TRL, with the tools and the tool calls of their prompts.

    Args:
        prompts, answers, scores: equally many; those of one prompt stand side by side.
        count: number of answers to each prompt.
    """
    for start in range(0, len(prompts), count):
        rows = range(start, start + count)
        best = max(rows, key=scores.__getitem__)
        worst = min(rows, key=scores.__getitem__)
        chosen, rejected = answers[best].text.strip(), answers[worst].text.strip()
        if scores[best] > scores[worst] and chosen and rejected and chosen != rejected:
            yield _pair(prompts[start], chosen, rejected, scores[best] - scores[worst])


def _pair(prompt: TrainingPrompt, chosen: str, rejected: str, margin: float) -> dict[str, Any]:
    """A row with a preference."""
    row = {
        "prompt": list(map(message_row, prompt.messages)),
        "chosen": [message_row(Message("assistant", chosen))],
        "rejected": [message_row(Message("assistant", rejected))],
        "margin": margin,
    }
    return row | ({"tools": list(map(tool_row, prompt.tools))} if prompt.tools else {})


def write_pairs(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as JSON lines, as a whole."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with whole_file(path) as draft:
        draft.write_text(text, encoding="utf-8")
