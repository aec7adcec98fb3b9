"""Everything that can be known about a run before its first step. Nothing is stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from moli.records.errors import InputError, MoliError
from moli.records.examples import MalformedRow
from moli.records.training import Event
from moli.training.checks import masks, servers
from moli.training.checks.findings import findings_of, of_malformed
from moli.training.checks.inspection import labels_of, lengths_of, repetitions
from moli.training.checks.masks import Masked
from moli.training.checks.report import Cut, Finding, Preflight, Rows, Supervision
from moli.training.checks.servers import verdicts
from moli.training.data import TrainingData, examples_of, read_data
from moli.training.packing import PackingCheck
from moli.training.recipes.recipe import Recipe
from moli.training.setup.estimates import rehearse
from moli.training.setup.prepared import Session
from moli.training.tasks import make_task
from moli.training.tasks.base.task import Task
from moli.workspace.datasets import read_dataset

_CONTRACTS, _SHOWN_MASKS = 200, 2


def preflight(recipe: Recipe) -> Preflight:
    """Read the data, build the model, verify its packing and take a few steps; store nothing.

    What prevents a run is a finding, not an exception.
    """
    try:
        with TemporaryDirectory(prefix="moli-check-") as folder:
            return _passed(Session.open(recipe, Path(folder), _unheard))
    except MoliError as error:
        return _refused(recipe, error)


def _unheard(event: Event) -> None:
    """What happens in a check is nobody's concern."""


def _passed(session: Session) -> Preflight:
    task, data, samples = session.task, session.data, session.loop.samples
    recipe = session.settled.recipe
    rows = _rows(session)
    supervision = Supervision(
        task.supervised_unit,
        sum(each.supervised for each in samples),
        sum(each.size for each in samples),
        _unended(session),
    )
    lengths = lengths_of(samples, task.max_length) if samples[0].sequences else None
    found = Preflight(
        recipe=recipe.model_dump(mode="json"),
        findings=(),
        rows=rows,
        supervision=supervision,
        repetitions=repetitions(data.train, data.held_out),
        labels=labels_of(data.train),
        lengths=lengths,
        masks=_masks(session),
        packing=PackingCheck(**session.facts["packing"]),
        contract=_contract(session),
        estimate=rehearse(session),
        servers=tuple(verdicts(servers.summary_of(recipe, session.model))),
    )
    return _with(found, findings_of(found, data, packs=task.supports_packing))


def _with(found: Preflight, findings: Iterator[Finding]) -> Preflight:
    order = ("error", "warning", "note")
    ranked = sorted(findings, key=lambda each: order.index(each.severity))
    return replace(found, findings=tuple(ranked))


def _rows(session: Session) -> Rows:
    data = session.data
    cut, dropped = [], []
    for each, group in zip(data.train, session.groups, strict=True):
        if lost := sum(sample.truncated_tokens for sample in group):
            cut.append(Cut(each.where, lost))
        if not group:
            dropped.append(
                MalformedRow(
                    each.where, "nothing in it can be learnt", "Complete it, or remove it."
                )
            )
    dropped += [
        MalformedRow(
            f"{each.where} = {each.held_out_where}", "also held out", "Remove one of the two."
        )
        for each in data.removed
    ]
    return Rows(
        kept=sum(map(bool, session.groups)),
        held_out=len(data.held_out),
        judged=len(session.judged),
        malformed=data.malformed,
        cut=tuple(cut),
        dropped=tuple(dropped),
    )


def _unended(session: Session) -> tuple[str, ...] | None:
    numbers = masks.unended(session.task, session.groups)
    if numbers is None:
        return None
    return tuple(session.data.train[number].where for number in numbers)


def _masks(session: Session) -> tuple[Masked, ...]:
    """Two samples of a usual length."""
    told = [
        (sample, each.where)
        for each, group in zip(session.data.train, session.groups, strict=True)
        for sample in group[:1]
    ]
    told.sort(key=lambda each: each[0].size)
    middle = told[len(told) // 3 :: max(1, len(told) // 3)][:_SHOWN_MASKS]
    shown = (masks.masked(session.task, sample, where) for sample, where in middle)
    return tuple(each for each in shown if each)


def _contract(session: Session) -> tuple[str, ...] | None:
    """How the text that is trained on differs from what is served; None if that is not told."""
    problems = session.task.template_problems(examples_of(session.data.train[:_CONTRACTS]))
    return None if problems is None else tuple(problems)


def _refused(recipe: Recipe, error: MoliError) -> Preflight:
    """What can be told of the data of a run that cannot be made."""
    where = (error.where,) if error.where else ()
    refusal = Finding("error", error.what, error.fix, where)
    task = make_task(recipe)
    asked = recipe.model_dump(mode="json")
    told = tuple(verdicts(servers.summary_of(recipe))) if recipe.method else ()
    try:
        data = read_data(recipe, task.example_types)
    except MoliError:
        malformed = _malformed(recipe)
        errors = tuple(of_malformed(malformed, "error")) or (refusal,)
        return Preflight(asked, errors, Rows(malformed=malformed), servers=told)
    if error.where == "template" and (places := _unwritten(task, data)):
        fix = "Change these rows, or set another template with 'template: FILE'."
        refusal = replace(refusal, places=places, fix=fix)
    rows = Rows(len(data.train), len(data.held_out), malformed=data.malformed)
    found = Preflight(
        asked,
        (),
        rows,
        repetitions=repetitions(data.train, data.held_out),
        labels=labels_of(data.train),
        servers=told,
    )
    return _with(found, iter([refusal, *findings_of(found, data, packs=False)]))


def _unwritten(task: Task, data: TrainingData) -> tuple[str, ...]:
    """The rows that a chat template refuses, where it is rows that it does."""
    rows = (*data.train, *data.held_out)
    return tuple(rows[number].where for number in task.unusable_examples(examples_of(rows)))


def _malformed(recipe: Recipe) -> tuple[MalformedRow, ...]:
    """All malformed rows of data that as a whole are refused."""
    found: list[MalformedRow] = []
    for path in (recipe.data, recipe.held_out):
        if isinstance(path, Path):
            try:
                found += read_dataset(path, columns=recipe.columns).malformed
            except InputError:
                continue  # which is what the run was refused for
    return tuple(found)
