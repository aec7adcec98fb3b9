"""Examples without anything to learn: the reasons, and advice on what length would do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from moli.records.examples import Conversation, Example, LocatedExample
from moli.training.batching.samples import Sample, advise_length
from moli.training.tasks.base.task import Task


def dropped_lengths(
    task: Task, examples: Sequence[LocatedExample], groups: Sequence[Sequence[Sample]]
) -> dict[str, int]:
    """Length in tokens of each example without samples that is too long, by its location.

    Args:
        groups: the samples of each example.
    """
    lengths = {
        located.where: task.full_length(located.example)
        for located, group in zip(examples, groups, strict=True)
        if not group
    }
    return {where: length for where, length in lengths.items() if length > task.max_length}


def dropped_advice(task: Task, lengths: Iterable[int]) -> str:
    """Advice for examples that are dropped for their lengths in tokens."""
    return advise_length(task.max_length, task.length_limit, max(lengths))


def unlearnable_reason(example: Example) -> tuple[str, str]:
    """The reason why an example that is not too long has no samples, and what to do about it."""
    if isinstance(example, Conversation) and not any(
        turn.supervised for turn in example.messages if turn.role == "assistant"
    ):
        return (
            "all turns of the assistant are left out of the loss",
            "Let one of them count, or remove the row.",
        )
    return "nothing in it can be learnt", "Complete it, or remove it."
