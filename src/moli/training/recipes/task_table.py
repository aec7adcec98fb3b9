"""The table of tasks: what is known of each without importing its implementation.

A new task touches this file and one of its own in `moli.training.tasks`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from moli.training.recipes.task_options import (
    DpoOptions,
    IpoOptions,
    KtoOptions,
    OrpoOptions,
    RewardOptions,
    SimpoOptions,
    TaskOptions,
)

# The base of classifiers that know no language: they weigh a text's n-grams.
NGRAMS = "builtin:ngrams"

TaskName = Literal[
    "classification",
    "pair_classification",
    "multi_label_classification",
    "instruction",
    "dpo",
    "ipo",
    "simpo",
    "orpo",
    "kto",
    "pretraining",
    "seq2seq",
    "span",
    "embedding",
    "reranking",
    "image",
    "reward",
]


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A task as recipes, methods and servers know it.

    Attributes:
        implementation: module in `moli.training.tasks` and class in it, as MODULE:CLASS.
        peft_type: PEFT's name for the task; None if PEFT has none, as for inputs without tokens.
        batch: default number of examples in an optimizer step.
        base: default base model; "" if it is chosen for the language of the texts.
        ngrams: implementation on the base `NGRAMS`; "" if the task has none.
        method: default training method.
        rate_scale: factor of the default learning rate for a base that is trained further.
        new_learning_rate, new_optimizer: defaults for a model that begins with random weights.
        generates: whether its models are language models, and can be served as such.
        ends_with_stop_token: whether supervised tokens are to end with a stop token.
        options: the options that recipes may set, with their defaults.
    """

    implementation: str
    peft_type: str | None
    batch: int
    base: str = "builtin:minilm"
    ngrams: str = ""
    method: str = "full"
    rate_scale: float = 1.0
    new_learning_rate: float = 1e-3
    new_optimizer: str = "adamw"
    generates: bool = False
    ends_with_stop_token: bool = False
    options: type[TaskOptions] = TaskOptions


def _preference_task(implementation: str, options: type[TaskOptions]) -> TaskSpec:
    """A task that tunes a language model further by preferences, in small steps."""
    return TaskSpec(
        implementation,
        "CAUSAL_LM",
        batch=16,
        base="builtin:starter",
        method="lora",
        rate_scale=0.1,
        generates=True,
        ends_with_stop_token=True,
        options=options,
    )


TASKS = {
    "classification": TaskSpec(
        "classification:Classification",
        "SEQ_CLS",
        batch=16,
        base="",
        ngrams="ngram_classification:NgramClassification",
    ),
    "pair_classification": TaskSpec("pair_classification:PairClassification", "SEQ_CLS", batch=16),
    "multi_label_classification": TaskSpec(
        "multi_label_classification:MultiLabelClassification", "SEQ_CLS", batch=16
    ),
    "instruction": TaskSpec(
        "instruction:Instruction",
        "CAUSAL_LM",
        batch=16,
        base="builtin:starter",
        method="lora",
        generates=True,
        ends_with_stop_token=True,
    ),
    "dpo": _preference_task("dpo:Dpo", DpoOptions),
    "ipo": _preference_task("ipo:Ipo", IpoOptions),
    "simpo": _preference_task("simpo:Simpo", SimpoOptions),
    "orpo": _preference_task("orpo:Orpo", OrpoOptions),
    "kto": _preference_task("kto:Kto", KtoOptions),
    "pretraining": TaskSpec(
        "pretraining:Pretraining",
        "CAUSAL_LM",
        batch=16,
        base="new",
        new_learning_rate=6e-3,
        new_optimizer="muon",
        generates=True,
    ),
    "seq2seq": TaskSpec(
        "seq2seq:Seq2Seq", "SEQ_2_SEQ_LM", batch=32, base="new", ends_with_stop_token=True
    ),
    "span": TaskSpec("span:SpanAnswering", "QUESTION_ANS", batch=32),
    "embedding": TaskSpec("embedding:Embedding", "FEATURE_EXTRACTION", batch=64),
    "reranking": TaskSpec("reranking:Reranking", "SEQ_CLS", batch=32),
    "image": TaskSpec(
        "image:ImageClassification", None, batch=64, base="new", new_learning_rate=2e-3
    ),
    "reward": TaskSpec("reward:RewardModeling", "SEQ_CLS", batch=32, options=RewardOptions),
}

# Tasks whose models are language models.
GENERATIVE_TASKS = frozenset(name for name, spec in TASKS.items() if spec.generates)
