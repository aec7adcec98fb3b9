"""The table of what is known of a task before it is made."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A task as recipes, methods and servers know it.

    Attributes:
        implementation: its module here, and its class.
        peft_type: PEFT's name for it; None where that has none, as without tokens.
        batch: examples in an optimiser step.
        base: of a recipe that names none.
        method: of a recipe that names none.
        new_learning_rate, new_optimizer: of a model that begins with random weights.
        generates: whether its models are language models, and can be served as such.
        ends_with_stop_token: whether what is learnt is to end with a stop token.
    """

    implementation: tuple[str, str]
    peft_type: str | None
    batch: int
    base: str = "builtin:minilm"
    method: str = "full"
    new_learning_rate: float = 1e-3
    new_optimizer: str = "adamw"
    generates: bool = False
    ends_with_stop_token: bool = False


TASKS = {
    "classification": TaskSpec(("classification", "Classification"), "SEQ_CLS", batch=16),
    "instruction": TaskSpec(
        ("instruction", "Instruction"),
        "CAUSAL_LM",
        batch=16,
        base="builtin:starter",
        method="lora",
        generates=True,
        ends_with_stop_token=True,
    ),
    "pretraining": TaskSpec(
        ("pretraining", "Pretraining"),
        "CAUSAL_LM",
        batch=16,
        base="new",
        new_learning_rate=6e-3,
        new_optimizer="muon",
        generates=True,
    ),
    "seq2seq": TaskSpec(
        ("seq2seq", "Seq2Seq"), "SEQ_2_SEQ_LM", batch=32, base="new", ends_with_stop_token=True
    ),
    "span": TaskSpec(("span", "SpanAnswering"), "QUESTION_ANS", batch=32),
    "embedding": TaskSpec(("embedding", "Embedding"), "FEATURE_EXTRACTION", batch=64),
    "reranking": TaskSpec(("reranking", "Reranking"), "SEQ_CLS", batch=32),
    "image": TaskSpec(
        ("image", "ImageClassification"), None, batch=64, base="new", new_learning_rate=2e-3
    ),
}

# The tasks whose models are language models.
GENERATIVE_TASKS = frozenset(name for name, spec in TASKS.items() if spec.generates)
