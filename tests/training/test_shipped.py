"""What the models that ship with Moli can do."""

from __future__ import annotations

import pytest

from moli.metrics.answers import f1
from moli.records.examples import Span
from moli.training.predict import predict
from moli.training.trained import load_trained
from moli.workspace.shipped import shipped

HARBOUR = (
    "The harbour of Ostwick was dredged in 1874 by the engineer Clara Holm, after two storms had "
    "filled it with sand. The work took nineteen months and cost forty thousand crowns, most of "
    "which was paid by the fishing guild. Since then the lighthouse has been painted red so that "
    "ships can tell it from the church tower."
)
QUESTIONS = {
    "When was the harbour dredged?": "1874",
    "Who dredged the harbour?": "Clara Holm",
    "What had filled the harbour with sand?": "two storms",
    "How long did the work take?": "nineteen months",
    "How much did it cost?": "forty thousand crowns",
    "Who paid most of the cost?": "the fishing guild",
    "What colour is the lighthouse?": "red",
    "What was Clara Holm?": "engineer",
}


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_the_reader_finds_answers_in_a_text_that_nobody_has_seen(precision: str) -> None:
    reader = load_trained(shipped("builtin:reader"), precision=precision)
    asked = [Span(question, HARBOUR, (), ()) for question in QUESTIONS]
    told = [each["answer"] for each in predict(reader, asked)]
    scores = [f1(said, [right]) for said, right in zip(told, QUESTIONS.values(), strict=True)]
    assert sum(scores) / len(scores) > 0.8, told
