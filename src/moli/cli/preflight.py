"""The report of a check before training, printed for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from moli.cli.output import echo
from moli.cli.rows import format_rows
from moli.cli.wrapping import pad
from moli.translations.catalogue import translate

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from moli.training.checks.inspection import Lengths, PairStatistics
    from moli.training.checks.masks import MaskedSample, TokenSpan
    from moli.training.checks.report import Finding, Preflight

_MAX_PLACES, _MAX_LABELS = 3, 12  # listed
_MAX_CHARACTERS = 1200  # of a sample
_BAR_WIDTH = 32
_STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def print_report(report: Preflight, out: Console) -> None:
    """Print a report.

    The findings come first, then the data, the lengths, samples, the cost, and the servers on which
    the model would run.
    """
    for finding in report.findings:
        _print_finding(finding, out)
    _print_data(report, out)
    if report.lengths:
        _print_lengths(report.lengths, out)
    if report.masks:
        _print_title("tokens", out)
        out.print(
            translate("  what is learnt is green, or in [[ ]]; special tokens are underlined")
        )
    for sample in report.masks:
        _print_sample(sample, out)
    _print_cost(report, out)
    if report.servers:
        _print_title("servers", out)
    for verdict in report.servers:
        loads, reason = translate(verdict.loads), translate(verdict.reason)
        out.print(f"  {verdict.server:<18} {loads}: {reason}")
    errors = sum(each.severity == "error" for each in report.findings)
    warnings = sum(each.severity == "warning" for each in report.findings)
    counts = f"{_pluralize(errors, 'error')}, {_pluralize(warnings, 'warning')}"
    end = "nothing was trained." if report.ok else "this recipe cannot be trained."
    out.print(translate(f"{counts}; {end}"), style="bold")


def _print_finding(finding: Finding, out: Console) -> None:
    """Print a finding, its first places and its fix."""
    from rich.text import Text

    severity = (f"{translate(finding.severity)}: ", _STYLES[finding.severity])
    out.print(Text.assemble(severity, translate(finding.what)))
    for place in finding.locations[:_MAX_PLACES]:
        out.print(f"  {_shorten(place)}")
    if len(finding.locations) > _MAX_PLACES:
        more = f"  and {len(finding.locations) - _MAX_PLACES:,} more, which --json lists"
        out.print(translate(more))
    if finding.fix:
        out.print(f"  {translate(finding.fix)}")


def _shorten(place: str) -> str:
    """A place, or the first of many places that hold the same."""
    equal = place.split(" = ")
    if len(equal) <= _MAX_PLACES + 1:
        return place
    more = translate(f"{len(equal) - _MAX_PLACES:,} more")
    return " = ".join((*equal[:_MAX_PLACES], more))


def _print_data(report: Preflight, out: Console) -> None:
    """Print numbers of rows, of repetitions and of supervised tokens, and the labels."""
    rows, supervision, repeated = report.rows, report.supervision, report.repetitions
    if not rows.kept:  # the data is refused as a whole
        if rows.counts:
            _print_title("data", out)
            out.print(f"  {format_rows(rows.counts)}")
        return
    _print_title("data", out)
    some = rows.evaluated is not None and rows.evaluated < rows.held_out
    drawn = f" ({rows.evaluated:,} of them evaluated on)" if some else ""
    echo(
        f"  {rows.kept:,} training examples, {rows.held_out:,} held out{drawn}; "
        f"{len(rows.malformed):,} malformed, {len(rows.cut):,} truncated, "
        f"{len(rows.dropped):,} dropped"
    )
    if rows.counts:
        out.print(f"  {format_rows(rows.counts)}")
    groups = ((repeated.exact, "exact"), (repeated.near, "near"))
    duplicates = [f"{sum(len(e) - 1 for e in each):,} {name}" for each, name in groups]
    leaked = f"{len(repeated.leaked):,} near-duplicates of held-out examples"
    echo(f"  duplicates: {', '.join(duplicates)}; {leaked}")
    if supervision and supervision.unit == "tokens":
        echo(
            f"  learnt: {supervision.supervised:,} of {supervision.tokens:,} tokens "
            f"({supervision.share:.0%}); the rest is context"
        )
    elif supervision:
        echo(
            f"  learnt: {supervision.supervised:,} {supervision.unit}, "
            f"{supervision.tokens:,} tokens"
        )
    if supervision and supervision.unended is not None:
        ends = rows.kept - len(supervision.unended)
        echo(f"  ends: {ends:,} of {rows.kept:,} examples teach the model to stop")
    if report.pairs:
        _print_pairs(report.pairs)
    _print_labels(report.labels, out)


def _print_pairs(pairs: PairStatistics) -> None:
    """Print numbers of pairs, the lengths of their answers, and their tags."""
    echo(
        f"  {pairs.pairs:,} pairs of answers to {pairs.prompts:,} prompts, "
        f"{pairs.with_margin:,} with a margin"
    )
    echo(
        f"  chosen: median {pairs.chosen_length:,} characters, rejected: "
        f"{pairs.rejected_length:,}; the chosen one is longer in "
        f"{pairs.longer / pairs.pairs:.0%}, shorter in {pairs.shorter / pairs.pairs:.0%}"
    )
    for name, count in pairs.tags.items():
        echo(f"  {translate(name)}: {count:,}")


def _print_labels(labels: Mapping[str, int], out: Console) -> None:
    """Print the number of examples of each label, with bars."""
    total = sum(labels.values())
    for name, count in list(labels.items())[:_MAX_LABELS]:
        bar = "#" * round(_BAR_WIDTH * count / max(labels.values()))
        out.print(f"  {pad(name[:20], 20)} {count:>8,} {count / total:>4.0%}  {bar}")
    if len(labels) > _MAX_LABELS:
        echo(f"  and {len(labels) - _MAX_LABELS:,} more labels")


def _print_lengths(lengths: Lengths, out: Console) -> None:
    """Print the lengths of samples, with a histogram."""
    _print_title("lengths", out)
    room = f", max_length {lengths.most:,}" if lengths.most else ""
    echo(
        f"  median {lengths.median:,} tokens, 95% up to {lengths.percentile95:,}, "
        f"longest {lengths.longest:,}{room}"
    )
    for limit, count in lengths.bins.items():
        bar = "#" * round(_BAR_WIDTH * count / max(1, *lengths.bins.values()))
        over = translate("  over max_length") if 0 < lengths.most < limit and count else ""
        out.print(f"{translate('  up to')} {limit:>7,} {count:>8,}  {bar}{over}")


def _print_sample(sample: MaskedSample, out: Console) -> None:
    """Print a sample's text, with the supervised tokens distinguished."""
    out.print(f"  {sample.where}")
    colored = out.is_terminal and not out.no_color
    for part in sample.parts:
        out.print(_format_tokens(part, colored=colored))


