"""A reward for `sea.yaml`: any function of prompts and answers is one."""

from __future__ import annotations

import re
from collections.abc import Sequence

from moli.alignment.rollouts.buffer import SampledAnswer, TrainingPrompt

SEA = re.compile(r"\b(sea|ship|boat|sail|sailor|water|wave|shore|island|captain|wind)s?\b")


def speaks_of_the_sea(
    prompts: Sequence[TrainingPrompt],  # noqa: ARG001 - others read the prompts too
    answers: Sequence[SampledAnswer],
) -> list[float]:
    """Different words of the sea in each answer, 3 at most."""
    return [min(3.0, len(set(SEA.findall(answer.text)))) for answer in answers]
