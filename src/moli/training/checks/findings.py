"""What a person should know about a run before it starts, in words."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from moli.records.examples import LocatedExample, MalformedRow
from moli.training.checks.inspection import Repetitions, labels_of
from moli.training.checks.report import Finding, Preflight, Severity
from moli.training.data import TrainingData
from moli.training.setup.memory import total_memory_mb

# Examples of a label below which it is rare, how many times another's are uneven, and the share of
# examples that may be repetitions before it is more than a note.
_FEW, _UNEVEN, _MANY = 5, 20, 0.01


def findings_of(found: Preflight, data: TrainingData, *, packs: bool) -> Iterator[Finding]:
    """All findings except the errors.

    Args:
        packs: whether the task's examples are meant to be packed.
    """
    yield from of_malformed(found.rows.malformed, "warning")
    yield from _of_rows(found)
    yield from _of_repetitions(found.repetitions, found.rows.kept)
    yield from _of_labels(found.labels, data.held_out)
    yield from _of_memory(found)
    for problem in found.contract or ():
        yield Finding(
            "warning",
            f"the chat template: {problem}",
            "Look at the tokens shown below, or set another template with 'template: FILE'.",
        )
    if found.packing and packs and not found.packing.holds and found.packing.reason:
        yield Finding(
            "note",
            f"examples are padded, not packed ({found.packing.reason})",
            "The result is the same, but training takes longer.",
        )


def _of_memory(found: Preflight) -> Iterator[Finding]:
    there = total_memory_mb()
    if found.estimate and found.estimate.memory_mb > 0.9 * there:
        yield Finding(
            "warning",
            f"{found.estimate.memory_mb:,} MB of memory are needed, but the machine has {there:,}",
            "Use method: lora, a smaller batch, or a smaller max_length.",
        )


def of_malformed(malformed: Sequence[MalformedRow], severity: Severity) -> Iterator[Finding]:
    """One finding for each kind of fault, in the words of the first row that has it."""
    kinds: dict[str, list[MalformedRow]] = defaultdict(list)
    for each in malformed:
        kinds[re.sub(r"\"[^\"]*\"|\d+", "", each.what)].append(each)
    for same in kinds.values():
        rows = "1 row is" if len(same) == 1 else f"{len(same):,} rows are"
        what = f"{rows} malformed: {same[0].what}"
        yield Finding(severity, what, same[0].fix, tuple(each.where for each in same))


def _of_rows(found: Preflight) -> Iterator[Finding]:
    rows, supervision, lengths = found.rows, found.supervision, found.lengths
    if rows.cut and lengths:
        tokens = sum(each.tokens for each in rows.cut)
        yield Finding(
            "warning",
            f"{_examples(len(rows.cut))} too long: {tokens:,} tokens are cut off",
            f"Raise max_length ({lengths.most:,}; the longest has {lengths.longest:,} tokens), or "
            "split the examples.",
            tuple(each.where for each in rows.cut),
        )
    reasons: dict[tuple[str, str], list[str]] = defaultdict(list)
    for each in rows.dropped:
        reasons[each.what, each.fix].append(each.where)
    for (what, fix), places in reasons.items():
        yield Finding("warning", f"{_examples(len(places))} dropped: {what}", fix, tuple(places))
    if rows.held_out and rows.judged == 0:
        yield Finding(
            "warning",
            "no held-out example can be evaluated, so the last weights are kept, not the best",
            "Hold out other examples.",
        )
    if supervision and supervision.unended:
        yield Finding(
            "warning",
            f"{_examples(len(supervision.unended))} without a learnt end, so the model does not "
            "learn to stop from them",
            "They are truncated, or the template does not end a turn: raise max_length, or use "
            "another template.",
            supervision.unended,
        )


def _of_repetitions(found: Repetitions, kept: int) -> Iterator[Finding]:
    for groups, what, fix in (
        (found.exact, "duplicated", "Keep one of each, unless the repetition is intended."),
        (found.near, "the same apart from case, spaces and punctuation", "Keep one of each."),
    ):
        more = sum(len(each) - 1 for each in groups)
        if more:
            severity: Severity = "warning" if more > _MANY * kept else "note"
            yield Finding(severity, f"{_examples(more)} {what}", fix, _joined(groups))
    if found.contradicting:
        yield Finding(
            "warning",
            f"texts with conflicting answers: {len(found.contradicting):,}",
            "Keep one answer for each.",
            _joined(found.contradicting),
        )
    if found.leaked:
        yield Finding(
            "warning",
            f"{_examples(len(found.leaked))} also held out, apart from case, spaces and "
            "punctuation; metrics will be inflated",
            "Remove them from the training data or from the held-out data.",
            _joined(found.leaked),
        )


def _of_labels(labels: Mapping[str, int], held_out: Sequence[LocatedExample]) -> Iterator[Finding]:
    if not labels:
        return
    rare = [f"'{name}' ({count})" for name, count in labels.items() if count < _FEW]
    most, least = max(labels.values()), min(labels.values())
    if rare:
        yield Finding(
            "warning",
            f"{len(rare)} labels have fewer than {_FEW} examples: {', '.join(rare[:10])}",
            "Add examples of them, or merge them with other labels.",
        )
    elif most > _UNEVEN * least:
        yield Finding(
            "note",
            f"labels are imbalanced: {most:,} examples of the most common, {least:,} of the rarest",
            "Judge by macro_f1, not by accuracy.",
        )
    unknown = [each for each in held_out if not labels_of([each]).keys() <= labels.keys()]
    if unknown:
        names = ", ".join(sorted(labels_of(unknown).keys() - labels.keys())[:10])
        yield Finding(
            "warning",
            f"held-out examples have labels that are not in the training data: {names}",
            "Correct them, or add training examples with these labels.",
            tuple(each.where for each in unknown),
        )


def _joined(groups: Sequence[Sequence[str]]) -> tuple[str, ...]:
    return tuple(" = ".join(each) for each in groups)


def _examples(count: int) -> str:
    return "1 example is" if count == 1 else f"{count:,} examples are"
