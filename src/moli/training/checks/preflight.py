"""Everything that can be known about a run before its first step. Nothing is stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from moli.records.errors import InputError, MoliError
from moli.records.examples import MalformedRow
from moli.training.checks.findings import find_malformed, find_problems
from moli.training.checks.inspection import (
    count_labels,
    find_repetitions,
    measure_lengths,
    measure_pairs,
)
from moli.training.checks.masks import MaskedSample, groups_without_end, mask_sample
from moli.training.checks.report import (
    Finding,
    Preflight,
    RowReport,
    Supervision,
    TruncatedExample,
)
from moli.training.checks.servers import check_servers, summarize_adapter
from moli.training.data import TrainingData, examples_of, read_data
from moli.training.recipes.recipe import Recipe
from moli.training.setup.disk import check_disk_space
from moli.training.setup.estimates import estimate_cost
from moli.training.setup.feedback import with_feedback
from moli.training.setup.lengths import dropped_advice, unlearnable_reason
from moli.training.setup.prepared import PreparedRun, RunData, prepare
from moli.training.setup.rendered import find_rendered
from moli.training.tasks import make_task
from moli.training.tasks.base.task import Task
from moli.training.trained.export import export
from moli.training.trained.names import with_named_base
from moli.workspace import Workspace
from moli.workspace.datasets import Kinds, read_dataset

_TEMPLATE_EXAMPLES, _MASKED_SAMPLES = 200, 2


def preflight(recipe: Recipe, workspace: Workspace | None = None) -> Preflight:
    """Read the data, build the model, verify its packing and take a few steps; store nothing.

    An error that prevents a run is a finding, not an exception.

    Args:
        workspace: has the models that the recipe's base may name, and the disk that must have space
            for the run; None if there is none.
    """
    try:
        with TemporaryDirectory(prefix="moli-check-") as folder:
            if workspace:
                recipe = with_named_base(
                    with_feedback(recipe, workspace),
                    workspace.models,
                    lambda stored: export(stored, Path(folder) / "base", merge=True).folder,
                )
            prepared = prepare(recipe, Path(folder))
            if workspace:
                check_disk_space(prepared.loop, workspace.folder)
            return _report_run(prepared)
    except MoliError as error:
        return _report_error(recipe, error)


def _report_run(prepared: PreparedRun) -> Preflight:
    """The report of a recipe that can be trained, with all findings and the expected cost."""
    recipe, data = prepared.resolved.recipe, prepared.data
    task, examples, samples = data.task, data.examples, data.samples
    supervision = Supervision(
        task.supervised_unit,
        sum(sample.supervised for sample in samples),
        sum(sample.size for sample in samples),
        _locations_without_end(data),
    )
    report = Preflight(
        recipe=recipe.model_dump(mode="json"),
        findings=(),
        rows=_report_rows(data),
        supervision=supervision,
        repetitions=find_repetitions(examples.train, examples.held_out),
        labels=count_labels(examples.train, task.known_labels),
        pairs=measure_pairs(examples.train),
        lengths=measure_lengths(samples, task.max_length, task.length_limit, data.too_long.values())
        if samples[0].sequences
        else None,
        masks=_mask_typical_samples(data),
        packing=prepared.packing,
        contract=_template_problems(data),
        broken_tokens=task.count_broken_tokens(examples_of(examples.train)),
        control_tokens=find_rendered(task, (*examples.train, *examples.held_out)),
        estimate=estimate_cost(prepared),
        servers=tuple(check_servers(summarize_adapter(recipe, prepared.model))),
    )
    return _add_findings(report, find_problems(report, examples, task, packs=task.supports_packing))


def _add_findings(report: Preflight, findings: Iterator[Finding]) -> Preflight:
    """The report with findings, errors first."""
    order = ("error", "warning", "note")
    ranked = sorted(findings, key=lambda finding: order.index(finding.severity))
    return replace(report, findings=tuple(ranked))


def _report_rows(data: RunData) -> RowReport:
    """Numbers of rows, and the rows that are truncated or dropped."""
    examples = data.examples
    truncated, dropped = [], []
    for located, group in zip(examples.train, data.groups, strict=True):
        if tokens := sum(sample.truncated_tokens for sample in group):
            truncated.append(TruncatedExample(located.where, tokens))
    everything = zip(
        (*examples.train, *examples.held_out), (*data.groups, *data.held_out_groups), strict=True
    )
    for located in (located for located, group in everything if not group):
        if located.where in data.too_long:
            advice = dropped_advice(data.task, data.too_long.values())
            dropped.append(MalformedRow(located.where, data.task.too_long_reason, advice))
        else:
            dropped.append(MalformedRow(located.where, *unlearnable_reason(located.example)))
    for removed in examples.removed:
        where = f"{removed.where} = {removed.held_out_where}"
        dropped.append(MalformedRow(where, "also held out", "Remove one of the two."))
    return RowReport(
        kept=sum(map(bool, data.groups)),
        held_out=len(examples.held_out),
        evaluated=len(data.evaluation_examples),
        malformed=examples.malformed,
        cut=tuple(truncated),
        dropped=tuple(dropped),
        unread=examples.unread,
        counts=data.row_counts(),
    )


def _locations_without_end(data: RunData) -> tuple[str, ...] | None:
    """Locations of the examples that do not teach a model to end; None if the task never does."""
    numbers = groups_without_end(data.task, data.groups)
    if numbers is None:
        return None
    return tuple(data.examples.train[number].where for number in numbers)


def _mask_typical_samples(data: RunData) -> tuple[MaskedSample, ...]:
    """Two samples of a usual length with their supervised tokens marked."""
    pairs = [
        (sample, located.where)
        for located, group in zip(data.examples.train, data.groups, strict=True)
        for sample in group[:1]
    ]
    pairs.sort(key=lambda pair: pair[0].size)
    third = len(pairs) // 3
    typical = pairs[third :: max(1, third)][:_MASKED_SAMPLES]
    masked = (mask_sample(data.task, sample, where) for sample, where in typical)
    return tuple(sample for sample in masked if sample)


def _template_problems(data: RunData) -> tuple[str, ...] | None:
    """Differences between the text that is trained on and the text that is served.

    None for tasks without a chat template.
    """
    examples = examples_of(data.examples.train[:_TEMPLATE_EXAMPLES])
    problems = data.task.template_problems(examples)
    return None if problems is None else tuple(problems)


def _report_error(recipe: Recipe, error: MoliError) -> Preflight:
    """The report of a recipe that cannot be trained: the error, and findings on its data."""
    refusal = Finding("error", error.what, error.fix, (error.where,) if error.where else ())
    task = make_task(recipe)
    values = recipe.model_dump(mode="json")
    servers = tuple(check_servers(summarize_adapter(recipe))) if recipe.method else ()
    try:
        data = read_data(recipe, task.example_types)
    except MoliError:
        rows = _report_refused(recipe, task.example_types)
        errors = tuple(find_malformed((*rows.unread, *rows.malformed), "error")) or (refusal,)
        return Preflight(values, errors, rows, servers=servers)
    if error.where == "template" and (locations := _unusable_locations(task, data)):
        fix = "Change these rows, or set another template with 'template: FILE'."
        refusal = replace(refusal, locations=locations, fix=fix)
    rows = RowReport(
        len(data.train), len(data.held_out), malformed=data.malformed, unread=data.unread
    )
    report = Preflight(
        values,
        (),
        rows,
        repetitions=find_repetitions(data.train, data.held_out),
        labels=count_labels(data.train),
        pairs=measure_pairs(data.train),
        servers=servers,
    )
    return _add_findings(report, iter([refusal, *find_problems(report, data, task, packs=False)]))


def _unusable_locations(task: Task, data: TrainingData) -> tuple[str, ...]:
    """Locations of the rows that the chat template refuses; empty if it refuses none."""
    rows = (*data.train, *data.held_out)
    return tuple(rows[number].where for number in task.unusable_examples(examples_of(rows)))


def _report_refused(recipe: Recipe, kinds: Kinds) -> RowReport:
    """The rows of data that is refused as a whole."""
    datasets = []
    for paths in (recipe.data, recipe.held_out_paths):
        if paths is not None:
            try:
                datasets.append(
                    read_dataset(paths, columns=recipe.columns, roles=recipe.roles, kinds=kinds)
                )
            except InputError:
                continue  # it is the error that the run was refused for
    malformed = tuple(row for each in datasets for row in each.malformed)
    unread = tuple(lines for each in datasets for lines in each.unread)
    counts = {
        "total": sum(each.row_count for each in datasets),
        "readable": sum(len(each.examples) for each in datasets),
        "malformed": len(malformed),
        "unread": sum(each.unread_lines for each in datasets),
    }
    return RowReport(malformed=malformed, unread=unread, counts=counts if datasets else {})