def _format_tokens(pieces: Sequence[TokenSpan], *, colored: bool) -> Text:
    """Tokens in colors, or with brackets around the supervised ones."""
    from rich.text import Text

    text = Text("  ")
    for number, piece in enumerate(pieces):
        before = number > 0 and pieces[number - 1].supervised
        after = number + 1 < len(pieces) and pieces[number + 1].supervised
        tokens = _printable(piece.text)
        if not colored:
            opening = "[[" if piece.supervised and not before else ""
            closing = "]]" if piece.supervised and not after else ""
            text.append(f"{opening}{tokens}{closing}")
        else:
            style = "green" if piece.supervised else "dim"
            text.append(tokens, f"{style} underline" if piece.special else style)
        if len(text) > _MAX_CHARACTERS:
            text.append(" ...")
            break
    return text


def _printable(text: str) -> str:
    """A text with visible line breaks, and without characters that control the terminal."""
    visible = text.replace("\n", "\\n\n  ")
    return "".join(each for each in visible if each.isprintable() or each == "\n")


def _print_cost(report: Preflight, out: Console) -> None:
    """Print the settings of the run, its estimated cost, and the packing check."""
    from moli.training.listeners.formatting import format_duration

    estimate, packing = report.estimate, report.packing
    if estimate is None:
        return
    _print_title("cost", out)
    recipe = report.recipe
    echo(
        f"  {recipe['method']}, {recipe['precision']}, {recipe['epochs']:g} "
        f"{'epoch' if recipe['epochs'] == 1 else 'epochs'}, steps of "
        f"{recipe['batch']} examples, learning rate {recipe['learning_rate']:g}"
    )
    echo(
        f"  about {format_duration(estimate.seconds)} of training and "
        f"{format_duration(estimate.evaluating)} of evaluation, "
        f"{estimate.memory_mb:,} MB of memory ({estimate.tokens_per_second:,.0f} tokens/s in "
        f"{estimate.steps} trial steps)"
    )
    if packing and packing.holds:
        echo(
            f"  packing is verified: mean loss {packing.packed:.6g} packed, {packing.alone:.6g} "
            f"one by one; leak between neighbours: {packing.leak:g}"
        )


def _print_title(title: str, out: Console) -> None:
    """Print the title of a section."""
    out.print(translate(title), style="bold")


def _pluralize(number: int, noun: str) -> str:
    """A number with its noun, in the plural unless it is 1."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
