"""Findings: problems of a run that a person should know before it starts, in words."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from moli.models.weights.known import installed_folder
from moli.records.examples import LocatedExample, MalformedRow, UnreadLines
from moli.training.batching.samples import advise_length
from moli.training.checks.inspection import Repetitions, count_labels
from moli.training.checks.report import Finding, Preflight, Severity
from moli.training.data import TrainingData, examples_of, shorten_labels
from moli.training.recipes.task_table import NGRAMS
from moli.training.setup.label_defaults import MULTILINGUAL_BASE, is_foreign
from moli.training.setup.memory import total_memory_mb
from moli.training.setup.rendered import RENDERED_ADVICE, describe_rendered
from moli.training.tasks.base.task import Task
from moli.workspace.datasets.labels import describe_similar, label_number

_SHOWN = 10  # columns, or labels
_RARE = 5  # a label with fewer examples is rare
_IMBALANCED = 20  # times that the most common label may be as frequent as the rarest
_SEPARATORS = (";", ",", "|", "/", "；", "，", "、")  # that people put between labels
_LENGTH_BIAS, _MIN_PAIRS = 0.6, 50  # share of pairs decided by length, and pairs to say so
_REPEATED = 0.01  # share of examples that may be repetitions before it is more than a note


def find_problems(
    report: Preflight, data: TrainingData, task: Task, *, packs: bool
) -> Iterator[Finding]:
    """All findings of a report except the errors.

    Args:
        packs: whether the task's examples are meant to be packed.
    """
    yield from find_malformed((*report.rows.unread, *report.rows.malformed), "warning")
    yield from _find_unread(data)
    yield from _find_row_problems(report)
    yield from _find_evaluation_problem(report, data.train)
    if report.lengths:  # else the base may be what prevents the run
        yield from _find_length_problem(task)
    yield from _find_repetitions(report.repetitions, report.rows.kept)
    yield from _find_contradictions(report)
    yield from _find_length_bias(report)
    yield from _find_one_rating(data.train)
    yield from _find_label_problems(report.labels, data.held_out)
    yield from _find_joined_labels(report.labels, str(report.recipe["task"]))
    yield from _find_memory_problem(report)
    yield from _find_better_base(report, data)
    for problem in report.contract or ():
        yield Finding(
            "warning",
            f"the chat template: {problem}",
            "Look at the tokens shown below, or set another template with 'template: FILE'.",
        )
    yield from _find_special_tokens(report, task)
    if report.packing and packs and not report.packing.holds and report.packing.reason:
        yield Finding(
            "note",
            f"examples are padded, not packed ({report.packing.reason})",
            "The result is the same, but training takes longer.",
        )


def _find_special_tokens(report: Preflight, task: Task) -> Iterator[Finding]:
    """Findings on control tokens in texts, and on other special tokens there."""
    if rendered := describe_rendered(report.control_tokens):
        locations = {where: None for rows in report.control_tokens.values() for where in rows}
        yield Finding("warning", rendered, RENDERED_ADVICE, tuple(locations))
    others = {
        token: count
        for token, count in report.broken_tokens.items()
        if token not in report.control_tokens
    }
    if others:
        counts = ", ".join(f"{token} ({count:,})" for token, count in others.items())
        own = [token for token in others if token not in task.turn_tokens]
        named = json.dumps(own, ensure_ascii=False)
        yield Finding(
            "note",
            f"special tokens in the texts of users or tools are read as letters: {counts} examples",
            f"If the data mean the tokens, name them: special_tokens: {named}."
            if own
            else "So no text can pass for a turn; nothing needs to be done.",
        )


def _find_unread(data: TrainingData) -> Iterator[Finding]:
    """Findings on columns and splits that are not read."""
    if data.unused:
        yield Finding(
            "note",
            f"columns that are not read: {', '.join(data.unused[:_SHOWN])}",
            "Put what is to be learnt from them into the others.",
        )
    if data.unread_splits:
        yield Finding(
            "note",
            f"splits that are not read: {', '.join(data.unread_splits)}",
            "When the model is trained, 'moli evaluate' reads the last one of the file.",
        )


def _find_memory_problem(report: Preflight) -> Iterator[Finding]:
    """A finding if the run needs more memory than the machine has."""
    total = total_memory_mb()
    if report.estimate and report.estimate.memory_mb > 0.9 * total:
        yield Finding(
            "warning",
            f"{report.estimate.memory_mb:,} MB of memory are needed, but the machine has {total:,}",
            "Use method: lora, a smaller batch, or a smaller max_length.",
        )


def _find_better_base(report: Preflight, data: TrainingData) -> Iterator[Finding]:
    """A finding if an encoder that reads the texts could be had, and n-grams are counted."""
    texts = [example.model_input for example in examples_of(data.train)]
    is_here = installed_folder(MULTILINGUAL_BASE) is not None
    if report.recipe["base"] == NGRAMS and not is_here and is_foreign(texts):
        yield Finding(
            "note",
            "n-grams are counted: no encoder on this machine reads the language of the texts",
            "Run 'moli models get e5', an encoder that reads 94 languages.",
        )


def find_malformed(malformed: Sequence[MalformedRow], severity: Severity) -> Iterator[Finding]:
    """One finding for each kind of fault, in the words of the first row that has it."""
    kinds: dict[str, list[MalformedRow]] = defaultdict(list)
    for row in malformed:
        key = re.sub(r"\"[^\"]*\"|\d+", "", row.what)
        kinds[type(row).__name__ + key].append(row)
    for rows in kinds.values():
        lines = sum(row.lines for row in rows if isinstance(row, UnreadLines))
        number, noun = (lines, "line") if lines else (len(rows), "row")
        count = _counted(number, f"{noun} is", f"{noun}s are")
        what = f"{count} {'not read' if lines else 'malformed'}: {rows[0].what}"
        yield Finding(severity, what, rows[0].fix, tuple(row.where for row in rows))


def _find_length_problem(task: Task) -> Iterator[Finding]:
    """A finding if the recipe demands longer sequences than the base takes."""
    demanded = task.recipe.max_length or 0
    if task.length_limit and demanded > task.length_limit:
        yield Finding(
            "warning",
            f"max_length is {demanded:,}, but {task.recipe.base} takes {task.length_limit:,} "
            "tokens at most",
            f"Set max_length: {task.length_limit}, or name a base that takes more.",
        )


def _find_row_problems(report: Preflight) -> Iterator[Finding]:
    """Findings on truncated, dropped and unended examples, and on missing evaluations."""
    rows, supervision, lengths = report.rows, report.supervision, report.lengths
    if rows.cut and lengths:
        tokens = sum(example.tokens for example in rows.cut)
        yield Finding(
            "warning",
            f"{_count_examples(len(rows.cut))} too long: {tokens:,} tokens are cut off",
            advise_length(lengths.most, lengths.limit, lengths.longest),
            tuple(example.where for example in rows.cut),
        )
    reasons: dict[tuple[str, str], list[str]] = defaultdict(list)
    for dropped in rows.dropped:
        reasons[dropped.what, dropped.fix].append(dropped.where)
    for (what, fix), locations in reasons.items():
        what = f"{_count_examples(len(locations))} dropped: {what}"
        yield Finding("warning", what, fix, tuple(locations))
    if supervision and supervision.unended and lengths:
        advice = advise_length(lengths.most, lengths.limit, lengths.longest)
        yield Finding(
            "warning",
            f"{_count_examples(len(supervision.unended))} without a learnt end, so the model does "
            "not learn to stop from them",
            f"Use another template, if it does not end a turn. If they are truncated: {advice}",
            supervision.unended,
        )


def _find_evaluation_problem(
    report: Preflight, train: Sequence[LocatedExample]
) -> Iterator[Finding]:
    """A finding if a run evaluates nothing, unless its recipe asks for that."""
    rows, share = report.rows, report.recipe["held_out"]
    if rows.evaluated == 0 and rows.held_out:
        yield Finding(
            "warning",
            "no held-out example can be evaluated, so the last weights are kept, not the best",
            "Hold out other examples.",
        )
    elif rows.evaluated == 0 and share:
        reason, subjects = "no class can spare one", {each.example.subject for each in train}
        if len(subjects) == 1 < len(train):
            reason = "all examples are about one prompt, text or image, which is not divided"
        elif isinstance(share, float):
            reason = f"a share of {share} of {rows.kept:,} examples is less than one, or {reason}"
        yield Finding(
            "warning",
            f"nothing is held out: {reason}, so the last weights are kept, not the best",
            "Add examples, set a larger share, or give a file as held_out.",
        )


def _find_repetitions(repetitions: Repetitions, kept: int) -> Iterator[Finding]:
    """Findings on repeated examples; `kept` is the number of training examples."""
    for groups, what, fix in (
        (repetitions.exact, "duplicated", "Keep one of each, unless the repetition is intended."),
        (repetitions.near, "the same apart from case, spaces and punctuation", "Keep one of each."),
    ):
        count = sum(len(locations) - 1 for locations in groups)
        if count:
            severity: Severity = "warning" if count > _REPEATED * kept else "note"
            yield Finding(
                severity, f"{_count_examples(count)} {what}", fix, _join_locations(groups)
            )
    if repetitions.leaked:
        yield Finding(
            "warning",
            f"{_count_examples(len(repetitions.leaked))} also held out, apart from case, spaces "
            "and punctuation; metrics will be inflated",
            "Remove them from the training data or from the held-out data.",
            _join_locations(repetitions.leaked),
        )


def _find_contradictions(report: Preflight) -> Iterator[Finding]:
    """A finding on inputs with several targets, or on pairs of which each side is preferred."""
    contradicting = report.repetitions.contradicting
    if not contradicting:
        return
    count = len(contradicting)
    what, fix = f"texts with conflicting answers: {count:,}", "Keep one answer for each."
    if report.pairs:
        what = f"pairs of answers of which each is preferred once: {count:,}"
        fix = "Keep the preference that is right, or neither."
    yield Finding("warning", what, fix, _join_locations(contradicting))


def _find_length_bias(report: Preflight) -> Iterator[Finding]:
    """A finding if the length of answers tells which one is preferred."""
    pairs = report.pairs
    if not pairs or pairs.pairs < _MIN_PAIRS:
        return
    longer, shorter = pairs.longer / pairs.pairs, pairs.shorter / pairs.pairs
    what = f"the chosen answer is the longer one in {longer:.0%} of the pairs"
    if shorter > longer:
        what = f"the chosen answer is the shorter one in {shorter:.0%} of the pairs"
    if max(longer, shorter) >= _LENGTH_BIAS:
        fix = "Add pairs of similar length; else the model learns to prefer a length."
        yield Finding("warning", what, fix)


def _find_one_rating(examples: Sequence[LocatedExample]) -> Iterator[Finding]:
    """A finding if answers are rated, and all of them alike."""
    ratings = {getattr(located.example, "is_good", None) for located in examples}
    if ratings in ({True}, {False}):
        yield Finding(
            "warning",
            f"every answer is rated as {'good' if True in ratings else 'bad'}",
            "Add answers with the other rating; else there is nothing to compare with.",
        )


def _find_label_problems(
    labels: Mapping[str, int], held_out: Sequence[LocatedExample]
) -> Iterator[Finding]:
    """Findings on rare, imbalanced and unknown labels."""
    if not labels:
        return
    rare = {name: count for name, count in labels.items() if count < _RARE}
    most, least = max(labels.values()), min(labels.values())
    if rare:
        shown = ", ".join(f"'{name}' ({count})" for name, count in list(rare.items())[:_SHOWN])
        more = ", ..." if len(rare) > _SHOWN else ""
        yield Finding(
            "warning",
            f"{_counted(len(rare), 'label has', 'labels have')} fewer than {_RARE} examples: "
            f"{shown}{more}",
            "Add examples of them, or merge them with other labels.",
        )
    elif most > _IMBALANCED * least:
        yield Finding(
            "note",
            f"labels are imbalanced: {most:,} examples of the most common, {least:,} of the rarest",
            "Judge by macro_f1, not by accuracy.",
        )
    numbers = sorted(number for name in labels if (number := label_number(name)) is not None)
    if len(numbers) == len(labels) and numbers != list(range(len(numbers))):
        yield Finding(
            "note",
            f"the labels are numbers, but not 0 to {len(numbers) - 1}: the model's output 0 is "
            f"label {numbers[0]}, and so on in their order",
            "In other programs, take the label from id2label, not from the output's index.",
        )
    if similar := describe_similar(labels):
        fix = "Write each label in one way, unless they are meant to be different."
        yield Finding("warning", similar, fix)
    unknown = [each for each in held_out if not count_labels([each]).keys() <= labels.keys()]
    if unknown:
        names = shorten_labels(sorted(count_labels(unknown).keys() - labels.keys()))
        yield Finding(
            "warning",
            f"held-out examples have labels that are not in the training data: {names}",
            "Correct them, or add training examples with these labels.",
            tuple(each.where for each in unknown),
        )


def _find_joined_labels(labels: Mapping[str, int], task: str) -> Iterator[Finding]:
    """A finding if labels seem to be several labels in one text."""
    for separator in _SEPARATORS:
        joined = [label for label in labels if separator in label]
        known = [name for name in joined if _has_label(name.split(separator), labels)]
        if len(known) > len(joined) / 2:
            multi = "multi_label_classification"
            yield Finding(
                "warning",
                f"{_counted(len(joined), 'label holds', 'labels hold')} '{separator}' between "
                f"other labels: '{known[0]}'",
                f"If these are several labels, set label_separator: '{separator}'"
                + (f", with task: {multi}." if task != multi else "."),
            )


def _has_label(parts: Sequence[str], labels: Mapping[str, int]) -> bool:
    """Whether one of some parts of a label is a label itself."""
    return any(part.strip() in labels for part in parts)


def _join_locations(groups: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """One text for each group of locations."""
    return tuple(" = ".join(locations) for locations in groups)


def _count_examples(count: int) -> str:
    """The beginning of a sentence, such as "2 examples are"."""
    return _counted(count, "example is", "examples are")


def _counted(count: int, one: str, several: str) -> str:
    """A count with the words that follow it."""
    return f"1 {one}" if count == 1 else f"{count:,} {several}"
