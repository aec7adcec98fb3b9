"""What the models that ship with Moli can do."""

from __future__ import annotations

import pytest
import torch

from moli.metrics.answers import f1
from moli.records.examples import Span, Text
from moli.training import inference
from moli.training.trained.load import load_trained
from moli.training.trained.predict import predict
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


@pytest.mark.slow
def test_the_starter_expects_english_and_not_its_words_in_another_order() -> None:
    starter = load_trained(shipped("builtin:starter"), precision="fp32")
    backwards = " ".join(reversed(HARBOUR.split()))

    def bits_per_byte(text: str) -> float:
        examples = [Text(text)]
        samples = starter.task.samples(examples, training=False)
        judged = inference.evaluate(starter.task, starter.model, examples, samples)
        return judged["bits_per_byte"]

    assert bits_per_byte(HARBOUR) < 2.3
    assert bits_per_byte(HARBOUR) < bits_per_byte(backwards) - 0.5


@pytest.mark.slow
def test_the_starter_takes_part_in_a_conversation() -> None:
    starter = load_trained(shipped("builtin:starter"), precision="fp32")
    tokenizer = starter.task.tokenizer
    said = [{"role": "user", "content": "Who are you?"}]
    asked = tokenizer.apply_chat_template(said, add_generation_prompt=True, return_dict=True)
    assert tokenizer.decode(asked["input_ids"]) == (
        "<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n"
    )
    inputs = {key: torch.tensor([value]) for key, value in asked.items()}
    told = starter.model.generate(**inputs, max_new_tokens=8, do_sample=False)
    assert told.shape[1] > inputs["input_ids"].shape[1]
